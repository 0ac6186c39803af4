"""π0 as a GPU wants it: projections joined, norms folded into them, no masks, no shapes computed.

The same policy as ``Pi0``, written for graphs only: it takes the checkpoint's weights through
``Pi0``, joins and folds them (the exporter does that once, when the weights are written), and
leaves attention to an ``Attention``. Gate and up projections stay apart: joined, they would have
to be split again, which costs the kernel that was saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from pizero_ros.export.attentions import Span
from pizero_ros.model.flow_time import embed_time

if TYPE_CHECKING:
    from pizero_ros.export.attentions import Attention, KeyValue
    from pizero_ros.model.gemma import GemmaLayer
    from pizero_ros.model.pi0 import Pi0

_EPS = 1e-6


class _Fused(nn.Module):
    """What both halves share: blocks in the precision of the graph."""

    def __init__(self, model: Pi0, attention: Attention, dtype: torch.dtype) -> None:
        super().__init__()
        self._model = model
        self._attention = attention
        self._dtype = dtype
        self._heads = model.architecture.vlm.heads
        self._kv_heads = model.architecture.vlm.kv_heads

    def _linear(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Multiply with a weight in the precision of the graph."""
        return functional.linear(
            x, weight.to(self._dtype), None if bias is None else bias.to(self._dtype)
        )

    def _normed(self, x: torch.Tensor) -> torch.Tensor:
        """Root-mean-square norm without its weight, which is in the projections behind it."""
        ones = torch.ones(x.shape[-1], dtype=x.dtype)
        return functional.rms_norm(x, (x.shape[-1],), ones, _EPS)

    def _grow(
        self, block: GemmaLayer, x: torch.Tensor, past: KeyValue | None, span: Span
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Project tokens and let them see what is before them and each other."""
        own = block.self_attn
        joined = torch.cat((own.q_proj.weight, own.k_proj.weight, own.v_proj.weight))
        packed = self._linear(self._normed(x), joined * (1.0 + block.input_layernorm.weight))
        return self._attention.grow(packed, past, self._heads, span)

    def _keep(
        self, block: GemmaLayer, x: torch.Tensor, past: KeyValue | None, span: Span
    ) -> KeyValue:
        """Compute only what later tokens read of these: keys and values.

        The keys stand in for the queries, one to each, so that one operator does for all layers;
        what they see is dropped.
        """
        own = block.self_attn
        joined = torch.cat((own.k_proj.weight, own.k_proj.weight, own.v_proj.weight))
        packed = self._linear(self._normed(x), joined * (1.0 + block.input_layernorm.weight))
        return self._attention.grow(packed, past, self._kv_heads, span)[1:]

    def _finish(self, block: GemmaLayer, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Add what attention saw and the MLP."""
        x = x + self._linear(seen, block.self_attn.o_proj.weight)
        scale = 1.0 + block.post_attention_layernorm.weight
        normed, mlp = self._normed(x), block.mlp
        gate = self._linear(normed, mlp.gate_proj.weight * scale)
        up = self._linear(normed, mlp.up_proj.weight * scale)
        return x + self._linear(
            functional.gelu(gate, approximate='tanh') * up, mlp.down_proj.weight
        )


class FusedObserve(_Fused):
    """images, tokens, state, spans of prefix and state → keys, values (as ``Pi0.observe``)."""

    def forward(
        self,
        images: torch.Tensor,
        tokens: torch.Tensor,
        state: torch.Tensor,
        prefix_last: torch.Tensor,
        prefix_total: torch.Tensor,
        state_last: torch.Tensor,
        state_total: torch.Tensor,
        room: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Compute the cache.

        Args:
            images: float32 [N, 3, H, W] in [-1, 1], all views as one batch.
            tokens: int64 [1, L].
            state: float32 [1, S].
            prefix_last: int32 [1], images' tokens and words − 1.
            prefix_total: int32, images' tokens and words.
            state_last: int32 [1], ``prefix_total``.
            state_total: int32, ``prefix_total`` + 1.
            room: float32 [1, kv_heads, R, head_dim], zeros; R = ``state_total`` + H.

        Returns:
            Keys of all layers, then values, each [1, kv_heads, R, head_dim] where attention works
            in prepared room, and without the last H rows where it does not.
        """
        model = self._model
        views = self._views(images)
        words = model.vlm.embed(tokens).to(self._dtype)
        prefix = torch.cat((views.reshape(1, -1, views.shape[-1]), words), dim=1)
        own = model.embed_state(state).to(self._dtype)
        start = self._attention.start(room.to(self._dtype))
        prefix_span, state_span = Span(prefix_last, prefix_total), Span(state_last, state_total)
        keys, values = [], []
        last = model.architecture.vlm.depth - 1
        for i, (vlm, expert) in enumerate(zip(model.vlm.blocks, model.expert.blocks, strict=True)):
            if i == last:
                past = self._keep(vlm, prefix, start, prefix_span)
                key, value = self._keep(expert, own, past, state_span)
            else:
                seen, *grown = self._grow(vlm, prefix, start, prefix_span)
                prefix = self._finish(vlm, prefix, seen)
                seen, key, value = self._grow(expert, own, (grown[0], grown[1]), state_span)
                own = self._finish(expert, own, seen)
            keys.append(key)
            values.append(value)
        return (*keys, *values)

    def _views(self, images: torch.Tensor) -> torch.Tensor:
        """Turn views into tokens of the VLM [N, tokens, width]; patches in float32."""
        sizes = self._model.architecture.vision
        paligemma = self._model.paligemma_with_expert.paligemma.model
        # The tower's parts are modules, which know nothing of their attributes' types.
        tower: Any = paligemma.vision_tower.vision_model
        if sizes.stem is None:
            x = _embed_patches(tower.embeddings, images, sizes.patch).to(self._dtype)
        else:
            x = tower.embeddings(images).to(self._dtype)
        for layer in tower.encoder.layers:
            own, norm = layer.self_attn, layer.layer_norm1
            joined = (own.q_proj, own.k_proj, own.v_proj)
            weight = torch.cat([each.weight for each in joined])
            bias = torch.cat([each.bias for each in joined])
            packed = self._after(self._centred(x), norm, weight, bias)
            query, key, value = packed.chunk(3, dim=-1)
            seen = self._attention.views(query, key, value, sizes.heads)
            x = x + self._linear(seen, own.out_proj.weight, own.out_proj.bias)
            mlp, norm = layer.mlp, layer.layer_norm2
            inner = self._after(self._centred(x), norm, mlp.fc1.weight, mlp.fc1.bias)
            inner = functional.gelu(inner, approximate='tanh')
            x = x + self._linear(inner, mlp.fc2.weight, mlp.fc2.bias)
        linear = paligemma.multi_modal_projector.linear
        return self._after(self._centred(x), tower.post_layernorm, linear.weight, linear.bias)

    def _centred(self, x: torch.Tensor) -> torch.Tensor:
        """Layer norm without its weight and bias, which are in the projection behind it."""
        width = x.shape[-1]
        ones, zeros = torch.ones(width, dtype=x.dtype), torch.zeros(width, dtype=x.dtype)
        return functional.layer_norm(x, (width,), ones, zeros, _EPS)

    def _after(
        self, x: torch.Tensor, norm: Any, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        return self._linear(x, weight * norm.weight, bias + weight @ norm.bias)


class FusedDenoise(_Fused):
    """keys, values, x_t [1,H,A], t [1,H], span of the actions → velocity [1,H,A]."""

    def forward(
        self,
        keys: tuple[torch.Tensor, ...],
        values: tuple[torch.Tensor, ...],
        x_t: torch.Tensor,
        t: torch.Tensor,
        actions_last: torch.Tensor,
        actions_total: torch.Tensor,
    ) -> torch.Tensor:
        """Compute the velocity; arguments as ``Pi0.denoise``, and where the actions end."""
        span = Span(actions_last, actions_total)
        return self.velocity(keys, values, x_t, time_bias(self._model, t), span)

    def velocity(
        self,
        keys: tuple[torch.Tensor, ...],
        values: tuple[torch.Tensor, ...],
        x_t: torch.Tensor,
        bias: torch.Tensor,
        span: Span,
    ) -> torch.Tensor:
        """Compute the velocity from noisy actions and the bias that their flow time is.

        Args:
            keys: Cached keys.
            values: Cached values.
            x_t: float32 [1, H, A].
            bias: float32 [1, 1 or H, width], what ``time_bias`` returns.
            span: Where the actions end.

        Returns:
            float32 [1, H, A].
        """
        model = self._model
        width = model.architecture.expert.width
        # Two linear maps without anything between them are one.
        joined = model.action_time_mlp_in.weight[:, :width] @ model.action_in_proj.weight
        mixed = functional.silu(functional.linear(x_t, joined) + bias)
        out = model.action_time_mlp_out
        x = functional.linear(mixed, out.weight, out.bias).to(self._dtype)
        for block, key, value in zip(model.expert.blocks, keys, values, strict=True):
            seen, _, _ = self._grow(block, x, (key, value), span)
            x = self._finish(block, x, seen)
        head = model.action_out_proj
        scale = 1.0 + model.expert.norm.weight
        return functional.linear(self._normed(x.float()), head.weight * scale, head.bias)


def _embed_patches(embeddings: Any, images: torch.Tensor, patch: int) -> torch.Tensor:
    """Embed patches [N, T, width]; a product, for the convolution would need cuDNN on a GPU."""
    conv = embeddings.patch_embedding
    rows, columns = (side // patch for side in images.shape[2:])
    apart = images.reshape(-1, images.shape[1], rows, patch, columns, patch)
    flat = apart.permute(0, 2, 4, 1, 3, 5).reshape(-1, rows * columns, conv.weight[0].numel())
    embedded: torch.Tensor = functional.linear(flat, conv.weight.flatten(1), conv.bias)
    placed: torch.Tensor = embedded + embeddings.position_embedding.weight
    return placed


def time_bias(model: Pi0, t: torch.Tensor) -> torch.Tensor:
    """Compute all that flow time adds to the action tokens before their activation.

    Args:
        model: The policy.
        t: float32 [1, T].

    Returns:
        float32 [1, T, width].
    """
    sizes = model.architecture
    width = sizes.expert.width
    weight, action_in = model.action_time_mlp_in.weight, model.action_in_proj
    constant = weight[:, :width] @ action_in.bias + model.action_time_mlp_in.bias
    time = embed_time(t, width, sizes.min_period, sizes.max_period)
    return functional.linear(time, weight[:, width:], constant)
