"""What goes into the policy of a run, and how: camera slots, pictures, prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.errors import DatasetError, TrainingConfigError, TrainingError
from pizero_ros.policy.manifest import CANONICAL_SLOTS, TOKENIZER_FILES
from pizero_ros.processing.spec import ModelSpec, PromptSpec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.model.architecture import Architecture
    from pizero_ros.processing.spec import TokenizerKind
    from pizero_ros.training.config import DataConfig

_EULER_STEPS = 10
_TOKENIZERS: Mapping[str, TokenizerKind] = {'.model': 'sentencepiece', '.json': 'huggingface'}


def input_rules(
    config: DataConfig,
    architecture: Architecture,
    robots: Collection[Embodiment],
    learned: ModelSpec | None = None,
) -> ModelSpec:
    """Return the input rules of a run.

    New ones are antialiased images and PaliGemma's prompt rules.

    Args:
        config: Names the slots and the tokenizer, or leaves them to the robots and to bytes.
        architecture: Sizes.
        robots: Whose cameras are the slots.
        learned: The rules of the run that this one starts from; they stay.

    Raises:
        DatasetError: If the tokenizer's file is of no known kind.
        TrainingConfigError: If the configuration names other rules than the learned ones, or a
            robot has a camera without a slot.
    """
    if learned is None:
        model = _new(config, architecture, robots)
    else:
        _check_learned(config, learned)
        model = learned
    for robot in robots:
        for camera in robot.cameras:
            if camera.slot not in model.slots:
                raise TrainingConfigError.at(
                    'data.slots',
                    '',
                    found=', '.join(model.slots) + (', of the run before' if learned else ''),
                    expected=f'{camera.slot} too, a camera of {robot.name}',
                )
    return model


def check_tokenizer(checkpoint: Path, learned: ModelSpec, tokenizer: Path | None) -> None:
    """Refuse words that are other tokens than the ones that the weights have learned.

    Args:
        checkpoint: Of the run that goes on.
        learned: Its input rules, which say of which kind its tokenizer is.
        tokenizer: File of the run to come; None is one token a byte.

    Raises:
        TrainingConfigError: It is not, byte for byte, the checkpoint's, or cannot be read.
        TrainingError: The checkpoint's cannot be read.
    """
    name = TOKENIZER_FILES.get(learned.prompt.tokenizer)
    own = None if name is None else checkpoint / name
    try:
        wanted = None if own is None else own.read_bytes()
    except OSError as error:
        raise TrainingError.at(own, '', found=error.strerror, expected='a tokenizer') from None
    try:
        given = None if tokenizer is None else tokenizer.read_bytes()
    except OSError as error:
        raise TrainingConfigError.at(
            'data.tokenizer', '', found=f'{tokenizer}: {error.strerror}', expected='a file'
        ) from None
    if wanted != given:
        raise TrainingConfigError.at(
            'data.tokenizer',
            '',
            found=tokenizer or 'none: one token a byte',
            expected='the tokens of the run before, byte for byte',
            remedy=f'Name {own}.' if own else 'Leave it out: one token a byte.',
        )


def _new(
    config: DataConfig, architecture: Architecture, robots: Collection[Embodiment]
) -> ModelSpec:
    used = dict.fromkeys(camera.slot for robot in robots for camera in robot.cameras)
    ordered = [slot for slot in CANONICAL_SLOTS if slot in used]
    ordered += [slot for slot in used if slot not in CANONICAL_SLOTS]
    size = architecture.vision.image_size
    return ModelSpec(
        slots=config.slots or tuple(ordered),
        image_size=(size, size),
        resize='antialias',
        prompt=PromptSpec(_tokenizer_kind(config), architecture.max_tokens, True, True, {}),
        state_dim=architecture.state_dim,
        action_dim=architecture.action_dim,
        horizon=architecture.horizon,
        steps=_EULER_STEPS,
        vocabulary=architecture.vocabulary,
    )


def _tokenizer_kind(config: DataConfig) -> TokenizerKind:
    if config.tokenizer is None:
        return 'bytes'
    if config.tokenizer.suffix not in _TOKENIZERS:
        raise DatasetError.at(
            config.tokenizer,
            'tokenizer',
            found=config.tokenizer.suffix or 'no suffix',
            expected=f'a file that ends in {" or ".join(_TOKENIZERS)}',
        )
    return _TOKENIZERS[config.tokenizer.suffix]


def _check_learned(config: DataConfig, model: ModelSpec) -> None:
    """Refuse input rules that are not those of the policy that is trained further."""
    if config.slots not in (None, model.slots):
        raise TrainingConfigError.at(
            'data.slots',
            '',
            found=', '.join(config.slots or ()),
            expected=f'{", ".join(model.slots)}, as in the run before, or nothing',
        )
    kind = _tokenizer_kind(config)
    if kind != model.prompt.tokenizer:
        raise TrainingConfigError.at(
            'data.tokenizer',
            '',
            found=kind,
            expected=f'{model.prompt.tokenizer}, as in the run before',
        )
