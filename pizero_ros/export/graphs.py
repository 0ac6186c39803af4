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
from torch import nn
from torch.export import Dim

from pizero_ros.errors import ExportError
from pizero_ros.model.pi0 import Cache, Conditioning, Pi0

if TYPE_CHECKING:
    from collections.abc import Iterator

OPSET = 23
OBSERVE = 'observe.onnx'
DENOISE = 'denoise.onnx'


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


def export_graphs(model: Pi0, out_dir: str | Path, *, opset: int = OPSET) -> tuple[Path, ...]:
    """Write both graphs of a policy.

    ``observe.onnx``: ``images`` float32 [N, 3, H, W] (only the cameras that are there, in slot
    order), ``tokens`` int64 [1, L] (no pads, L ≥ 1), ``state`` float32 [1, S] → ``key.i``,
    ``value.i`` float32 [1, kv_heads, P, head_dim], P = N · tokens per camera + L + 1.
    ``denoise.onnx``: those, ``x_t`` float32 [1, H, A], ``t`` float32 [1, H] → ``velocity``
    float32 [1, H, A]. N, L and P are dynamic. Weights over 2 GB go to ``<graph>.data``.

    Args:
        model: The policy; exported in evaluation mode, which is left set.
        out_dir: Existing folder.
        opset: ONNX operator set.

    Returns:
        Every file written.

    Raises:
        ExportError: Torch could not turn the model into a graph.
    """
    model.eval()
    sizes = model.architecture
    device = model.action_out_proj.weight.device
    # Two views and a short prompt: enough to trace, and 0 or 1 would be burnt in as constants.
    image = torch.zeros(2, 3, sizes.vision.image_size, sizes.vision.image_size, device=device)
    tokens = torch.zeros(1, min(6, sizes.max_tokens), dtype=torch.int64, device=device)
    state = torch.zeros(1, sizes.state_dim, device=device)
    with torch.no_grad():
        cache = model.observe(Conditioning(image[None], tokens, state))
    names = cache_names(sizes.vlm.depth)
    grown = {2: Dim('cached')}
    observe = _write(
        _Observe(model),
        Path(out_dir) / OBSERVE,
        opset,
        args=(image, tokens, state),
        dynamic_shapes=({0: Dim('views')}, {1: Dim('words')}, None),
        input_names=['images', 'tokens', 'state'],
        output_names=list(names),
    )
    layers = (grown,) * sizes.vlm.depth
    denoise = _write(
        _Denoise(model),
        Path(out_dir) / DENOISE,
        opset,
        args=(
            cache.keys,
            cache.values,
            torch.zeros(1, sizes.horizon, sizes.action_dim, device=device),
            torch.ones(1, sizes.horizon, device=device),
        ),
        dynamic_shapes=(layers, layers, None, None),
        input_names=[*names, 'x_t', 't'],
        output_names=['velocity'],
    )
    return (*observe, *denoise)


def _write(graph: nn.Module, path: Path, opset: int, **how: Any) -> tuple[Path, ...]:
    """Export one graph and list its files."""
    data = path.with_name(path.name + '.data')
    data.unlink(missing_ok=True)
    try:
        with _quiet():
            program = torch.onnx.export(
                graph.eval(), **how, dynamo=True, opset_version=opset, verbose=False
            )
            if program is None:
                msg = 'the exporter returned no program'
                raise ValueError(msg)
            program.save(path)
    except torch.onnx.OnnxExporterError as error:
        raise ExportError.at(
            path, '', found=f'an exporter error ({error})', expected='a graph'
        ) from error
    return (path, data) if data.is_file() else (path,)


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
