"""``pizero export``: a policy as a bundle, with the proof that it is the same policy."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.cli.bundle_argument import positive
from pizero_ros.cli.checkpoint_arguments import add_checkpoint
from pizero_ros.cli.exit_codes import SUCCESS, UsageError
from pizero_ros.cli.output import PhaseDisplay, add_json, console, write_json
from pizero_ros.errors import EnvironmentFault, ExportError
from pizero_ros.policy.manifest import PARTS

if TYPE_CHECKING:
    from pizero_ros.cli.export_source import Source
    from pizero_ros.policy.bundle import Bundle

_EPILOG = """\
examples:
  trained with `pizero train`, which says everything, for all robots that it knows:
    pizero export --checkpoint runs/mine/checkpoints/last --embodiment sim_single_arm \\
      --embodiment sim_dual_arm --out bundles/mine
  fine-tuned with lerobot 0.6, which says everything (0.4 saves no tokenizer: --tokenizer FILE):
    pizero export --checkpoint outputs/train/checkpoints/last/pretrained_model \\
      --embodiment my_robot.yaml --prompt "fold the towel" --out bundles/towel
  fine-tuned with openpi on ALOHA by its default configuration, which no file records:
    pizero export --checkpoint pi0_aloha_pen_uncap --embodiment aloha --actions relative \\
      --normalization zscore --adapt aloha --tokenizer paligemma_tokenizer.model \\
      --prompt "uncap the pen" --out bundles/pen
  numbers only, for `pizero infer` and `pizero bench`:
    pizero export --checkpoint pi0_base --model-only --out bundles/base
  untrained, to try things out:
    pizero export --random tiny --embodiment sim_single_arm --embodiment sim_dual_arm --out both
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--checkpoint',
        metavar='DIR',
        type=Path,
        help='folder with model.safetensors, from openpi (PyTorch), lerobot or `pizero train`',
    )
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
        help='robot the bundle is for: a shipped name or a file; repeat it for several, if the '
        'weights are random or from `pizero train`',
    )
    purpose.add_argument(
        '--model-only',
        action='store_true',
        help='no action semantics: only `pizero infer` and `pizero bench` run it',
    )
    parser.add_argument(
        '--actions',
        choices=('absolute', 'relative'),
        help='whether arm actions are relative to the observed state (random weights: absolute)',
    )
    parser.add_argument(
        '--prompt',
        metavar='TEXT',
        action='append',
        default=[],
        help='instruction whose token ids the bundle carries; repeat it for several',
    )
    parser.add_argument(
        '--steps',
        type=positive,
        metavar='N',
        help="Euler steps (default: the checkpoint's, or 10)",
    )
    parser.add_argument('--seed', type=int, help='seed of random weights (default: 0)')
    parser.add_argument('--force', action='store_true', help='replace a bundle at --out')
    parser.add_argument(
        '--jacobian',
        action='store_true',
        help='add jacobian.onnx, for real-time chunking with rtc_method jacobian; it is twice as '
        'large as denoise.onnx',
    )
    parser.add_argument(
        '--variant',
        action='append',
        default=[],
        choices=tuple(PARTS),
        help='the same policy in other graphs too; repeat it for several. cpu_int8: 8-bit '
        'weights, not exact, run only when named; cpu_split: encodes only views that have '
        'changed; cuda: for CUDA graphs; tensorrt: for its engines',
    )
    parser.add_argument(
        '--precision',
        choices=('float32', 'bfloat16', 'float16', 'float8'),
        default='bfloat16',
        help='of the weights in the variants cuda and tensorrt (default: %(default)s; float8, not '
        'exact: tensorrt alone); '
        'observe.onnx and denoise.onnx are float32 always',
    )
    add_json(parser)
    add_checkpoint(parser)


def run(arguments: argparse.Namespace) -> int:
    """Export the bundle."""
    try:
        import torch  # noqa: F401
    except ImportError:
        msg = 'PyTorch is not installed. Install pizero_ros with the extras `train` and `cpu`.'
        raise EnvironmentFault(msg) from None
    from pizero_ros.cli.export_source import from_checkpoint, from_random
    from pizero_ros.cli.export_trained import from_trained, is_trained
    from pizero_ros.export.bundle import check_target, write_bundle

    start = time.perf_counter()
    try:
        check_target(arguments.out, arguments.force)
    except ExportError as error:
        raise UsageError(str(error)) from None
    with PhaseDisplay() as display:
        display.phase('reading')
        if arguments.checkpoint is None:
            source = from_random(arguments)
        elif is_trained(arguments.checkpoint):
            source = from_trained(arguments, display)
        else:
            source = from_checkpoint(arguments, display)
        bundle = write_bundle(
            source.model(),
            source.spec,
            arguments.out,
            semantics=source.semantics,
            kind=source.kind,
            source=source.name,
            seed=source.seed,
            tokenizer=source.tokenizer,
            force=arguments.force,
            jacobian=arguments.jacobian,
            variants=tuple(dict.fromkeys(arguments.variant)),
            precision=arguments.precision,
            on_phase=display.phase,
            on_bytes=display.bytes,
        )
    seconds = {**display.seconds, 'all': time.perf_counter() - start}
    _report(arguments, source, bundle, seconds)
    return SUCCESS


def _report(
    arguments: argparse.Namespace,
    source: Source,
    bundle: Bundle,
    seconds: dict[str, float],
) -> None:
    """Say what was written, and what the user should know about it."""
    errors = bundle.parity['max_abs_error']
    size = sum(entry.size for entry in bundle.manifest.files.values())
    variants = {
        name: {
            'precision': each.precision,
            'max_abs_error': bundle.parity['variants'][name]['max_abs_error'],
        }
        for name, each in bundle.manifest.variants.items()
    }
    write_json(
        arguments.json,
        {
            'bundle': str(arguments.out),
            'kind': source.kind,
            'embodiments': list(source.semantics),
            'slots': list(source.spec.slots),
            'steps': source.spec.steps,
            'bytes': size,
            'max_abs_error': errors,
            'variants': variants,
            'ignored': dict(source.ignored),
            'notes': list(source.notes),
            'seconds': seconds['all'],
            'phases_s': {k: round(v, 3) for k, v in seconds.items() if k != 'all'},
        },
    )
    for name, rule in source.ignored.items():
        console.print(f'not read: {name}: {rule}', markup=False, soft_wrap=True)
    for note in source.notes:
        console.print(f'note: {note}', markup=False, soft_wrap=True)
    robots = ', '.join(source.semantics) or 'no robot (model only)'
    console.print(
        f'{arguments.out}: {source.kind}, {size / 1e6:.1f} MB for {robots}; largest error against '
        f'torch {errors["velocity"]:.1e} per velocity, {errors["sample"]:.1e} per sample; '
        f'{seconds["all"]:.1f} s',
        markup=False,
        soft_wrap=True,
    )
    for name, each in variants.items():
        console.print(
            f'variant {name} ({each["precision"]}): largest error against torch '
            f'{each["max_abs_error"]["velocity"]:.1e} per velocity, '
            f'{each["max_abs_error"]["sample"]:.1e} per sample',
            markup=False,
            soft_wrap=True,
        )
