"""From the policy node's parameters to a predictor that is loaded, checked and warm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.nodes.fault_injection import FaultyPredictor
from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.compatibility import require_embodiment
from pizero_ros.policy.memory import require_memory
from pizero_ros.policy.predictor import ChunkPredictor
from pizero_ros.policy.providers import resolve_provider
from pizero_ros.policy.runtime import Policy

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.nodes.fault_injection import FaultInjection
    from pizero_ros.nodes.parameters import PolicyParameters


def load_predictor(
    chosen: PolicyParameters, embodiment: Embodiment, log: RcutilsLogger, injected: FaultInjection
) -> ChunkPredictor:
    """Load the bundle, check it against the robot, warm it up; say what is unusual about it.

    Args:
        chosen: The node's parameters.
        embodiment: The robot, as parameters have altered it.
        log: Takes warnings and how long it took.
        injected: What is to go wrong with inference, for tests.

    Raises:
        PizeroError: The bundle is broken, was not made for this robot, or does not fit into
            memory; the provider is missing.
    """
    bundle = Bundle.open(chosen.bundle)
    for finding in require_embodiment(bundle, embodiment):
        log.warning(finding.message)
    if bundle.manifest.untrained:
        log.warning(f'{bundle.path} is untrained: its motion has no purpose')
    if chosen.rtc_prefix_is_trained:
        log.warning(
            f'{bundle.path} does not say whether it was trained with prefixes: rtc_method '
            'trained_prefix takes your word for it'
        )
    chunking = chosen.real_time_chunking
    jacobian = chunking is not None and chunking.method == 'jacobian'
    if resolve_provider(chosen.provider) == 'cpu':
        require_memory(bundle.path, jacobian=jacobian)
    policy = Policy.load(
        bundle,
        chosen.provider,
        chosen.threads or None,
        jacobian=jacobian,
        variant=chosen.variant or None,
        # CPUs that were set apart for inference leave the others to sensors already.
        beside_sensors=not chosen.cpu_affinity,
    )
    stepwise = chosen.scheduling == 'rtc' or bool(chosen.sampling_steps)
    warm_up = policy.warm_up(stepwise=stepwise)
    log.info(
        f'{bundle.path}: loaded in {policy.load_s:.2f} s on {policy.provider}, '
        f'variant {policy.variant}, threads: {policy.threads}; '
        f'warm after {len(warm_up)} runs at {warm_up[-1] * 1e3:.1f} ms'
    )
    steps = chosen.sampling_steps or None
    if injected:
        return FaultyPredictor(injected, policy, embodiment, steps=steps, chunking=chunking)
    return ChunkPredictor(policy, embodiment, steps=steps, chunking=chunking)
