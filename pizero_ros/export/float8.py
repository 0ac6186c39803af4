"""8-bit floats for TensorRT: quantised products written out, with scales that were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import torch

from pizero_ros.errors import ExportError
from pizero_ros.export.graphs import cache_names
from pizero_ros.export.proven_graphs import fused_inputs
from pizero_ros.model.flow_time import euler_grid
from pizero_ros.model.pi0 import Conditioning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from pizero_ros.model.architecture import Architecture

    Largest = dict[str, float]
    """Tensor of a graph → the largest absolute value seen."""

_SMALLEST = 64
"""Rows and columns from which a matrix is worth quantising."""
_SAMPLES = 6
_HEADROOM = 2.0
"""The largest value that fits is this much larger than the largest seen. A float loses no digits
by it, only the smallest of its 16 exponents."""
_LARGEST = 448.0
"""Of float8e4m3fn, which has no infinity."""
_INSIDE = 256
"""Bytes of a tensor below which it stays in the graph, where shapes have to be."""


def products(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the products that are quantised: with large constant 16-bit matrices.

    What is float32 in a 16-bit graph, the projections of state, actions, flow time and pixels,
    stays as it is.
    """
    weights = {
        each.name
        for each in model.graph.initializer
        if each.data_type == onnx.TensorProto.FLOAT16
        and len(each.dims) == 2
        and min(each.dims) >= _SMALLEST
    }
    return [
        node for node in model.graph.node if node.op_type == 'MatMul' and node.input[1] in weights
    ]


def quantize(graph: Path, largest: Mapping[str, float]) -> int:
    """Rewrite a float16 graph with its weights in a data file, so that its products are float8.

    Before each product its left side goes through QuantizeLinear and DequantizeLinear with a
    fixed scale, and its weights become float8 with a DequantizeLinear behind them, one scale for
    each tensor: what TensorRT fuses into one float8 product. The scales are float16 as the values.

    Args:
        graph: ``PART.tensorrt.onnx`` with ``PART.tensorrt.onnx.data`` beside it.
        largest: Left side of each product (``products``) → largest absolute value.

    Returns:
        How many products there are.
    """
    model = onnx.load(graph)
    proto = model.graph
    chosen = products(model)
    weights = {each.name: each for each in proto.initializer}
    zero = _tensor('float8_zero', np.zeros((), ml_dtypes.float8_e4m3fn))
    made: dict[str, tuple[str, list[onnx.NodeProto]]] = {}
    added = [zero]

    def scale(name: str, most: float) -> str:
        added.append(_tensor(f'{name}.scale', np.float16(_scale(most))))
        return f'{name}.scale'

    for node in chosen:
        left, right = node.input
        if left not in made:
            narrow, wide = f'{left}.float8', f'{left}.dequantized'
            by = scale(left, _HEADROOM * largest[left])
            nodes = [_node('QuantizeLinear', [left, by, zero.name], narrow)]
            made[left] = wide, [*nodes, _node('DequantizeLinear', [narrow, by, zero.name], wide)]
        if right not in made:
            narrow, wide = f'{right}.float8', f'{right}.dequantized'
            values = onnx.numpy_helper.to_array(weights[right]).astype(np.float32)
            most = float(np.abs(values).max())
            by = scale(right, most)
            added.append(_tensor(narrow, (values / _scale(most)).astype(ml_dtypes.float8_e4m3fn)))
            made[right] = wide, [_node('DequantizeLinear', [narrow, by, zero.name], wide)]
    nodes = []
    written: set[str] = set()
    ours = {id(node) for node in chosen}
    for node in proto.node:
        if id(node) in ours:
            for name in list(node.input):
                if name not in written:
                    written.add(name)
                    nodes.extend(made[name][1])
            node.input[:] = [made[name][0] for name in node.input]
        nodes.append(node)
    gone = {name for name in made if name in weights}
    kept = [each for each in proto.initializer if each.name not in gone] + added
    del proto.node[:], proto.initializer[:]
    proto.node.extend(nodes)
    proto.initializer.extend(kept)
    data = graph.parent / f'{graph.name}.data'
    data.unlink()
    onnx.save_model(
        model, graph, save_as_external_data=True, location=data.name, size_threshold=_INSIDE
    )
    return len(chosen)


