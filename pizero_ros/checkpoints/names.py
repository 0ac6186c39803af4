"""The tensor names of each checkpoint format, and how they become ``Pi0``'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Family = Literal['openpi', 'lerobot-0.6', 'lerobot-0.4', 'lerobot-0.3']
"""Formats by writer: openpi's PyTorch; lerobot from 0.5.1; 0.4.0 to 0.5.0; up to 0.3.3."""

_PALIGEMMA = 'paligemma_with_expert.paligemma.'
EMBEDDING = f'{_PALIGEMMA}model.language_model.embed_tokens.weight'
LM_HEAD = f'{_PALIGEMMA}lm_head.weight'
EXPERT_LM_HEAD = 'paligemma_with_expert.gemma_expert.lm_head.weight'

LEGACY_BUFFERS = ('normalize_inputs.', 'normalize_targets.', 'unnormalize_outputs.')
"""Where lerobot up to 0.3.3 keeps statistics inside the model file."""

_PREFIX = 'model.'
_LEGACY = (
    (f'{_PALIGEMMA}language_model.lm_head.', f'{_PALIGEMMA}lm_head.'),
    (f'{_PALIGEMMA}language_model.model.', f'{_PALIGEMMA}model.language_model.'),
    (f'{_PALIGEMMA}vision_tower.', f'{_PALIGEMMA}model.vision_tower.'),
    (f'{_PALIGEMMA}multi_modal_projector.', f'{_PALIGEMMA}model.multi_modal_projector.'),
)
"""``_transform_state_dict_keys`` of lerobot 0.3.3."""


def is_prefixed(names: Iterable[str]) -> bool:
    """Tell whether the tensors carry lerobot's prefix: it is on all of them or on none.

    The base checkpoints that lerobot publishes have none.
    """
    weights = [name for name in names if not name.startswith(LEGACY_BUFFERS)]
    return 2 * sum(name.startswith(_PREFIX) for name in weights) > len(weights)


def canonical_names(names: Iterable[str], family: Family) -> dict[str, str | None]:
    """Map the names in a file to ``Pi0``'s.

    Args:
        names: Every name in the file.
        family: The format.

    Returns:
        Name in the file → ``Pi0``'s name, ``LM_HEAD`` or ``EXPERT_LM_HEAD``; None for a name that
        has no place, and for the statistics of old lerobot files.
    """
    names = list(names)
    prefix = _PREFIX if family != 'openpi' and is_prefixed(names) else ''
    return {name: _canonical(name, prefix, family) for name in names}


def is_pi05(names: Iterable[str]) -> bool:
    """Tell whether these are π0.5's tensors: no state token, a time MLP, adaptive norms."""
    bare = {name.removeprefix(_PREFIX) for name in names}
    adaptive = any('gemma_expert' in name and 'norm.dense.' in name for name in bare)
    return 'state_proj.weight' not in bare and (adaptive or 'time_mlp_in.weight' in bare)


def is_legacy(names: Iterable[str]) -> bool:
    """Tell whether the tensors have the names of lerobot up to 0.3.3."""
    return any(name.removeprefix(_PREFIX).startswith(old) for name in names for old, _ in _LEGACY)


def _canonical(name: str, prefix: str, family: Family) -> str | None:
    if not name.startswith(prefix) or name.startswith(LEGACY_BUFFERS):
        return None
    bare = name.removeprefix(prefix)
    if family == 'lerobot-0.3':
        for old, new in _LEGACY:
            if bare.startswith(old):
                return new + bare.removeprefix(old)
    return bare
