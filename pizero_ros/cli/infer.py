"""``pizero infer``: arrays in model space in, actions in model space out."""

from __future__ import annotations

import argparse
from pathlib import Path

from pizero_ros.cli.bundle_argument import (
    add_bundle,
    add_runtime,
    add_variant,
    open_bundle,
    positive,
)
from pizero_ros.cli.exit_codes import FINDING, SUCCESS, UsageError
from pizero_ros.cli.infer_raw import configure_raw, run_raw
from pizero_ros.cli.output import add_json, console, progress_console, write_json

_CONTRACT = """\
Without --raw, IN.npz holds, for a batch of B samples:
  images.0 …      float32 [B, 3, H, W] in [-1, 1], one per camera slot in the bundle's order
  img_masks.0 …   bool [B], False where that camera is absent
  lang_tokens     int64 [B, L]
  lang_masks      bool [B, L], False at pads
  state           float32 [B, S], normalised and padded
  noise           float32 [B, H, A], standard normal, padded values included
OUT.npz holds actions, float32 [B, H, A]. Other keys of IN.npz are not read.
Absent cameras and pads are left out of the graphs' inputs, which gives the same result.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _CONTRACT
    add_bundle(parser)
    parser.add_argument('--inputs', metavar='IN.npz', type=Path, required=True, help='see below')
    parser.add_argument('--out', metavar='OUT.npz', type=Path, required=True, help='see below')
    parser.add_argument(
        '--steps', type=positive, metavar='N', help="Euler steps (default: the bundle's)"
    )
    add_runtime(parser)
    add_variant(parser)
    add_json(parser)
    configure_raw(parser)


def run(arguments: argparse.Namespace) -> int:
    """Infer sample by sample and write the actions."""
    if arguments.raw:
        return run_raw(arguments)
    if arguments.embodiment is not None:
        raise UsageError.at(
            '--embodiment', '', found=arguments.embodiment, expected='--raw beside it'
        )
    import numpy as np

    from pizero_ros.cli.model_arrays import read_samples
    from pizero_ros.policy.runtime import Policy

    bundle = open_bundle(arguments.bundle)
    samples = read_samples(arguments.inputs, bundle.manifest.model)
    policy = Policy.load(bundle, arguments.provider, arguments.threads, variant=arguments.variant)
    results = [policy.infer(inputs, noise, arguments.steps) for inputs, noise in samples]
    actions = np.stack([result.actions for result in results])
    try:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        with arguments.out.open('wb') as stream:  # np.savez would append .npz to another name.
            np.savez(stream, actions=actions)
    except OSError as error:
        raise UsageError.at(
            arguments.out, '', found=error.strerror, expected='a file that can be written'
        ) from None
    finite = bool(np.isfinite(actions).all())
    write_json(
        arguments.json,
        {
            'bundle': str(bundle.path),
            'provider': policy.provider,
            'variant': policy.variant,
            'samples': len(samples),
            'steps': arguments.steps or bundle.manifest.model.steps,
            'finite': finite,
            'durations_s': [dict(result.durations_s) for result in results],
            'cameras': [len(inputs.images) for inputs, _ in samples],
            'tokens': [len(inputs.tokens) for inputs, _ in samples],
        },
    )
    if not finite:
        progress_console.print('pizero infer: some actions are not finite', markup=False)
        return FINDING
    shape = ', '.join(str(size) for size in actions.shape)
    console.print(
        f'{arguments.out}: actions [{shape}] on {policy.provider}', markup=False, soft_wrap=True
    )
    return SUCCESS
