"""The sizes of a checkpoint: its tensors show most of them, its configuration says others."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from pizero_ros.checkpoints.names import EMBEDDING, EXPERT_LM_HEAD, LM_HEAD
from pizero_ros.errors import CheckpointError, UnstatedError
from pizero_ros.model.architecture import (
    Architecture,
    GemmaSizes,
    VisionSizes,
    architecture_path,
    read_architecture,
)
from pizero_ros.model.pi0 import Pi0

if TYPE_CHECKING:
    from collections.abc import Mapping

Shape = tuple[int, ...]

_LAYER = re.compile(r'\blayers\.(\d+)\.')
_STACKS = {'vision_tower': 'vision', 'language_model': 'vlm', 'gemma_expert': 'expert'}


@dataclass(frozen=True)
class StatedSizes:
    """Sizes that no tensor shows or that the configuration repeats; None where it is silent.

    Attributes:
        where: The configuration, for messages.
    """

    where: str
    image_size: int | None = None
    expert_width: int | None = None
    max_tokens: int | None = None
    state_dim: int | None = None
    action_dim: int | None = None
    horizon: int | None = None
    min_period: float | None = None
    max_period: float | None = None

    def items(self) -> dict[str, float]:
        """Return what is stated, by the dotted name it has in an architecture file."""
        stated = {
            'vision.image_size': self.image_size,
            'expert.width': self.expert_width,
            'max_tokens': self.max_tokens,
            'state_dim': self.state_dim,
            'action_dim': self.action_dim,
            'horizon': self.horizon,
            'min_period': self.min_period,
            'max_period': self.max_period,
        }
        return {key: value for key, value in stated.items() if value is not None}


@functools.lru_cache(maxsize=8)
def expected_shapes(architecture: Architecture) -> dict[str, Shape]:
    """Return the shape of every tensor that a policy of this architecture has."""
    with torch.device('meta'):
        model = Pi0(architecture)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def infer_sizes(shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Read the sizes off a file's shapes; where tensors disagree, the majority is believed.

    Args:
        shapes: ``Pi0``'s names, or those of a damaged file, and shapes.

    Returns:
        Dotted names of an architecture file → sizes, and ``rows.query``, ``rows.key``: number of
        heads times width of a head. A size that nothing shows is absent.
    """
    template = _template()
    votes: dict[str, Counter[int]] = {}
    layers: dict[str, Counter[str]] = {}
    for name, shape in shapes.items():
        kind = _LAYER.sub('layers.0.', name)
        dims = template.get(kind, ())
        if len(dims) != len(shape):
            continue
        if kind != name or _LAYER.search(name):
            layers.setdefault(_stack(name), Counter())[kind] += 1
        for (symbol, factor), size in zip(dims, shape, strict=True):
            if symbol and size % factor == 0:
                votes.setdefault(symbol, Counter())[size // factor] += 1
    sizes = {symbol: counts.most_common(1)[0][0] for symbol, counts in votes.items()}
    for stack, kinds in layers.items():
        sizes[f'{stack}.depth'] = Counter(kinds.values()).most_common(1)[0][0]
    side = math.isqrt(sizes.pop('vision.tokens', 0))
    if side and 'vision.patch' in sizes:
        sizes['vision.image_size'] = side * sizes['vision.patch']
    return sizes


def complete_sizes(
    shapes: Mapping[str, Shape], stated: StatedSizes, given: Architecture | None, where: str
) -> Architecture:
    """Decide on an architecture, against which the tensors are held afterwards.

    Args:
        shapes: ``Pi0``'s names and shapes of a file.
        stated: What the checkpoint's configuration says.
        given: What the user says.
        where: The tensor file, for messages.

    Returns:
        ``given``, or else the sizes of the tensors and of the configuration, with the heads of
        the published π0 if all that shows is its own.

    Raises:
        CheckpointError: The configuration contradicts the result.
        UnstatedError: A size shows nowhere.
    """
    architecture = given or _published_heads(infer_sizes(shapes), stated, where)
    source = 'the architecture file' if given else where
    found = _flat(architecture)
    faults = [
        f'  {key}: {value:g} in {stated.where}, {found[key]:g} in {source}'
        for key, value in stated.items().items()
        if value != found[key]
    ]
    if faults:
        msg = f'{where}: sizes contradict each other:\n' + '\n'.join(faults)
        raise CheckpointError(msg)
    return architecture


def contradictions(shapes: Mapping[str, Shape], architecture: Architecture) -> list[str]:
    """Say in a few lines how most tensors differ from an architecture."""
    found = _flat(architecture)
    return [
        f'{key} is {value} by the tensors, {found[key]:g} in the architecture'
        for key, value in infer_sizes(shapes).items()
        if value != found[key]
    ]


def _published_heads(shown: dict[str, int], stated: StatedSizes, where: str) -> Architecture:
    """Complete what the tensors show, if they are the published π0's."""
    published = read_architecture(architecture_path('pi0'))
    flat = _flat(published)
    said = stated.items()
    towers = ('vision.', 'vlm.', 'expert.', 'rows.')
    reasons = [
        f'{key} is {value}, in the published π0 {flat[key]:g}'
        for key, value in shown.items()
        if key.startswith(towers) and value != flat[key]
    ]
    needed = ('horizon', 'vocabulary', 'state_dim', 'action_dim', 'max_tokens')
    reasons += [f'nothing says {key}' for key in needed if key not in shown and key not in said]
    if reasons:
        raise UnstatedError.at(
            where,
            'architecture',
            found='; '.join(reasons),
            expected='--architecture FILE',
            remedy='No tensor shows attention heads, horizon and length of the prompt; write '
            'them down as config/architectures/pi0.yaml does.',
        )
    merged = {**flat, **shown, **said}
    return replace(
        published,
        vocabulary=int(merged['vocabulary']),
        max_tokens=int(merged['max_tokens']),
        state_dim=int(merged['state_dim']),
        action_dim=int(merged['action_dim']),
        horizon=int(merged['horizon']),
    )


def _flat(architecture: Architecture) -> dict[str, float]:
    """Every size by its dotted name, and the rows of the attention projections."""
    flat: dict[str, float] = {}
    for key, value in architecture.as_mapping().items():
        if isinstance(value, dict):
            flat |= {f'{key}.{name}': size for name, size in value.items()}
        elif key != 'schema':
            flat[key] = value
    vlm = architecture.vlm
    flat['rows.query'] = vlm.heads * vlm.head_dim
    flat['rows.key'] = vlm.kv_heads * vlm.head_dim
    return flat


def _stack(name: str) -> str:
    return next(stack for part, stack in _STACKS.items() if part in name)


@functools.lru_cache(maxsize=1)
def _template() -> dict[str, tuple[tuple[str, int], ...]]:
    """Name the dimensions of every tensor: (size, factor) each.

    Read off a model whose sizes are all different, so that the model itself is the only place
    that knows its shapes. Three colour channels have no name.
    """
    vision = VisionSizes(image_size=7 * 31, patch=7, width=1009, depth=1, mlp=1013, heads=1)
    vlm = GemmaSizes(width=1019, depth=1, mlp=1021, heads=2, kv_heads=1, head_dim=22)
    expert = replace(vlm, width=1032, mlp=1033)
    sizes = Architecture(vision, vlm, expert, 1049, 8, 1051, 1061, 8)
    meaning = {
        3: ('', 1),
        7: ('vision.patch', 1),
        961: ('vision.tokens', 1),
        1009: ('vision.width', 1),
        1013: ('vision.mlp', 1),
        1019: ('vlm.width', 1),
        1021: ('vlm.mlp', 1),
        44: ('rows.query', 1),
        22: ('rows.key', 1),
        1032: ('expert.width', 1),
        2064: ('expert.width', 2),
        1033: ('expert.mlp', 1),
        1049: ('vocabulary', 1),
        1051: ('state_dim', 1),
        1061: ('action_dim', 1),
    }
    template = {
        name: tuple(meaning[size] for size in shape)
        for name, shape in expected_shapes(sizes).items()
    }
    template[LM_HEAD] = template[EMBEDDING]
    template[EXPERT_LM_HEAD] = (('vocabulary', 1), ('expert.width', 1))
    return template
