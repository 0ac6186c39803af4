"""Which weights learn: all that reach what is learned, less what the configuration freezes."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pizero_ros.errors import TrainingConfigError
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from torch import nn

    from pizero_ros.model.pi0 import Pi0

_FREEZE = 'model.freeze'
_LANGUAGE = 'paligemma_with_expert.paligemma.model.language_model.'


def choose_trainable(policy: Pi0, freeze: Sequence[str], dead: Collection[str]) -> None:
    """Set ``requires_grad`` of every weight.

    Args:
        policy: The policy.
        freeze: Patterns of names that do not learn, as a shell's.
        dead: Names of weights that the loss does not depend on.

    Raises:
        TrainingConfigError: A pattern fits no weight.
    """
    frozen = matching(dict(policy.named_parameters()), freeze, _FREEZE)
    frozen |= set(dead)
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_(name not in frozen)


def matching(names: Iterable[str], patterns: Sequence[str], where: str) -> set[str]:
    """Return the names that fit one of the patterns.

    Raises:
        TrainingConfigError: A pattern fits none.
    """
    names = list(names)
    found = set()
    for pattern in patterns:
        fitting = {name for name in names if fnmatchcase(name, pattern)}
        if not fitting:
            raise TrainingConfigError.at(
                where,
                '',
                found=f'{pattern!r}, which fits no weight',
                expected="names of weights with a shell's * and ?",
                remedy=suggestion(pattern, names),
            )
        found |= fitting
    return found


def unreached(policy: Pi0) -> set[str]:
    """Name the weights that no action depends on: of the VLM's last layer only keys and values do.

    Most of them would get no gradient at all, which an optimizer's saved state must know of.
    """
    last = f'{_LANGUAGE}layers.{policy.architecture.vlm.depth - 1}.'
    parts = ('self_attn.q_proj.', 'self_attn.o_proj.', 'mlp.', 'post_attention_layernorm.')
    dead = tuple(f'{last}{part}' for part in parts)
    return {
        name
        for name, _ in policy.named_parameters()
        if name.startswith((*dead, f'{_LANGUAGE}norm.'))
    }


def unanswering(policy: Pi0) -> set[str]:
    """Name the weights that no answer depends on: the expert, and what serves only it."""
    vlm = 'paligemma_with_expert.paligemma.'
    return {name for name, _ in policy.named_parameters() if not name.startswith(vlm)}


def learning(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights that learn, by name.

    Raises:
        TrainingConfigError: There are none.
    """
    found = {name: each for name, each in module.named_parameters() if each.requires_grad}
    if not found:
        raise TrainingConfigError.at(
            _FREEZE, '', found='every weight frozen', expected='weights that learn'
        )
    return found
