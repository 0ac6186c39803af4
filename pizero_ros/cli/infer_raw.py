"""``pizero infer --raw``: an observation as the robot gives it in, actions in robot space out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.cli.bundle_argument import open_bundle
from pizero_ros.cli.exit_codes import FINDING, SUCCESS, UsageError
from pizero_ros.cli.output import console, progress_console, write_json

if TYPE_CHECKING:
    import argparse

    from pizero_ros.policy.bundle import Bundle
    from pizero_ros.processing.pipeline import InputPipeline
    from pizero_ros.processing.spec import RobotSemantics

RAW_CONTRACT = """\
With --raw, IN.npz holds one observation and nothing else:
  image.SLOT      uint8 [H, W, 3] RGB, or float32 [3, H, W] RGB in [0, 1], of any size, under the
                  names of the bundle's camera slots; a slot left out is a missing camera
  state           float32 or float64 [S], as the robot reports it
  prompt          a string
  noise           float32 [H, A], standard normal, padded values included
OUT.npz holds actions, float64 [H, R] in robot units: unnormalised, absolute, without padding.
"""


def configure_raw(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this mode and explain its arrays."""
    parser.add_argument(
        '--raw', action='store_true', help='images, state and prompt as the robot gives them'
    )
    parser.add_argument(
        '--embodiment',
        metavar='NAME',
        help='with --raw: whose semantics, if the bundle was made for several robots',
    )
    parser.epilog = f'{parser.epilog or ""}\n{RAW_CONTRACT}'


def run_raw(arguments: argparse.Namespace) -> int:
    """Infer one chunk and write the actions."""
    import numpy as np

    from pizero_ros.cli.raw_arrays import read_observation
    from pizero_ros.policy.predictor import prompt_encoder
    from pizero_ros.policy.runtime import Policy
    from pizero_ros.processing.pipeline import InputPipeline, OutputPipeline

    bundle = open_bundle(arguments.bundle)
    model = bundle.manifest.model
    robot = _robot(bundle, arguments.embodiment)
    inputs = InputPipeline(model, robot, prompt_encoder(bundle))
    outputs = OutputPipeline(model, robot)
    raw = read_observation(arguments.inputs, model, _widths(robot, inputs), inputs.resize)
    seen = inputs(raw.observation)
    policy = Policy.load(bundle, arguments.provider, arguments.threads, variant=arguments.variant)
    result = policy.infer(seen, raw.noise, arguments.steps)
    actions = outputs(result.actions, raw.observation.state)
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
            'embodiment': robot.embodiment,
            'provider': policy.provider,
            'variant': policy.variant,
            'steps': arguments.steps or model.steps,
            'finite': finite,
            'durations_s': dict(result.durations_s),
            'cameras': [slot for slot in model.slots if slot in raw.observation.images],
            'tokens': [int(token) for token in seen.tokens],
        },
    )
    if not finite:
        progress_console.print('pizero infer: some actions are not finite', markup=False)
        return FINDING
    shape = ', '.join(str(size) for size in actions.shape)
    console.print(
        f'{arguments.out}: actions [{shape}] of {robot.embodiment} on {policy.provider}',
        markup=False,
        soft_wrap=True,
    )
    return SUCCESS


def _widths(robot: RobotSemantics, inputs: InputPipeline) -> range:
    """Return the possible numbers of state values: statistics fix it, without them it is open."""
    most = inputs.state.width
    return range(most if robot.state.width else 1, most + 1)


def _robot(bundle: Bundle, name: str | None) -> RobotSemantics:
    """Choose the semantics: those asked for, or the only ones there are."""
    names = list(bundle.manifest.embodiments)
    if name is None and len(names) > 1:
        raise UsageError.at(
            '--embodiment', '', found='nothing', expected=f'one of {", ".join(names)}'
        )
    return bundle.semantics(name or (names[0] if names else 'the robot'))
