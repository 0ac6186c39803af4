"""``pizero bench``: latency of a bundle by phase, memory, and how far from the limit it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pizero_ros.bench.sweep import AXES, sweep
from pizero_ros.cli.bundle_argument import (
    add_bundle,
    add_runtime,
    add_variant,
    open_bundle,
    positive,
)
from pizero_ros.cli.exit_codes import SUCCESS, UsageError
from pizero_ros.cli.output import add_json, console, progress_console, write_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pizero_ros.bench.inputs import Around, Size
    from pizero_ros.bench.timing import Times
    from pizero_ros.policy.bundle import Bundle
    from pizero_ros.policy.runtime import Policy

_EPILOG = """\
Where the bundle knows a robot, 640x480 pictures go through its real pipelines before the model and
actions through them after it; a model-only bundle gets random arrays. Time on an idle machine.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.epilog = _EPILOG
    add_bundle(parser)
    add_runtime(parser)
    add_variant(parser)
    parser.add_argument(
        '--embodiment',
        metavar='E',
        help='robot whose pipelines are timed (default: the first that the bundle names)',
    )
    parser.add_argument(
        '--cameras', type=positive, metavar='N', help='cameras present (default: every slot)'
    )
    parser.add_argument(
        '--tokens', type=positive, metavar='N', help='prompt length (default: the longest)'
    )
    parser.add_argument(
        '--steps', type=positive, metavar='N', help="Euler steps (default: the bundle's)"
    )
    parser.add_argument(
        '--runs', type=positive, default=50, metavar='N', help='timed runs (default: 50)'
    )
    parser.add_argument(
        '--scale',
        nargs='+',
        choices=AXES,
        default=[],
        metavar='AXIS',
        help=f'also time several {", ".join(AXES)}; the horizon is fixed in the graphs '
        '(benchmarks/inference_horizon.py)',
    )
    parser.add_argument(
        '--roofline',
        action='store_true',
        help='measure copy bandwidth and matrix products of this machine, and print how far '
        'each phase is from them',
    )
    parser.add_argument(
        '--baseline',
        choices=('torch',),
        help='interleave the same work in eager torch and print the ratio',
    )
    parser.add_argument('--plot', metavar='FILE', type=Path, help='also draw a picture (PNG)')
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print tables."""
    from pizero_ros.bench import inputs, timing
    from pizero_ros.bench.tables import tables
    from pizero_ros.policy.runtime import Policy

    _check_plot(arguments.plot)
    bundle = open_bundle(arguments.bundle)
    model = bundle.manifest.model
    size = inputs.Size(
        cameras=_at_most('--cameras', arguments.cameras, len(model.slots)),
        tokens=_at_most('--tokens', arguments.tokens, model.prompt.max_tokens),
        steps=arguments.steps or model.steps,
    )
    surround = inputs.around(bundle, arguments.embodiment)
    policy = Policy.load(bundle, arguments.provider, arguments.threads, variant=arguments.variant)
    sweeps = {axis: sweep(axis, size, model) for axis in arguments.scale}
    sizes = tuple(dict.fromkeys((size, *(each for some in sweeps.values() for each in some))))
    warm_s = timing.warm_up(policy, sizes, surround)
    # Taken before torch is imported: it is what a robot needs.
    peak = timing.peak_bytes()
    times = _measure(policy, (size,), surround, arguments.runs, _beside(arguments, bundle, size))
    latency_ms = timing.percentiles_ms(times[size])
    result: dict[str, Any] = {
        'bundle': str(bundle.path),
        'provider': policy.provider,
        'variant': policy.variant,
        'threads': policy.threads,
        'precision': _precision(bundle, policy),
        'cameras': size.cameras,
        'tokens': size.tokens,
        'steps': size.steps,
        'runs': arguments.runs,
        'load_s': policy.load_s,
        'warm_up_s': list(warm_s),
        'peak_rss_bytes': peak,
        'latency_ms': latency_ms,
    }
    if arguments.baseline:
        latency_ms['whole in eager torch'] = latency_ms.pop('beside')
        ratio = latency_ms['whole in eager torch']['p50'] / latency_ms['whole']['p50']
        result['torch_over_bundle'] = ratio
    if sweeps:
        swept = _measure(policy, sizes, surround, arguments.runs, None)
        result['scale'] = {
            axis: [{**asdict(at), 'latency_ms': timing.percentiles_ms(swept[at])} for at in points]
            for axis, points in sweeps.items()
        }
    if arguments.roofline:
        result['roofline'] = _roofline(result, bundle, size)
    write_json(arguments.json, result)
    for each in tables(result):
        console.print(each)
    if arguments.plot is not None:
        from pizero_ros.bench.plot import draw

        draw(arguments.plot, result)
    return SUCCESS


def _measure(
    policy: Policy,
    sizes: tuple[Size, ...],
    surround: Around,
    runs: int,
    beside: Callable[[Size], object] | None,
) -> dict[Size, Times]:
    """Time with a progress bar."""
    from rich.progress import Progress

    from pizero_ros.bench.timing import measure

    with Progress(console=progress_console, transient=True) as progress:
        task = progress.add_task('timing', total=runs * len(sizes))
        return measure(
            policy, sizes, surround, runs, beside=beside, on_run=lambda: progress.advance(task)
        )


def _beside(
    arguments: argparse.Namespace, bundle: Bundle, size: Size
) -> Callable[[Size], object] | None:
    """Prepare what is compared with, if anything is."""
    if not arguments.baseline:
        return None
    from pizero_ros.bench.eager import eager_sample
    from pizero_ros.bench.flops import architecture_of
    from pizero_ros.bench.inputs import ModelSpace, noise

    sizes = architecture_of(bundle.path, bundle.manifest.architecture)
    return eager_sample(sizes, ModelSpace(bundle).before(size)[0], noise(bundle))


def _roofline(result: dict[str, Any], bundle: Bundle, size: Size) -> dict[str, Any]:
    """Measure the machine as the policy uses it, and hold every phase against it."""
    from pizero_ros.bench.flops import architecture_of, phases
    from pizero_ros.bench.roofline import achieved, measure_roof
    from pizero_ros.bench.timing import medians_ms

    sizes = architecture_of(bundle.path, bundle.manifest.architecture)
    roof = measure_roof(result['provider'], result['threads'], result['precision'])
    work = phases(sizes, size.cameras, size.tokens, size.steps)
    rows = achieved(roof, work, medians_ms(result['latency_ms']))
    return {**asdict(roof), 'phases': {name: asdict(row) for name, row in rows.items()}}


def _precision(bundle: Bundle, policy: Policy) -> str:
    """Return the precision of the weights that run."""
    variant = bundle.manifest.variants.get(policy.variant)
    return bundle.manifest.precision if variant is None else variant.precision


def _check_plot(path: Path | None) -> None:
    """Refuse a picture that cannot be written, before minutes are spent on it."""
    if path is None:
        return
    if path.suffix.lower() != '.png':
        raise UsageError.at('--plot', '', found=path, expected='a file whose name ends in .png')
    if not path.parent.is_dir():
        raise UsageError.at(
            '--plot', '', found=f'no folder {path.parent}', expected='a folder that exists'
        )


def _at_most(option: str, value: int | None, limit: int) -> int:
    """Return the value, or the limit where none was given."""
    if value is not None and value > limit:
        raise UsageError.at(option, '', found=value, expected=f'at most {limit}')
    return limit if value is None else value
