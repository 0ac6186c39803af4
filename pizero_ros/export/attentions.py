"""How attention is written into a graph: for ONNX Runtime's kernels or in plain operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import torch
from torch.nn import functional

from pizero_ros.model.attention import rotary_frequencies, rotate

if TYPE_CHECKING:
    from pizero_ros.model.architecture import GemmaSizes

KeyValue: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Keys and values, each [1, kv_heads, P or more, head_dim], keys rotated."""


class Span(NamedTuple):
    """Where a run of new tokens ends among all tokens so far, as graph inputs.

    Attributes:
        last: int32 [1], position of its last token.
        total: int32, tokens so far with it.
    """

    last: torch.Tensor
    total: torch.Tensor


class Attention(Protocol):
    """One way of writing attention without masks."""

    def start(self, room: torch.Tensor) -> KeyValue | None:
        """Return what comes before the first token.

        Args:
            room: [1, kv_heads, R, head_dim], zeros, with room for all tokens there will be.
        """
        ...

    def views(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int
    ) -> torch.Tensor:
        """Let the patches of each view see each other; all [N, T, width]."""
        ...

    def grow(
        self, packed: torch.Tensor, past: KeyValue | None, heads: int, span: Span
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Let new tokens see all earlier ones and each other.

        Args:
            packed: [1, S, (heads + 2 · kv_heads) · head_dim], queries, keys, values, unrotated.
            past: What came before, None where nothing did.
            heads: Query heads in ``packed``.
            span: Where the new tokens are.

        Returns:
            What they saw [1, S, heads · head_dim], and keys and values with theirs appended.
        """
        ...


class GroupQuery:
    """``GroupQueryAttention`` of ONNX Runtime: rotation, appending and softmax in one operator.

    Without a mask it takes the flash kernels of the CUDA provider. The CPU provider has it in
    float32 (float16 by casts), so a graph made for a GPU can be checked without one. Views take
    the standard ``Attention``, whose CUDA kernel is flash in both 16-bit types; the provider's
    ``MultiHeadAttention`` has none in bfloat16, and needs cuDNN.

    Keys and values have room for all tokens from the start: the operator's declared shape of what
    it returns is that of what it was given, and memory is planned by declared shapes.
    """

    def __init__(self, sizes: GemmaSizes, positions: int, dtype: torch.dtype) -> None:
        """Tabulate the rotations.

        Args:
            sizes: Heads of both stacks.
            positions: Tokens that there can be in all.
            dtype: Type of queries, keys and values.
        """
        self._sizes = sizes
        frequencies = torch.tensor(rotary_frequencies(sizes.head_dim), dtype=torch.float32)
        angles = torch.arange(positions, dtype=torch.float32)[:, None] * frequencies
        self._cos, self._sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def start(self, room: torch.Tensor) -> KeyValue | None:
        """Return room for all tokens."""
        return room, room

    def views(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int
    ) -> torch.Tensor:
        """Let the patches of each view see each other; all [N, T, width]."""
        seen: torch.Tensor = torch.onnx.ops.symbolic(
            'Attention',
            (query, key, value),
            {'q_num_heads': heads, 'kv_num_heads': heads},
            dtype=query.dtype,
            shape=query.shape,
            version=23,
        )
        return seen

    def grow(
        self, packed: torch.Tensor, past: KeyValue | None, heads: int, span: Span
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Let new tokens see all earlier ones and each other (``Attention.grow``)."""
        assert past is not None
        sizes = self._sizes
        seen, keys, values = torch.onnx.ops.symbolic_multi_out(
            'com.microsoft::GroupQueryAttention',
            (packed, None, None, *past, *span, self._cos, self._sin),
            {
                'num_heads': heads,
                'kv_num_heads': sizes.kv_heads,
                'do_rotary': 1,
                'rotary_interleaved': 0,
                'causal': 0,
            },
            dtypes=(packed.dtype,) * 3,
            shapes=((1, packed.shape[1], heads * sizes.head_dim), past[0].shape, past[1].shape),
            version=1,
        )
        return seen, keys, values


class Plain:
    """Standard operators only, softmax in float32: what TensorRT's parser and fusions know."""

    def __init__(self, sizes: GemmaSizes, positions: int) -> None:
        """Tabulate the rotations.

        Args:
            sizes: Heads of both stacks.
            positions: Tokens that there can be in all.
        """
        self._sizes = sizes
        frequencies = torch.tensor(rotary_frequencies(sizes.head_dim), dtype=torch.float32)
        angles = torch.arange(positions, dtype=torch.float32)[:, None] * frequencies
        self._cos, self._sin = angles.cos(), angles.sin()

    def start(self, room: torch.Tensor) -> KeyValue | None:
        """Return nothing: keys and values grow as they come."""
        return None

    def views(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int
    ) -> torch.Tensor:
        """Let the patches of each view see each other; all [N, T, width]."""
        parts = (
            torch.unflatten(each, -1, (heads, -1)).transpose(1, 2) for each in (query, key, value)
        )
        return _softmax(*parts).transpose(1, 2).flatten(2)

    def grow(
        self, packed: torch.Tensor, past: KeyValue | None, heads: int, span: Span
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Let new tokens see all earlier ones and each other (``Attention.grow``)."""
        sizes = self._sizes
        apart = torch.unflatten(packed, -1, (-1, sizes.head_dim)).transpose(1, 2)
        counts = [heads, sizes.kv_heads, sizes.kv_heads]
        query, key, value = torch.split(apart, counts, dim=1)
        length = packed.shape[1]
        # From the last position down to the first, so that no shape is computed on the host.
        first = span.last.long() + 1 - length
        places = torch.arange(length) + first
        cos, sin = (each.index_select(0, places)[None, None] for each in (self._cos, self._sin))
        rotation = cos, sin
        query, key = rotate(query, rotation), rotate(key, rotation)
        if past is not None:
            key = torch.cat((past[0], key), dim=2)
            value = torch.cat((past[1], value), dim=2)
        shared = heads // sizes.kv_heads
        # [1, kv_heads, shared · S, head_dim]: heads that share keys are rows of one product.
        rows = torch.unflatten(query, 1, (sizes.kv_heads, shared)).flatten(2, 3)
        seen = torch.unflatten(_softmax(rows, key, value), 2, (shared, -1)).flatten(1, 2)
        return seen.transpose(1, 2).flatten(2), key, value


def _softmax(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attend in three operators; the scale on the queries, where overflow is furthest."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    share = functional.softmax(scores.float(), dim=-1).to(value.dtype)
    return share @ value
