"""``pizero check``: everything that can be known about a bundle before motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.cli.bundle_argument import add_bundle, add_runtime, add_variant, open_bundle
from pizero_ros.cli.exit_codes import FINDING, SUCCESS
from pizero_ros.cli.output import add_json, console, write_json
from pizero_ros.errors import BundleError, PizeroError
from pizero_ros.policy.compatibility import Finding, examine

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.observation import Observation
    from pizero_ros.policy.bundle import Bundle

_MARKS = {'ok': '[green]ok[/]', 'warning': '[yellow]warn[/]', 'error': '[red]fail[/]'}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.epilog = 'Exit status 1 if anything fails; warnings do not fail.'
    add_bundle(parser)
    parser.add_argument(
        '--embodiment', metavar='E', help='robot to check it against: a shipped name or a file'
    )
    add_runtime(parser, 'as policy_node takes by itself')
    add_variant(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check the bundle and print a table."""
    from pizero_ros.embodiment.load import load_embodiment

    embodiment = load_embodiment(arguments.embodiment) if arguments.embodiment else None
    findings = _examine(arguments, embodiment)
    _print(findings)
    failed = _failed(findings)
    write_json(
        arguments.json,
        {
            'bundle': str(arguments.bundle),
            'embodiment': embodiment.name if embodiment else None,
            'passed': not failed,
            'findings': [
                {'severity': each.severity, 'subject': each.subject, 'message': each.message}
                for each in findings
            ],
        },
    )
    return FINDING if failed else SUCCESS


def _examine(arguments: argparse.Namespace, embodiment: Embodiment | None) -> list[Finding]:
    """Look at the folder, whatever kind of policy is in it."""
    from pizero_ros.cli.check_foreign import examine_folder
    from pizero_ros.policy.foreign.bundle import is_foreign

    try:
        if is_foreign(arguments.bundle):
            neutral = _neutral(embodiment, 'check') if embodiment else None
            return examine_folder(arguments, embodiment, neutral)
        bundle = open_bundle(arguments.bundle)
    except BundleError as error:
        return [Finding('error', 'bundle', str(error))]
    findings = list(_integrity(bundle))
    if embodiment is not None:
        findings += examine(bundle, embodiment)
    findings += _statistics(bundle, embodiment)
    if not _failed(findings):
        findings += _runs(bundle, embodiment, arguments)
    return findings


def _integrity(bundle: Bundle) -> Iterator[Finding]:
    """Report what opening the bundle has already proved."""
    manifest = bundle.manifest
    size = sum(entry.size for entry in manifest.files.values())
    yield Finding('ok', 'manifest', 'schema 1, strict, sealed')
    yield Finding(
        'ok', 'files', f'{len(manifest.files)} files, {size / 1e6:.1f} MB, SHA-256 as listed'
    )
    errors, limits = bundle.parity['max_abs_error'], bundle.parity['tolerance']
    shown = ', '.join(
        f'{key} {errors[key]:.1e} (limit {limits[key]:g})' for key in ('velocity', 'sample')
    )
    yield Finding('ok', 'parity', f'largest error against torch: {shown}')
    if manifest.untrained:
        message = 'the weights are random: motion will have no purpose'
        yield Finding('warning', 'weights', message)
    else:
        yield Finding('ok', 'weights', f'{manifest.provenance.kind}: {manifest.provenance.source}')
    robots = ', '.join(manifest.embodiments) or 'none: model only'
    yield Finding('ok', 'made for', robots)


