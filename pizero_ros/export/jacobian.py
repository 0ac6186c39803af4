"""The third graph: how an error of the clean actions is pulled back to the noisy ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._decomp import get_decompositions
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.nn.attention import SDPBackend, sdpa_kernel

from pizero_ros.export.streaming_models import without_weights
from pizero_ros.model.pi0 import Cache, Pi0

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from pizero_ros.model.architecture import Architecture

_ATEN = torch.ops.aten
_BACKWARD = (
    _ATEN.gelu_backward,
    _ATEN.silu_backward,
    _ATEN._softmax_backward_data,
    _ATEN.slice_backward,
    _ATEN.select_backward,
)
"""Derivatives that ONNX has no operator for; all others are made of what it has."""


def pull_back(
    policy: Pi0, cache: Cache, x_t: torch.Tensor, t: torch.Tensor, error: torch.Tensor
) -> torch.Tensor:
    """Multiply an error of ``x1 = x_t - t·v(x_t)`` by the transposed Jacobian of ``x1``.

    Args:
        policy: The policy.
        cache: What its ``observe`` returned.
        x_t: float32 [B, H, A].
        t: float32 [B, H].
        error: float32 [B, H, A].

    Returns:
        float32 [B, H, A].
    """

    def clean(x: torch.Tensor) -> torch.Tensor:
        return x - t[..., None] * policy.denoise(cache, x, t)

    pull = torch.func.vjp(clean, x_t)[1]
    correction: torch.Tensor = pull(error)[0]
    return correction


class _Undifferentiated(nn.Module):
    """``pull_back`` as a module, so that its weights can be given to it."""

    def __init__(self, model: Pi0) -> None:
        super().__init__()
        self._model = model

    def forward(self, cache: Cache, *chunk: torch.Tensor) -> torch.Tensor:
        return pull_back(self._model, cache, *chunk)


class PullBack(nn.Module):
    """keys, values, x_t [1,H,A], t [1,H], error [1,H,A] → correction [1,H,A].

    The exporter cannot look into a derivative, so the derivative is taken beforehand, as a plain
    sequence of operators which is then run in ``forward``.
    """

    def __init__(self, model: Pi0, sizes: Architecture) -> None:
        """Trace the derivative.

        Args:
            model: The policy whose weights the graph refers to; it may be fake.
            sizes: Its sizes.
        """
        super().__init__()
        self._model = model
        self._names = [
            name
            for name, _ in model.named_parameters()
            if '.gemma_expert.' in name or name.startswith('action_')
        ]
        # In a list, or it would become a module whose constants the exporter loses.
        self._derivative = [_derivative(sizes, self._names)]

    def forward(
        self,
        keys: tuple[torch.Tensor, ...],
        values: tuple[torch.Tensor, ...],
        x_t: torch.Tensor,
        t: torch.Tensor,
        error: torch.Tensor,
    ) -> torch.Tensor:
        """Run the derivative on this module's weights."""
        weights = dict(self._model.named_parameters())
        run = torch.fx.Interpreter(self._derivative[0])
        given = [weights[name] for name in self._names]
        found: torch.Tensor = run.run(given, keys, values, x_t, t, error)
        return found


def _derivative(sizes: Architecture, names: list[str]) -> GraphModule:
    """Trace the derivative with all sizes fixed but the cache's length."""
    mode = FakeTensorMode(shape_env=ShapeEnv())
    model = without_weights(sizes, mode)
    whole = _Undifferentiated(model)
    weights = dict(model.named_parameters())
    shape = (1, sizes.vlm.kv_heads, 2 * sizes.vision.tokens + 7, sizes.vlm.head_dim)

    def grown() -> tuple[torch.Tensor, ...]:
        fixed = [DimDynamic.STATIC] * len(shape)
        open_ended = [*fixed[:2], DimDynamic.DYNAMIC, *fixed[3:]]
        context: StatelessSymbolicContext[Any, Any] = StatelessSymbolicContext(
            open_ended, constraint_sizes=[None] * len(shape)
        )
        return tuple(
            mode.from_tensor(torch.zeros(shape), symbolic_context=context)
            for _ in range(sizes.vlm.depth)
        )

    def run(
        given: list[torch.Tensor],
        keys: tuple[torch.Tensor, ...],
        values: tuple[torch.Tensor, ...],
        x_t: torch.Tensor,
        t: torch.Tensor,
        error: torch.Tensor,
    ) -> torch.Tensor:
        replaced = {f'_model.{name}': one for name, one in zip(names, given, strict=True)}
        found: torch.Tensor = torch.func.functional_call(
            whole, replaced, (Cache(keys, values), x_t, t, error)
        )
        return found

    with mode:
        x_t = torch.zeros(1, sizes.horizon, sizes.action_dim)
        t = torch.ones(1, sizes.horizon)
        error = torch.zeros_like(x_t)
    # Attention by its parts: the fused kernels' derivatives are operators of their own.
    with sdpa_kernel(SDPBackend.MATH):
        trace = make_fx(
            run,
            get_decompositions(_BACKWARD),  # type: ignore[arg-type]  # torch's own, too wide
            tracing_mode='symbolic',
        )
        given = [weights[name].detach() for name in names]
        traced = trace(given, grown(), grown(), x_t, t, error)
    _write_out_constants(traced)
    return traced


def _write_out_constants(traced: GraphModule) -> None:
    """Make constants (rotary frequencies, time periods) part of the operators' sequence."""
    for node in list(traced.graph.nodes):
        if node.op == 'get_attr':
            constant = getattr(traced, node.target)
            with traced.graph.inserting_before(node):
                literal = traced.graph.call_function(
                    torch.tensor, (constant.tolist(),), {'dtype': constant.dtype}
                )
            node.replace_all_uses_with(literal)
            traced.graph.erase_node(node)
    traced.recompile()
