"""What ``pizero check`` finds out about a chunk policy that others trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pizero_ros.errors import BundleError, PizeroError
from pizero_ros.policy.compatibility import Finding

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.observation import Frame, Observation
    from pizero_ros.policy.foreign.bundle import ForeignBundle


def examine_folder(
    arguments: argparse.Namespace, embodiment: Embodiment | None, neutral: Observation | None
) -> list[Finding]:
    """Open a chunk policy, compare it with a robot, and run it once.

    Args:
        arguments: ``bundle``, ``provider`` and ``threads`` of the command line.
        embodiment: The robot, None for none.
        neutral: What the robot perceives where a person would park it; None without a robot.

    Returns:
        The findings, in the order of the checks.
    """
    from pizero_ros.policy.foreign.bundle import ForeignBundle
    from pizero_ros.policy.foreign.compatibility import examine_foreign

    try:
        bundle = ForeignBundle.open(arguments.bundle)
    except BundleError as error:
        return [Finding('error', 'chunk policy', str(error))]
    findings = list(_contents(bundle))
    if embodiment is not None:
        findings += examine_foreign(bundle, embodiment)
    if not any(each.severity == 'error' for each in findings):
        findings += _runs(bundle, embodiment, neutral, arguments)
    return findings


def _contents(bundle: ForeignBundle) -> Iterator[Finding]:
    manifest = bundle.manifest
    message = f'{manifest.name}: schema 1, strict; for evaluation, no robot runs it'
    yield Finding('ok', 'chunk policy', message)
    yield Finding('ok', 'files', f'{len(manifest.files)} files, SHA-256 as listed')
    yield Finding('ok', 'source', manifest.source)
    yield Finding('ok', 'made for', manifest.embodiment)


def _runs(
    bundle: ForeignBundle,
    embodiment: Embodiment | None,
    neutral: Observation | None,
    arguments: argparse.Namespace,
) -> Iterator[Finding]:
    """Load the graph, and infer at the robot's neutral pose if there is a robot."""
    import numpy as np

    from pizero_ros.policy.foreign.graph import ForeignGraph
    from pizero_ros.policy.foreign.predictor import ForeignPredictor
    from pizero_ros.policy.opened import NO_EFFECT

    try:
        if embodiment is None or neutral is None:
            graph = ForeignGraph(bundle, arguments.provider, arguments.threads)
            yield Finding('ok', 'graph', f'as policy.yaml says, loaded on {graph.provider}')
            return
        predictor = ForeignPredictor(bundle, embodiment, arguments.provider, arguments.threads)
        yield Finding('ok', 'graph', f'as policy.yaml says, loaded on {predictor.provider}')
        ignored = predictor.ignored_inputs()
        for name in ignored:
            yield Finding('warning', 'inputs', f'{name} {NO_EFFECT}')
        if not ignored:
            yield Finding('ok', 'inputs', 'each has an effect on the chunk')
        seconds = float(np.median(predictor.warm_up('')))
        yield Finding('ok', 'latency', f'{seconds * 1e3:.1f} ms per chunk')
        chunk = predictor(replace(neutral, images=_pictures(bundle)))
    except PizeroError as error:
        yield Finding('error', 'graph', str(error))
        return
    if np.isfinite(chunk.actions).all():
        shape = ' x '.join(str(size) for size in chunk.actions.shape)
        yield Finding('ok', 'dry run', f'{shape} finite actions from the neutral pose')
    else:
        yield Finding('error', 'dry run', 'actions that are not finite from the neutral pose')


def _pictures(bundle: ForeignBundle) -> dict[str, Frame]:
    """Grey pictures of the sizes that the policy takes: it may take no others."""
    import numpy as np

    from pizero_ros.observation.observation import Frame

    return {
        image.slot: Frame.of(np.full((*image.size, 3), 128, np.uint8))
        for image in bundle.manifest.images
    }
