"""Torch to ONNX: ``observe.onnx`` and ``denoise.onnx``, batch 1, without masks.

Opset 23, whose ``Attention`` and ``RMSNormalization`` are single operators, against opset 20:
925 + 347 nodes instead of 1569 + 625 for pi0_small, exported in 19 s instead of 24 s. On two CPU
cores with ONNX Runtime 1.31 the whole sample takes the same time (530 and 561 ms for pi0_small, 26
and 30 ms for tiny, noise of 5 %), with the same error against torch (2e-7). The operators decide
it for GPUs, where ONNX Runtime has flash kernels for a mask-free ``Attention`` and none for its
parts.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim

from pizero_ros.errors import ExportError
from pizero_ros.export.jacobian import PullBack
from pizero_ros.export.streaming import MEMORY_LIMIT, StreamedWeights
from pizero_ros.export.streaming_initializers import attach_weights, write_graph
from pizero_ros.export.streaming_models import without_weights
from pizero_ros.model.pi0 import Cache, Conditioning, Pi0

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx_ir as ir

OPSET = 23
OBSERVE = 'observe.onnx'
DENOISE = 'denoise.onnx'
JACOBIAN = 'jacobian.onnx'

PREFIX = '_model.'
"""What comes before ``Pi0``'s parameter names in the graphs; the halves' attribute, below."""


def cache_names(depth: int) -> tuple[str, ...]:
    """Name the tensors that ``observe`` gives and ``denoise`` takes: all keys, then all values."""
    return (*(f'key.{i}' for i in range(depth)), *(f'value.{i}' for i in range(depth)))


class _Observe(nn.Module):
    """images [N,3,H,W], tokens [1,L], state [1,S] → keys, values."""

    def __init__(self, model: Pi0) -> None:
        super().__init__()
        self._model = model

    def forward(
        self, images: torch.Tensor, tokens: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        cache = self._model.observe(Conditioning(images[None], tokens, state))
        return (*cache.keys, *cache.values)


class _Denoise(nn.Module):
    """keys, values, x_t [1,H,A], t [1,H] → velocity."""

    def __init__(self, model: Pi0) -> None:
        super().__init__()
        self._model = model

    def forward(
        self,
        keys: tuple[torch.Tensor, ...],
        values: tuple[torch.Tensor, ...],
        x_t: torch.Tensor,
        t: torch.Tensor,
    ) -> torch.Tensor:
        return self._model.denoise(Cache(tuple(keys), tuple(values)), x_t, t)


def export_graphs(
    policy: Pi0 | StreamedWeights,
    out_dir: str | Path,
    *,
    opset: int = OPSET,
    on_bytes: Callable[[int, int], object] | None = None,
    inside: int = MEMORY_LIMIT,
    jacobian: bool = False,
) -> tuple[Path, ...]:
    """Write the graphs of a policy, whose weights are read one at a time.

    ``observe.onnx``: ``images`` float32 [N, 3, H, W] (only the cameras that are there, in slot
    order), ``tokens`` int64 [1, L] (no pads, L ≥ 1), ``state`` float32 [1, S] → ``key.i``,
    ``value.i`` float32 [1, kv_heads, P, head_dim], P = N · tokens per camera + L + 1.
    ``denoise.onnx``: those, ``x_t`` float32 [1, H, A], ``t`` float32 [1, H] → ``velocity``
    float32 [1, H, A]. N, L and P are dynamic.
    ``jacobian.onnx``, if asked for: what ``denoise`` takes and ``error`` float32 [1, H, A] →
    ``correction`` float32 [1, H, A], the error times the transposed Jacobian of the clean actions
    ``x_t - t·velocity``; it has the weights of ``denoise.onnx`` twice, as they are and transposed.

    The graphs are traced without weights, so an export needs memory for its largest tensor, or
    for all of them where they go inside the graphs' files.

    Args:
        policy: A policy in memory, or its weights.
        out_dir: Existing folder.
        opset: ONNX operator set.
        on_bytes: Told the bytes written so far and of the whole, for a progress bar.
        inside: Largest number of bytes that go inside the graphs' files; larger policies have
            theirs in ``<graph>.data``.
        jacobian: Also write the graph for guidance by the true Jacobian.

    Returns:
        Every file written.

    Raises:
        ExportError: Torch could not turn the model into a graph, or a weight is misshapen.
    """
    weights = StreamedWeights.of(policy)
    sizes = weights.architecture
    names = cache_names(sizes.vlm.depth)
    mode = FakeTensorMode()
    model = without_weights(sizes, mode)
    with mode:
        # Two views and a short prompt: enough to trace, and 0 or 1 would be burnt in as constants.
        image = torch.zeros(2, 3, sizes.vision.image_size, sizes.vision.image_size)
        tokens = torch.zeros(1, min(6, sizes.max_tokens), dtype=torch.int64)
        state = torch.zeros(1, sizes.state_dim)
        cached = 2 * sizes.vision.tokens + tokens.shape[1] + 1
        shape = (1, sizes.vlm.kv_heads, cached, sizes.vlm.head_dim)
        # A tensor of its own each: the tracer takes one object given twice for one input.
        keys, values = (
            tuple(torch.zeros(shape) for _ in range(sizes.vlm.depth)) for _ in range(2)
        )
        x_t = torch.zeros(1, sizes.horizon, sizes.action_dim)
        t = torch.ones(1, sizes.horizon)
    grown = ({2: Dim('cached')},) * sizes.vlm.depth
    traced = {
        OBSERVE: trace(
            _Observe(model),
            opset,
            args=(image, tokens, state),
            dynamic_shapes=({0: Dim('views')}, {1: Dim('words')}, None),
            input_names=['images', 'tokens', 'state'],
            output_names=list(names),
        ),
        DENOISE: trace(
            _Denoise(model),
            opset,
            args=(keys, values, x_t, t),
            dynamic_shapes=(grown, grown, None, None),
            input_names=[*names, 'x_t', 't'],
            output_names=['velocity'],
        ),
    }
    if jacobian:
        traced[JACOBIAN] = trace(
            PullBack(model, sizes),
            opset,
            # Another tensor than x_t, for the same reason.
            args=(keys, values, x_t, t, x_t.clone()),
            dynamic_shapes=(grown, grown, None, None, None),
            input_names=[*names, 'x_t', 't', 'error'],
            output_names=['correction'],
        )
    written = 0

    def count(size: int) -> None:
        nonlocal written
        written += size
        if on_bytes is not None:
            on_bytes(written, total)

    total = sum(attach_weights(graph, PREFIX, weights, count) for graph in traced.values())
    files = []
    for name, graph in traced.items():
        path = Path(out_dir) / name
        data = path.with_name(f'{name}.data')
        data.unlink(missing_ok=True)
        write_graph(graph, path, data.name if total > inside else None)
        files += [path, data] if data.is_file() else [path]
    return tuple(files)


def trace(graph: nn.Module, opset: int, **how: Any) -> ir.Model:
    """Turn a part of the policy into a graph whose weights have no values.

    Args:
        graph: The part; it holds the policy as ``_model``.
        opset: ONNX operator set.
        how: What ``torch.onnx.export`` takes besides: arguments, names, dynamic shapes.

    Returns:
        The graph; ``attach_weights`` gives it its weights.

    Raises:
        ExportError: Torch could not turn it into a graph.
    """
    try:
        with _quiet():
            program = torch.onnx.export(
                graph.eval(),
                **how,
                dynamo=True,
                opset_version=opset,
                optimize=False,
                verbose=False,
            )
            if program is None:
                msg = 'the exporter returned no program'
                raise ValueError(msg)
            for name, value in program.model.graph.initializers.items():
                if name.startswith(PREFIX):
                    # The optimiser folds what it has a value for, and would ask for all of them.
                    value.const_value = None
            program.optimize()
    except torch.onnx.OnnxExporterError as error:
        raise ExportError.at(
            type(graph).__name__, '', found=f'an exporter error ({error})', expected='a graph'
        ) from error
    # It notes of each node which line of code it is from, with paths of this machine.
    ClearMetadataAndDocStringPass()(program.model)
    return program.model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings off the terminal; its failures are exceptions."""
    loggers = [logging.getLogger(name) for name in ('torch.onnx', 'onnxscript', 'onnx_ir')]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
