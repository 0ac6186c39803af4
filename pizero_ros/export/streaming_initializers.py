"""Weights into a graph that was traced without them: folded and read one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir

from pizero_ros.errors import PizeroError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pizero_ros.export.streaming import StreamedWeights

_ALIGNMENT = 4096
"""Every tensor starts a page of the data file, so that ONNX Runtime can map it where it lies."""


def attach_weights(
    model: ir.Model,
    prefix: str,
    weights: StreamedWeights,
    on_bytes: Callable[[int], object],
) -> int:
    """Give every weight of a graph its value, to be read when the graph is written.

    What is computed from weights alone (transposed matrices, norms' 1 + w) becomes an initializer
    too, computed when it is written: left in the graph it would be computed, and kept, by every
    session that loads the graph.

    Args:
        model: The graph, whose weights are initializers without value; changed in place.
        prefix: What an initializer that is a weight has before ``Pi0``'s parameter name.
        weights: Where the values come from.
        on_bytes: Told the size of each initializer as it is read.

    Returns:
        Bytes of all initializers.
    """
    graph = model.graph
    graph.sort()
    names = {
        name: name.removeprefix(prefix) for name in graph.initializers if name.startswith(prefix)
    }
    known = set(graph.initializers.values())
    from_weights = {value for value in known if value.name in names}
    foldable = []
    for node in graph:
        inputs = [value for value in node.inputs if value is not None]
        if from_weights.intersection(inputs) and known.issuperset(inputs):
            foldable.append(node)
            known.update(node.outputs)
            from_weights.update(node.outputs)
    inside = set(foldable)
    # Last first: folded before what it is made of, a value goes back to the weights themselves.
    for value in [output for node in reversed(foldable) for output in node.outputs]:
        if not all(use.node in inside for use in value.uses()):
            folded = _Folded(value, names, weights, on_bytes)
            static = ir.Value(name=f'{value.name}_folded', type=value.type, shape=value.shape)
            static.const_value = folded.tensor()
            graph.register_initializer(static)
            value.replace_all_uses_with(static)
    graph.remove(foldable, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
        elif name in names:
            value.const_value = _Folded(value, names, weights, on_bytes).tensor()
    return sum(
        value.const_value.nbytes
        for value in graph.initializers.values()
        if value.const_value is not None
    )


def write_graph(model: ir.Model, path: Path, data: str | None) -> None:
    """Write a graph.

    Args:
        model: The graph.
        path: Its file.
        data: Name of a file beside it for the weights, which are then never in memory together;
            None to have them inside.
    """
    try:
        ir.save(model, path, external_data=data, alignment=_ALIGNMENT, align_threshold=0)
    except ir.serde.SerdeError as error:
        # What the weights' source says is wrapped once per level of the file.
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, PizeroError):
                raise cause from None
            cause = cause.__cause__
        raise


class _Folded:
    """One value that depends on nothing but initializers; computed anew whenever it is read."""

    def __init__(
        self,
        value: ir.Value,
        names: Mapping[str, str],
        weights: StreamedWeights,
        on_bytes: Callable[[int], object],
    ) -> None:
        self._value = value
        self._weights = weights
        self._on_bytes = on_bytes
        self._constants: dict[str, npt.NDArray[np.generic]] = {}
        self._sources: dict[str, str] = {}
        nodes: dict[ir.Node, None] = {}
        self._visit(value, names, nodes)
        self._evaluate = _evaluator(value, [*self._constants, *self._sources], list(nodes))

    def tensor(self) -> ir.LazyTensor:
        """Return the tensor, not computed yet."""
        value = self._value
        if value.dtype is None or value.shape is None or not value.shape.is_static():
            msg = f'{value.name} is made of weights alone and has no fixed type and shape'
            raise ValueError(msg)
        return ir.LazyTensor(self._compute, value.dtype, value.shape, name=value.name)

    def _visit(
        self, value: ir.Value, names: Mapping[str, str], nodes: dict[ir.Node, None]
    ) -> None:
        """Note what ``value`` is made of, inputs before the nodes that take them."""
        node, name = value.producer(), value.name or ''
        if node is not None:
            for each in node.inputs:
                if each is not None:
                    self._visit(each, names, nodes)
            nodes[node] = None
        elif name in names:
            self._sources[name] = names[name]
        elif value.const_value is not None:
            self._constants[name] = value.const_value.numpy()

    def _compute(self) -> ir.TensorProtocol:
        feed = {name: self._weights.load(full).numpy() for name, full in self._sources.items()}
        array = np.ascontiguousarray(self._evaluate({**self._constants, **feed}))
        self._on_bytes(array.nbytes)
        return ir.Tensor(array, name=self._value.name)


def _evaluator(
    value: ir.Value, inputs: Sequence[str], nodes: Sequence[ir.Node]
) -> Callable[[dict[str, npt.NDArray[np.generic]]], npt.NDArray[np.generic]]:
    """Make a function of what ``nodes`` compute from arrays, with the standard's own reference."""
    name = value.name or ''
    if not nodes:
        return lambda feed: feed[name]
    graph = onnx.helper.make_graph(
        [ir.to_proto(node) for node in nodes],
        'folded',
        [onnx.ValueInfoProto(name=each) for each in inputs],
        [onnx.ValueInfoProto(name=name)],
    )
    owner = nodes[0].graph
    assert owner is not None
    opset = onnx.helper.make_opsetid('', owner.opset_imports[''])
    reference = onnx.reference.ReferenceEvaluator(
        onnx.helper.make_model(graph, opset_imports=[opset])
    )
    return lambda feed: reference.run([name], feed)[0]
