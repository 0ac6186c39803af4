"""Holds a file's tensors against the policy that it claims to be, and lists all that is wrong."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pizero_ros.checkpoints.names import (
    EMBEDDING,
    EXPERT_LM_HEAD,
    LM_HEAD,
    canonical_names,
    is_legacy,
)
from pizero_ros.checkpoints.sizes import contradictions, expected_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.checkpoints.names import Family
    from pizero_ros.checkpoints.sizes import Shape
    from pizero_ros.checkpoints.tensors import TensorInfo
    from pizero_ros.model.architecture import Architecture

DTYPES = ('F32', 'BF16')
"""What openpi and lerobot write."""

_MANY = 8
"""Misshapen tensors above which a size is wrong rather than a tensor."""

_GROUPS = (
    ('embeddings of the vision tower', re.compile(r'vision_tower\.vision_model\.embeddings\.')),
    ('vision tower and projector', re.compile(r'vision_tower\.|multi_modal_projector\.')),
    ('final norm of the expert', re.compile(r'gemma_expert\.model\.norm\.')),
    ('norms', re.compile(r'layernorm\.|\.norm\.')),
    ('head of the expert', re.compile(r'gemma_expert\.lm_head\.')),
    ('language and expert', re.compile(r'paligemma_with_expert\.')),
    ('projections', re.compile(r'')),
)
"""Tensors that upstream casts together: every mixture that it writes is uniform in each."""


@dataclass(frozen=True)
class Match:
    """What became of each tensor of a file.

    Attributes:
        sources: ``Pi0``'s name → name in the file.
        ignored: Name in the file → the rule by which it is not read.
        copies: Two names in the file that should hold the same values, if it has both.
        faults: Every mistake, one line each.
    """

    sources: Mapping[str, str]
    ignored: Mapping[str, str]
    copies: tuple[str, str] | None
    faults: tuple[str, ...]


def canonical_shapes(listing: Mapping[str, TensorInfo], family: Family) -> dict[str, Shape]:
    """Return the shapes of a file by ``Pi0``'s names, of those tensors that have one."""
    names = canonical_names(listing, family)
    return {new: listing[old].shape for old, new in names.items() if new is not None}


def match_tensors(
    listing: Mapping[str, TensorInfo],
    family: Family,
    architecture: Architecture,
    buffers: Mapping[str, Shape],
    precision: str | None = None,
) -> Match:
    """Compare names, shapes and types; values are not looked at.

    Args:
        listing: The file's header.
        family: The format.
        architecture: The policy.
        buffers: Statistics that the file must hold beside the weights.
        precision: What the configuration says of the types, if it does.

    Returns:
        The match, to be used only if it has no faults.
    """
    wanted = dict(expected_shapes(architecture))
    embedding = wanted[EMBEDDING]
    wanted[EXPERT_LM_HEAD] = (architecture.vocabulary, architecture.expert.width)
    found: dict[str, str] = {}
    faults: list[str] = []
    for name, new in canonical_names(listing, family).items():
        if name in buffers:
            continue
        if new is None or (new not in wanted and new != LM_HEAD) or new in found:
            faults.append(f'unexpected: {name} {listing[name]}')
        else:
            found[new] = name
    if LM_HEAD in found or family == 'lerobot-0.6':
        wanted[LM_HEAD] = embedding
    if EMBEDDING not in found and LM_HEAD in found and family != 'lerobot-0.6':
        del wanted[EMBEDDING]
    faults += [
        f'missing: {name} {list(shape)}' for name, shape in wanted.items() if name not in found
    ]
    faults += [
        f'missing: {name} {list(shape)}' for name, shape in buffers.items() if name not in listing
    ]
    misshapen = [
        f'misshapen: {name}: found {list(listing[name].shape)}, expected {list(wanted[new])}'
        for new, name in found.items()
        if listing[name].shape != wanted[new]
    ]
    misshapen += [
        f'misshapen: {name}: found {list(listing[name].shape)}, expected {list(shape)}'
        for name, shape in buffers.items()
        if name in listing and listing[name].shape != shape
    ]
    faults += misshapen + _mistyped(listing, found, buffers, precision)
    if len(misshapen) > _MANY:
        faults = contradictions(canonical_shapes(listing, family), architecture) + faults
    if family != 'lerobot-0.3' and is_legacy(listing):
        faults.insert(0, 'names of lerobot up to 0.3.3 under a configuration that is not its own')
    return Match(_sources(found), _ignored(found), _copies(found), tuple(faults))


def _sources(found: Mapping[str, str]) -> dict[str, str]:
    heads = (LM_HEAD, EXPERT_LM_HEAD)
    sources = {new: name for new, name in found.items() if new not in heads}
    if EMBEDDING not in sources and LM_HEAD in found:
        sources[EMBEDDING] = found[LM_HEAD]
    return sources


def _ignored(found: Mapping[str, str]) -> dict[str, str]:
    ignored = {}
    if EXPERT_LM_HEAD in found:
        ignored[found[EXPERT_LM_HEAD]] = 'the expert predicts no tokens; upstream never reads it'
    if EMBEDDING in found and LM_HEAD in found:
        ignored[found[LM_HEAD]] = 'a copy of embed_tokens, which is what upstream reads'
    return ignored


def _copies(found: Mapping[str, str]) -> tuple[str, str] | None:
    both = EMBEDDING in found and LM_HEAD in found
    return (found[EMBEDDING], found[LM_HEAD]) if both else None


def _mistyped(
    listing: Mapping[str, TensorInfo],
    found: Mapping[str, str],
    buffers: Mapping[str, Shape],
    precision: str | None,
) -> list[str]:
    """Report types that upstream does not write, and tensors cast apart from their group."""
    faults = [
        f'wrongly typed: {name}: found {listing[name].dtype}, expected F32'
        for name in buffers
        if name in listing and listing[name].dtype != 'F32'
    ]
    groups: dict[str, list[str]] = {}
    for new, name in found.items():
        group = next(group for group, pattern in _GROUPS if pattern.search(new))
        groups.setdefault(group, []).append(name)
    usual = {
        group: Counter(listing[name].dtype for name in names).most_common(1)[0][0]
        for group, names in groups.items()
    }
    for group, names in groups.items():
        elsewhere = {dtype for other, dtype in usual.items() if other != group}
        for name in names:
            dtype = listing[name].dtype
            if dtype not in DTYPES:
                expected = ' or '.join(DTYPES)
            elif precision == 'float32' and dtype != 'F32':
                expected = 'F32, the precision in config.json'
            elif dtype != usual[group]:
                expected = f'{usual[group]} as the others of its group ({group})'
            elif len(names) == 1 and elsewhere and dtype not in elsewhere:
                expected = f'{min(elsewhere)} as all others'
            else:
                continue
            faults.append(f'wrongly typed: {name}: found {dtype}, expected {expected}')
    if precision == 'bfloat16' and 'BF16' not in usual.values():
        faults.append('wrongly typed: nothing is bfloat16, which is the precision in config.json')
    return faults
