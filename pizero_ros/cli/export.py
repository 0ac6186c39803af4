"""``pizero export``: a policy as a bundle, with the proof that it is the same policy."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from pizero_ros.cli.bundle_argument import positive
from pizero_ros.cli.exit_codes import SUCCESS, UsageError
from pizero_ros.cli.output import add_json, console, progress_console, write_json
from pizero_ros.errors import EnvironmentFault, ExportError

_EPILOG = """\
examples:
  pizero export --random tiny --embodiment sim_single_arm --out bundles/tiny
  pizero export --random tiny --embodiment sim_single_arm --embodiment sim_dual_arm --out both
  pizero export --random pi0_small --model-only --out bundles/small
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--random',
        metavar='ARCH',
        help='untrained policy of this architecture: a shipped name (tiny, pi0_small, pi0), a '
        'YAML file or the size.json of a reference model',
    )
    parser.add_argument('--out', metavar='BUNDLE', type=Path, required=True, help='new folder')
    purpose = parser.add_mutually_exclusive_group(required=True)
    purpose.add_argument(
        '--embodiment',
        metavar='E',
        action='append',
        default=[],
        help='robot the bundle is for: a shipped name or a file; repeat it for several',
    )
    purpose.add_argument(
        '--model-only',
        action='store_true',
        help='no action semantics: only `pizero infer` and `pizero bench` run it',
    )
    parser.add_argument(
        '--actions',
        choices=('absolute', 'relative'),
        default='absolute',
        help='whether arm actions are relative to the observed state (default: absolute)',
    )
    parser.add_argument(
        '--prompt',
        metavar='TEXT',
        action='append',
        default=[],
        help='instruction whose token ids the bundle carries; repeat it for several',
    )
    parser.add_argument(
        '--steps', type=positive, default=10, metavar='N', help='Euler steps (default: 10)'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the random weights (default: 0)'
    )
    parser.add_argument('--force', action='store_true', help='replace a bundle at --out')
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Export the bundle."""
    try:
        import torch  # noqa: F401
    except ImportError:
        msg = 'PyTorch is not installed. Install pizero_ros with the extras `train` and `cpu`.'
        raise EnvironmentFault(msg) from None
    from pizero_ros.embodiment.load import load_embodiment
    from pizero_ros.export.bundle import check_target, slots_of, write_bundle
    from pizero_ros.export.random_bundle import random_model_spec, random_semantics
    from pizero_ros.model.architecture import architecture_path, read_architecture
    from pizero_ros.model.pi0 import Pi0
    from pizero_ros.policy.manifest import CANONICAL_SLOTS

    start = time.perf_counter()
    if arguments.seed < 0:
        raise UsageError.at('--seed', '', found=arguments.seed, expected='0 or more')
    try:
        check_target(arguments.out, arguments.force)
    except ExportError as error:
        raise UsageError(str(error)) from None
    architecture = read_architecture(architecture_path(arguments.random))
    embodiments = [load_embodiment(each) for each in arguments.embodiment]
    semantics = {
        each.name: random_semantics(each, architecture, arguments.actions) for each in embodiments
    }
    slots = slots_of(embodiments) if embodiments else CANONICAL_SLOTS
    spec = random_model_spec(architecture, slots, prompts=arguments.prompt, steps=arguments.steps)
    with progress_console.status('building the model') as status:
        bundle = write_bundle(
            Pi0.random(architecture, arguments.seed),
            spec,
            arguments.out,
            semantics=semantics,
            kind='random',
            source=Path(arguments.random).name,
            seed=arguments.seed,
            force=arguments.force,
            on_phase=status.update,
        )
    errors = bundle.parity['max_abs_error']
    size = sum(entry.size for entry in bundle.manifest.files.values())
    seconds = time.perf_counter() - start
    write_json(
        arguments.json,
        {
            'bundle': str(bundle.path),
            'embodiments': list(semantics),
            'slots': list(slots),
            'bytes': size,
            'max_abs_error': errors,
            'seconds': seconds,
        },
    )
    console.print(
        f'{bundle.path}: {size / 1e6:.1f} MB for {", ".join(semantics) or "no robot (model only)"}'
        f'; largest error against torch {errors["velocity"]:.1e} per velocity, '
        f'{errors["sample"]:.1e} per sample; {seconds:.1f} s',
        markup=False,
        soft_wrap=True,
    )
    return SUCCESS