def _statistics(bundle: Bundle, embodiment: Embodiment | None) -> Iterator[Finding]:
    """Build every pipeline, and warn of values that hardly moved in the training data."""
    from pizero_ros.processing.pipeline import OutputPipeline, StateTransform

    model = bundle.manifest.model
    for name, semantics in bundle.manifest.embodiments.items():
        if embodiment is not None and name != embodiment.name:
            continue
        try:
            state, action = StateTransform(model, semantics), OutputPipeline(model, semantics)
        except PizeroError as error:
            yield Finding('error', f'{name} statistics', str(error))
            continue
        constant = [f'state[{index}]' for index in state.near_constant]
        constant += [f'action[{index}]' for index in action.near_constant]
        if constant:
            message = (
                f'{", ".join(constant)} hardly moved in the training data: noise is magnified'
            )
            yield Finding('warning', f'{name} statistics', message)
        else:
            yield Finding('ok', f'{name} statistics', f'{semantics.normalization}, all vary')


def _runs(
    bundle: Bundle, embodiment: Embodiment | None, arguments: argparse.Namespace
) -> Iterator[Finding]:
    """Load the graphs and infer, blank in model space or at the robot's neutral pose."""
    import numpy as np

    from pizero_ros.cli.check_variant import agreement
    from pizero_ros.policy.predictor import ChunkPredictor
    from pizero_ros.policy.runtime import Policy

    try:
        policy = Policy.load(
            bundle,
            arguments.provider,
            arguments.threads,
            variant=arguments.variant,
            beside_sensors=True,
        )
        loaded = f'{policy.variant} loaded on {policy.provider} in {policy.load_s:.2f} s'
        loaded += f', threads: {policy.threads}'
        yield Finding('ok', 'graphs', loaded)
        agreed = agreement(bundle, policy)
        if agreed is not None:
            message = f'largest difference {agreed.largest:.2g} of {agreed.tolerance:g} allowed'
            yield Finding('ok' if agreed.holds else 'error', 'against the reference', message)
        cameras = len(embodiment.cameras) if embodiment else None
        seconds = float(np.median(policy.warm_up(cameras)))
        message = f'{seconds * 1e3:.1f} ms per chunk, longest prompt'
        if embodiment is None:
            yield Finding('ok', 'latency', message)
            return
        chunk_s = embodiment.horizon / embodiment.rate_hz
        message += f'; {seconds * embodiment.rate_hz:.1f} steps of {embodiment.horizon}'
        yield Finding('ok' if seconds < chunk_s / 2 else 'warning', 'latency', message)
        prompt = next(iter(bundle.manifest.model.prompt.named), 'check')
        chunk = ChunkPredictor(policy, embodiment)(_neutral(embodiment, prompt))
    except PizeroError as error:
        yield Finding('error', 'graphs', str(error))
        return
    if np.isfinite(chunk.actions).all():
        shape = ' x '.join(str(size) for size in chunk.actions.shape)
        yield Finding('ok', 'dry run', f'{shape} finite actions from the neutral pose')
    else:
        yield Finding('error', 'dry run', 'actions that are not finite from the neutral pose')


def _neutral(embodiment: Embodiment, prompt: str) -> Observation:
    """Grey cameras and the joints where a person would park the robot."""
    import numpy as np

    from pizero_ros.observation.observation import Frame, Observation

    state = np.zeros(embodiment.vector_dim)
    mapped = np.zeros(embodiment.vector_dim, bool)
    for joint in embodiment.state_joints:
        raw = embodiment.neutral.get(joint.name, 0.0) if joint.field == 'position' else 0.0
        state[joint.index] = joint.sign * joint.scale * raw + joint.offset
        mapped[joint.index] = True
    grey = np.full((48, 64, 3), 128, np.uint8)
    images = {camera.slot: Frame.of(grey) for camera in embodiment.cameras}
    return Observation(0, 0, images, state, mapped, prompt)


def _failed(findings: list[Finding]) -> bool:
    return any(each.severity == 'error' for each in findings)


def _print(findings: list[Finding]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column('')
    table.add_column('what', style='bold', no_wrap=True)
    table.add_column('finding', overflow='fold')
    for each in findings:
        table.add_row(_MARKS[each.severity], escape(each.subject), escape(each.message))
    console.print(table)
