"""8-bit weights for a CPU: matrix products in integers, everything else as it is."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from pizero_ros.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LARGEST = 1_500_000_000
"""Bytes of a graph that the quantiser can hold; it works on one protocol buffer, at most 2 GiB."""


def quantize(graph: Path, out: Path) -> None:
    """Write a graph whose large constant matrices are int8, one scale per column.

    Activations are quantised as they come, one scale per tensor and call, so that no calibration
    data is needed. Products with few rows of weights (the projections of state and actions) stay
    float32: they cost nothing, and their values are the robot's.

    Args:
        graph: The float32 graph.
        out: The graph to write.

    Raises:
        ExportError: It is too large.
    """
    size = graph.stat().st_size + sum(
        each.stat().st_size for each in graph.parent.glob(f'{graph.name}.data')
    )
    if size > _LARGEST:
        raise ExportError.at(
            graph,
            'cpu_int8',
            found=f'{size / 1e9:.1f} GB of weights',
            expected=f'at most {_LARGEST / 1e9:.1f} GB',
            remedy='A policy of this size does not run on a CPU in useful time; use a GPU.',
        )
    model = onnx.load(graph)
    # Types of inner values are inferred anew; the exporter's are those before weights were folded.
    del model.graph.value_info[:]
    shapes = {each.name: tuple(each.dims) for each in model.graph.initializer}
    small = [
        node.name
        for node in model.graph.node
        if node.op_type in ('MatMul', 'Gemm')
        and not any(min(shapes.get(name, (0,))) >= _SMALLEST for name in node.input)
    ]
    with _quiet():
        quantize_dynamic(
            model,
            out,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=['MatMul'],
            nodes_to_exclude=small,
            # Of what shape inference cannot name: every product here is of float32.
            extra_options={'DefaultTensorType': onnx.TensorProto.FLOAT},
        )


_SMALLEST = 64
"""Rows and columns from which a matrix is worth quantising."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice off the terminal."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
