"""The input rules of an imported policy, with its tokenizer and baked prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pizero_ros.checkpoints.choices import MEANINGS
from pizero_ros.errors import UnstatedError
from pizero_ros.processing.prompt import PromptEncoder
from pizero_ros.processing.spec import ModelSpec, PromptSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pizero_ros.checkpoints.checkpoint import Checkpoint
    from pizero_ros.checkpoints.choices import Choices
    from pizero_ros.processing.spec import TokenizerKind

_KINDS: dict[str, TokenizerKind] = {'.model': 'sentencepiece', '.json': 'huggingface'}


def model_spec(
    checkpoint: Checkpoint,
    *,
    choices: Choices,
    prompts: Sequence[str] = (),
    carry_tokenizer: bool = True,
    needs_prompts: bool = True,
    steps: int | None = None,
) -> tuple[ModelSpec, Path | None]:
    """Say how the bundle of a checkpoint turns observations into inputs.

    Args:
        checkpoint: The checkpoint.
        choices: The user's word: its tokenizer goes before the checkpoint's own.
        prompts: Instructions whose token ids the bundle shall carry.
        carry_tokenizer: Whether the bundle gets the tokenizer too, for other prompts.
        needs_prompts: Whether prompts must become tokens at all; ``pizero infer`` in model space
            takes tokens.
        steps: Euler steps, over the checkpoint's own.

    Returns:
        The specification, and the file that the bundle must hold for it.

    Raises:
        UnstatedError: A tokenizer is needed and nobody names its file, or nothing is left that
            could turn a prompt into tokens.
        BundleError: The file is no tokenizer, or not one for this model.
        PromptError: A prompt is empty, or too long.
    """
    sizes, inputs = checkpoint.architecture, checkpoint.inputs
    file = choices.tokenizer or inputs.tokenizer
    rules = PromptSpec(
        tokenizer='none',
        max_tokens=sizes.max_tokens,
        clean=inputs.clean,
        newline=True,
        named={},
        newline_as_text=inputs.newline_as_text,
    )
    if file is not None:
        rules = replace(rules, tokenizer=_kind(file))
        encode = PromptEncoder(rules, sizes.vocabulary, file)
        rules = replace(rules, named={text: tuple(encode(text).tolist()) for text in prompts})
    elif needs_prompts or prompts:
        raise UnstatedError.at(
            checkpoint.folder,
            '--tokenizer',
            found=f'nothing; the checkpoint only names {inputs.tokenizer_name}',
            expected=MEANINGS['--tokenizer'],
        )
    if file is not None and not carry_tokenizer:
        if not prompts:
            raise UnstatedError.at(
                '--prompt',
                '',
                found='nothing beside --prompts-only',
                expected='every instruction that the robot will be given',
            )
        rules, file = replace(rules, tokenizer='none'), None
    size = sizes.vision.image_size
    spec = ModelSpec(
        slots=inputs.slots,
        image_size=(size, size),
        resize=inputs.resize,
        prompt=rules,
        state_dim=sizes.state_dim,
        action_dim=sizes.action_dim,
        horizon=sizes.horizon,
        steps=steps or inputs.steps,
        vocabulary=sizes.vocabulary,
    )
    return spec, file


def _kind(file: Path) -> TokenizerKind:
    """Tell a tokenizer's kind by its name, as both libraries' users do."""
    kind = _KINDS.get(file.suffix)
    if kind is None or not file.is_file():
        found = f'{file.name}' if file.exists() else 'no such file'
        raise UnstatedError.at(
            '--tokenizer', str(file), found=found, expected=MEANINGS['--tokenizer']
        )
    return kind
