"""The policy on the robot: one observation in model space in, one chunk in model space out."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import BundleError, EnvironmentFault
from pizero_ros.policy.manifest import JACOBIAN_FILE, REFERENCE
from pizero_ros.policy.providers import ProviderName, resolve_provider
from pizero_ros.policy.sampler import StepHook, integrate
from pizero_ros.policy.threads import machine_threads, threads_beside_sensors
from pizero_ros.policy.variants import choose_variant, open_graphs, variant_bytes
from pizero_ros.processing.model_inputs import ModelInputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.policy.bundle import Bundle
    from pizero_ros.policy.fused_graphs import FusedGraphs
    from pizero_ros.policy.graphs import Graphs

_WARM_UP_MIN = 3
_WARM_UP_MAX = 20
_WARM_UP_SPREAD = 0.1
"""Warm when three runs in a row lie within this fraction of their median."""

_Array: TypeAlias = npt.NDArray[np.float32]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelResult:
    """What one inference returned and what it cost.

    Attributes:
        actions: float32 [H, A], normalised and padded; the caller's own copy.
        durations_s: ``observe`` and ``denoise`` (all steps) → seconds; where observe is two
            graphs, also ``vision`` and ``prefix``.
        steps_s: Seconds of each denoise step; empty where one graph holds all of them.
    """

    actions: npt.NDArray[np.float32]
    durations_s: Mapping[str, float]
    steps_s: tuple[float, ...]


class Policy:
    """A bundle's graphs, loaded and ready.

    Not thread-safe: sessions share fixed buffers, so one thread owns a policy. Load two for two.
    """

    def __init__(
        self,
        bundle: Bundle,
        graphs: Graphs | FusedGraphs,
        provider: str,
        load_s: float,
        variant: str = REFERENCE,
        threads: int | None = None,
    ) -> None:
        """Hold loaded graphs; use ``Policy.load``."""
        self.bundle = bundle
        self.graphs = graphs
        self.provider = provider
        self.load_s = load_s
        self.variant = variant
        self.threads = threads

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        provider: ProviderName | str = 'auto',
        threads: int | None = None,
        jacobian: bool = False,
        variant: str | None = None,
        *,
        beside_sensors: bool = False,
    ) -> Policy:
        """Open the sessions of a bundle that ``Bundle.open`` has checked.

        Args:
            bundle: The checked bundle.
            provider: ``cpu``, ``cuda`` or ``tensorrt`` for exactly that one; ``auto`` for CUDA
                where it works and the CPU elsewhere. ``Policy.provider`` says which it became.
            threads: Threads inside an operator; None for one per core that this process may use
                (``choose_threads``). ``Policy.threads`` says how many they became.
            jacobian: Load the graph for guidance by the true Jacobian too.
            variant: Graphs to run (``Manifest.variants``, or ``cpu`` for the reference); None for
                those that were made for the provider, in their precision, and the reference where
                there are none. 8-bit graphs are only run when they are named.
            beside_sensors: Whether this process receives sensors meanwhile: a small policy then
                leaves a core to them (``threads_beside_sensors``).

        Returns:
            The policy, not yet warm. ``Policy.variant`` says which graphs they became.

        Raises:
            EnvironmentFault: ONNX Runtime or the provider asked for is not there.
            BundleError: A graph cannot be loaded or differs from the manifest, or a variant or
                the graph of the Jacobian is asked for and not there.
        """
        if jacobian and JACOBIAN_FILE not in bundle.manifest.files:
            raise BundleError.at(
                bundle.path,
                JACOBIAN_FILE,
                found='no such file',
                expected='the graph of the Jacobian',
                remedy='Export the bundle with --jacobian, or choose another rtc_method.',
            )
        start = time.perf_counter()
        wanted = provider
        if variant is not None and provider == 'auto':
            wanted = choose_variant(bundle, variant).provider
        chosen = resolve_provider(wanted)
        name = _variant_for(bundle, chosen, variant, jacobian)
        if threads is not None:
            number, reason = threads, 'as asked'
        elif beside_sensors:
            size = variant_bytes(bundle, name)
            number, reason = threads_beside_sensors(machine_threads(), size)
        else:
            number, reason = machine_threads()
        try:
            graphs = open_graphs(bundle, name, chosen, number, jacobian)
        except EnvironmentFault as error:
            if wanted != 'auto' or chosen == 'cpu':
                raise
            _log.warning('%s Using the CPU instead, because the provider is "auto".', error)
            chosen, name = 'cpu', REFERENCE
            graphs = open_graphs(bundle, name, chosen, number, jacobian)
        _log.info(
            'bundle %s runs on %s, variant %s, threads: %d (%s)',
            bundle.path,
            chosen,
            name,
            number,
            reason,
        )
        return cls(bundle, graphs, chosen, time.perf_counter() - start, name, number)

    def infer(
        self,
        inputs: ModelInputs,
        noise: npt.NDArray[np.float32],
        steps: int | None = None,
        hook: StepHook | None = None,
        prefix: npt.NDArray[np.float32] | None = None,
    ) -> ModelResult:
        """Sample one chunk.

        Args:
            inputs: Present cameras, prompt tokens and state.
            noise: float32 [H, A], standard normal, padded values included.
            steps: Euler steps; None for the manifest's number.
            hook: May replace the velocity of each step (``StepHook``).
            prefix: float32 [d, A], the first d actions if they are settled (``integrate``).

        Returns:
            The chunk in model space, with durations.

        Raises:
            ValueError: An array has another shape or type than the manifest says.
        """
        model = self.bundle.manifest.model
        steps = model.steps if steps is None else steps
        self._check(inputs, noise, steps, prefix)
        graphs = self.graphs
        start = time.perf_counter()
        graphs.observe(inputs)
        ticks = [time.perf_counter()]
        durations_s = {'observe': ticks[0] - start, **graphs.observe_parts_s}
        if hook is None and prefix is None and steps == graphs.unrolled_steps:
            actions = graphs.sample(noise)[0].copy()
            durations_s['denoise'] = time.perf_counter() - ticks[0]
            return ModelResult(actions, durations_s, ())
        graphs.x_t[0] = noise
        integrate(
            lambda: graphs.denoise()[0],
            graphs.x_t[0],
            graphs.t[0],
            steps,
            hook,
            lambda: ticks.append(time.perf_counter()),
            prefix,
        )
        durations_s['denoise'] = ticks[-1] - ticks[0]
        return ModelResult(graphs.x_t[0].copy(), durations_s, tuple(np.diff(ticks).tolist()))

    def warm_up(
        self,
        cameras: int | None = None,
        tokens: int | None = None,
        *,
        stepwise: bool = False,
    ) -> tuple[float, ...]:
        """Run on blank inputs until the latency is stable, at most 20 times.

        The first runs allocate, and on a GPU compile and capture; they must not be the first
        ones under motion.

        Args:
            cameras: Cameras that will be present; None for every slot.
            tokens: Prompt length that will be used; None for the longest.
            stepwise: Chunks will be made step by step: with a hook, a prefix or another number of
                steps than the manifest's. Where all steps are one graph, that of a single step is
                opened now.

        Returns:
            Seconds of every run, in order.
        """
        model = self.bundle.manifest.model
        height, width = model.image_size
        count = len(model.slots) if cameras is None else cameras
        length = model.prompt.max_tokens if tokens is None else tokens
        inputs = ModelInputs(
            images=np.zeros((count, 3, height, width), np.float32),
            tokens=np.zeros(length, np.int64),
            state=np.zeros(model.state_dim, np.float32),
        )
        noise = np.zeros((model.horizon, model.action_dim), np.float32)
        hook: StepHook | None = self._pull_back if self.graphs.differentiated else None
        if stepwise and hook is None:
            hook = _no_change
        times: list[float] = []
        while len(times) < _WARM_UP_MAX:
            start = time.perf_counter()
            self.infer(inputs, noise, hook=hook)
            times.append(time.perf_counter() - start)
            latest = times[-_WARM_UP_MIN:]
            spread = max(latest) - min(latest)
            if len(times) > _WARM_UP_MIN and spread <= _WARM_UP_SPREAD * float(np.median(latest)):
                break
        return tuple(times)

    def _pull_back(self, x_t: _Array, velocity: _Array, t: _Array) -> None:
        """Run the graph of the Jacobian to no effect, at every step as guidance does."""
        self.graphs.pull_back(x_t)

    def _check(
        self,
        inputs: ModelInputs,
        noise: npt.NDArray[np.float32],
        steps: int,
        prefix: npt.NDArray[np.float32] | None,
    ) -> None:
        """Refuse arrays that the graphs would misread; the checks cost microseconds."""
        model = self.bundle.manifest.model
        wanted: dict[str, tuple[npt.NDArray[np.generic], type, tuple[int, ...]]] = {
            'images': (inputs.images, np.float32, (len(inputs.images), 3, *model.image_size)),
            'tokens': (inputs.tokens, np.int64, (len(inputs.tokens),)),
            'state': (inputs.state, np.float32, (model.state_dim,)),
            'noise': (noise, np.float32, (model.horizon, model.action_dim)),
        }
        if prefix is not None:
            settled = min(len(prefix), model.horizon)
            wanted['prefix'] = (prefix, np.float32, (settled, model.action_dim))
        for name, (array, dtype, shape) in wanted.items():
            if array.dtype != dtype or array.shape != shape:
                found = f'{array.dtype} {list(array.shape)}'
                msg = f'{name}: found {found}, expected {np.dtype(dtype)} {list(shape)}'
                raise ValueError(msg)
        if not 1 <= len(inputs.images) <= len(model.slots):
            msg = f'{len(inputs.images)} cameras for the {len(model.slots)} slots of the bundle'
            raise ValueError(msg)
        if not 1 <= len(inputs.tokens) <= model.prompt.max_tokens:
            msg = f'{len(inputs.tokens)} prompt tokens, expected 1 to {model.prompt.max_tokens}'
            raise ValueError(msg)
        low, high = int(inputs.tokens.min()), int(inputs.tokens.max())
        if low < 0 or high >= model.vocabulary:
            msg = f'prompt tokens {low} to {high} in a vocabulary of {model.vocabulary}'
            raise ValueError(msg)
        if steps < 1:
            msg = f'{steps} denoise steps, expected at least 1'
            raise ValueError(msg)


def _no_change(x_t: _Array, velocity: _Array, t: _Array) -> None:
    """Keep every velocity as it is."""


def _variant_for(bundle: Bundle, provider: str, variant: str | None, jacobian: bool) -> str:
    """Return the graphs to run: those asked for, or those made for the provider.

    8-bit graphs are a choice of their own, which nobody makes for the user.
    """
    if variant is not None:
        choose_variant(bundle, variant)
        return variant
    # Guidance by the Jacobian reads the cache of the reference.
    made = bundle.manifest.variants.get(provider)
    if made is None or jacobian:
        return REFERENCE
    if made.precision == 'float8':
        _log.warning(
            '%s: its graphs for %s are 8-bit and run only when the variant is named; the float32 '
            'reference runs instead.',
            bundle.path,
            provider,
        )
        return REFERENCE
    if made.precision != 'float32':
        _log.warning('%s runs in %s on %s', bundle.path, made.precision, provider)
    return provider
