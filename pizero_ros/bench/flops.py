"""How much a policy has to compute and to move: exact counts from its sizes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from pizero_ros.errors import BundleError
from pizero_ros.model.architecture import Architecture, GemmaSizes, StemSizes, VisionSizes

if TYPE_CHECKING:
    from collections.abc import Mapping

BYTES = {'float32': 4, 'float16': 2, 'bfloat16': 2, 'int8': 1}
"""Precision → bytes of one weight."""

_CHANNELS = 3


class Work(NamedTuple):
    """What one phase needs at least, however it is implemented.

    Attributes:
        flop: Floating-point operations of its matrix products, a multiply-add being two. Norms,
            activations, softmax and rotary turns are not counted: they are below 1 %.
        weights: Weights that it reads, each once.
        cached: Keys and values that it reads from, or writes to, the cache.
    """

    flop: int
    weights: int
    cached: int = 0

    def __add__(self, other: tuple[Any, ...]) -> Work:
        """Return the work of both."""
        if not isinstance(other, Work):
            return NotImplemented
        return Work(*(mine + yours for mine, yours in zip(self, other, strict=True)))

    def times(self, count: int) -> Work:
        """Return the work of ``count`` repetitions, which each read all again."""
        return Work(self.flop * count, self.weights * count, self.cached * count)

    def moved_bytes(self, precision: str) -> int:
        """Return the bytes that pass through memory, weights and cache.

        Args:
            precision: Of the weights. The cache has the same, or float32 beside int8 weights.
        """
        weight = BYTES[precision]
        return self.weights * weight + self.cached * (4 if precision == 'int8' else weight)


def architecture_of(where: object, sizes: Mapping[str, Any]) -> Architecture:
    """Return a manifest's architecture as sizes.

    Args:
        where: Bundle to name in errors.
        sizes: ``Manifest.architecture``.

    Raises:
        BundleError: Sizes are missing or unknown.
    """
    rest = {name: value for name, value in sizes.items() if name != 'schema'}
    try:
        return Architecture(
            vision=_vision_sizes(rest.pop('vision')),
            vlm=GemmaSizes(**rest.pop('vlm')),
            expert=GemmaSizes(**rest.pop('expert')),
            **rest,
        )
    except (KeyError, TypeError) as error:
        raise BundleError.at(
            where,
            'architecture',
            found=f'sizes that make no π0 ({error})',
            expected='the sizes of `config/architectures/*.yaml`',
            remedy='Export the bundle again with this version of pizero_ros.',
        ) from None


def _vision_sizes(sizes: Mapping[str, Any]) -> VisionSizes:
    plain = {name: value for name, value in sizes.items() if name != 'stem'}
    if 'stem' not in sizes:
        return VisionSizes(**plain)
    stem = StemSizes(tuple(sizes['stem']['channels']), sizes['stem']['keypoints'])
    return VisionSizes(patch=0, stem=stem, **plain)


def vision(sizes: Architecture, cameras: int) -> Work:
    """Count the image tower and the projector, all views as one batch."""
    tower, width = sizes.vision, sizes.vision.width
    tokens = tower.tokens
    if tower.stem is None:
        into = Work(
            2 * tokens * _CHANNELS * tower.patch**2 * width,
            _CHANNELS * tower.patch**2 * width + width,
        )
    else:
        into = _stem(tower.image_size, tower.stem, width)
    layer = 4 * width**2 + 2 * width * tower.mlp
    projector = width * sizes.vlm.width
    attention = 4 * tokens**2 * width * tower.depth
    products = layer * tower.depth + projector
    biases = (5 * width + tower.mlp) * tower.depth + sizes.vlm.width
    norms = 2 * width * (2 * tower.depth + 1)
    return Work(
        flop=cameras * (into.flop + 2 * tokens * products + attention),
        weights=into.weights + products + biases + norms + tokens * width,
    )


def _stem(side: int, sizes: StemSizes, width: int) -> Work:
    """Count the convolutions of a stem and what makes tokens of its keypoints."""
    flop = weights = 0
    channels = (_CHANNELS, *sizes.channels)
    for number, (few, many) in enumerate(itertools.pairwise(channels)):
        if number < sizes.halved:
            side = (side + 1) // 2
        flop += 2 * 9 * few * many * side**2
        weights += 9 * few * many + 3 * many
    heat = channels[-1] * sizes.keypoints
    token = (sizes.place + channels[-1]) * width
    return Work(
        flop=flop + 4 * heat * side**2 + 2 * token * sizes.keypoints,
        weights=weights + heat + sizes.keypoints + token + width,
    )


def prefix(sizes: Architecture, cameras: int, tokens: int) -> Work:
    """Count what is computed once of images, prompt and state, given the views' tokens.

    Of the last layer only keys and values are wanted; the state is one token of the expert, whose
    keys and values are cached with the prefix.

    Args:
        sizes: The architecture.
        cameras: Cameras present.
        tokens: Prompt tokens.
    """
    length = cameras * sizes.vision.tokens + tokens
    state = stack(sizes.expert, rows=1, seen=length + 1, pruned=True)
    embedding = Work(0, tokens * sizes.vlm.width)
    into = sizes.state_dim * sizes.expert.width
    return (
        embedding
        + stack(sizes.vlm, rows=length, seen=length, pruned=True)
        + state
        + Work(2 * into, into + sizes.expert.width)
        + Work(0, 0, (length + 1) * _cached_per_token(sizes.expert))
    )


def denoise_step(
    sizes: Architecture, cameras: int, tokens: int, *, state_cached: bool = True
) -> Work:
    """Count one Euler step.

    Args:
        sizes: The architecture.
        cameras: Cameras present.
        tokens: Prompt tokens.
        state_cached: Whether the state token is part of the cache, as in our graphs, or computed
            again at every step, as published code does.
    """
    length = cameras * sizes.vision.tokens + tokens + state_cached
    rows = sizes.horizon + (not state_cached)
    width = sizes.expert.width
    mixed = 3 * width**2
    into = sizes.action_dim * width
    ends = Work(
        flop=2 * rows * (mixed + 2 * into),
        weights=mixed + 2 * into + 3 * width + sizes.action_dim,
        cached=length * _cached_per_token(sizes.expert),
    )
    return stack(sizes.expert, rows=rows, seen=length + rows) + ends


def stack(sizes: GemmaSizes, *, rows: int, seen: int, pruned: bool = False) -> Work:
    """Count one pass through a Gemma stack.

    Args:
        sizes: The stack.
        rows: Tokens that pass through it.
        seen: Keys that each of them sees.
        pruned: Leave out what of the last layer is not keys and values.
    """
    inner = sizes.heads * sizes.head_dim
    key_value = 2 * sizes.width * sizes.kv_heads * sizes.head_dim
    rest = 2 * sizes.width * inner + 3 * sizes.width * sizes.mlp
    whole = sizes.depth - pruned
    products = sizes.depth * key_value + whole * rest
    norms = (sizes.depth + whole + (not pruned)) * sizes.width
    return Work(2 * rows * products + 4 * rows * seen * inner * whole, products + norms)


def phases(sizes: Architecture, cameras: int, tokens: int, steps: int) -> dict[str, Work]:
    """Count every phase of one chunk, under the names that ``pizero bench`` times them by.

    Args:
        sizes: The architecture.
        cameras: Cameras present.
        tokens: Prompt tokens.
        steps: Euler steps.
    """
    seen, once = vision(sizes, cameras), prefix(sizes, cameras, tokens)
    step = denoise_step(sizes, cameras, tokens)
    return {
        'vision': seen,
        'prefix': once,
        'observe': seen + once,
        'denoise step': step,
        'denoise': step.times(steps),
        'whole': seen + once + step.times(steps),
    }


def _cached_per_token(sizes: GemmaSizes) -> int:
    """Return the keys and values of one token, all layers."""
    return 2 * sizes.kv_heads * sizes.head_dim * sizes.depth