class Measured:
    """Largest values on the left of a graph's products, over all runs.

    Attributes:
        largest: Tensor → largest absolute value so far.
    """

    def __init__(self, graph: Path) -> None:
        """Open a graph with the left sides of its products as outputs too."""
        self._graph = graph
        model = onnx.load(graph, load_external_data=False)
        self._names = tuple(dict.fromkeys(node.input[0] for node in products(model)))
        self._inputs = {each.name for each in model.graph.input}
        known = self._inputs | {each.name for each in model.graph.output}
        model.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in self._names if name not in known
        )
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry(
            'session.model_external_initializers_file_folder_path', str(graph.parent)
        )
        self._session = ort.InferenceSession(
            model.SerializeToString(), options, providers=['CPUExecutionProvider']
        )
        self.largest: Largest = dict.fromkeys(self._names, 0.0)

    def run(self, feed: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run the graph with those of the arrays that it reads, and note the values.

        Raises:
            ExportError: A value is not finite.
        """
        values = {name: feed[name] for name in self._inputs}
        given = [each.name for each in self._session.get_outputs()]
        values |= zip(given, self._session.run(given, dict(values)), strict=True)
        for name in self._names:
            most = float(np.abs(values[name]).max())
            if not np.isfinite(most):
                raise ExportError.at(
                    self._graph,
                    name,
                    found=f'a value of {most}',
                    expected='finite values in float16',
                    remedy='This policy needs bfloat16.',
                )
            self.largest[name] = max(self.largest[name], most)
        return values


def calibrate(
    folder: Path, files: Mapping[str, str], sizes: Architecture, slots: int, steps: int, seed: int
) -> dict[str, Largest]:
    """Measure the values in a float16 variant over whole samples of random inputs.

    Args:
        folder: Where its graphs are.
        files: Part → file.
        sizes: The policy's.
        slots: Its camera slots.
        steps: Euler steps of a sample.
        seed: Seed of inputs and noise.

    Returns:
        ``observe`` and ``denoise`` → largest values (``quantize``).

    Raises:
        ExportError: A value is not finite.
    """
    generator = np.random.default_rng(seed)
    measured = {part: Measured(folder / files[part]) for part in ('observe', 'denoise')}
    names = cache_names(sizes.vlm.depth)
    for each in _seen(sizes, slots, generator):
        feed = fused_inputs(each, sizes)
        values = measured['observe'].run(feed)
        feed |= {name: values[name] for name in names}
        shape = (1, sizes.horizon, sizes.action_dim)
        x_t = generator.standard_normal(shape, dtype=np.float32)
        for time in euler_grid(steps):
            feed |= {'x_t': x_t, 't': np.full(shape[:2], time, np.float32)}
            x_t = x_t - measured['denoise'].run(feed)['velocity'] / np.float32(steps)
    return {part: graph.largest for part, graph in measured.items()}


def _seen(
    sizes: Architecture, slots: int, generator: np.random.Generator
) -> Iterator[Conditioning]:
    """Yield inputs with fewer and fewer cameras, prompts of every length and lively states."""
    pixels = sizes.vision.image_size
    for i in range(_SAMPLES):
        cameras = slots - i % slots
        images = generator.uniform(-1, 1, (1, cameras, 3, pixels, pixels)).astype(np.float32)
        # Pictures have large even areas, which noise has not.
        images[:, ::2] = images[:, ::2].mean(axis=(3, 4), keepdims=True) * pixels
        words = int(generator.integers(2, sizes.max_tokens + 1)) if i else sizes.max_tokens
        yield Conditioning(
            images=torch.from_numpy(images.clip(-1, 1)),
            tokens=torch.from_numpy(generator.integers(0, sizes.vocabulary, (1, words))),
            state=torch.from_numpy(
                generator.standard_normal((1, sizes.state_dim), dtype=np.float32)
            ),
        )


def _scale(most: float) -> float:
    """Return the float16 by which values up to ``most`` fit, rounded up; 1 for zeros."""
    if most == 0.0:
        return 1.0
    rounded = np.float16(most / _LARGEST)
    if float(rounded) * _LARGEST < most:
        rounded = np.nextafter(rounded, np.float16(np.inf))
    return float(rounded)


def _node(kind: str, inputs: list[str], output: str) -> onnx.NodeProto:
    return onnx.helper.make_node(kind, inputs, [output], name=f'{kind}:{output}')


def _tensor(name: str, array: Any) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.asarray(array), name)
