"""All denoise steps as one graph: the exported step repeated, which is quicker than tracing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.reference
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from pizero_ros.model.flow_time import euler_grid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

_NOISE, _ACTIONS = 'noise', 'actions'
_X_T, _T, _VELOCITY = 'x_t', 't', 'velocity'


def unroll(denoise: Path, out: Path, steps: int) -> None:
    """Write the graph of a whole sample: what ``denoise`` takes, less ``t`` → ``actions``.

    All that depends on nothing but the flow time is computed now, once per step. The weights stay
    in the data file of ``denoise``, which both graphs read.

    Args:
        denoise: The graph of one step, its weights in a data file beside it.
        out: The graph to write, in the same folder: ``noise`` float32 [1, H, A] and the rest of
            the step's inputs → ``actions`` float32 [1, H, A].
        steps: Euler steps.
    """
    model = onnx.load(denoise, load_external_data=False)
    graph = model.graph
    timed, frontier = _timed(graph)
    tables = _tables(model, denoise.parent, timed, frontier, steps)
    rest = [node for node in graph.node if not any(name in timed for name in node.output)]
    inputs = [each for each in graph.input if each.name not in (_X_T, _T)]
    fixed = {each.name for each in (*inputs, *graph.initializer)}
    chunk = next(each for each in graph.input if each.name == _X_T).type
    known = [*graph.value_info, *graph.output]
    nodes = _constant(graph)
    fixed.update(name for node in nodes for name in node.output)
    rest = [node for node in rest if not fixed.issuperset(node.output)]
    types = [each for each in known if each.name in fixed]
    constants = [onnx.numpy_helper.from_array(np.float32(-1.0 / steps), 'dt')]
    x_t = _NOISE
    for step in range(steps):
        renamed = {_X_T: x_t}
        for name in frontier:
            renamed[name] = f'{name}@{step}'
            constants.append(onnx.numpy_helper.from_array(tables[name][step], renamed[name]))
        for node in rest:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = f'{node.name}@{step}'
            copy.input[:] = [
                name if not name or name in fixed else renamed[name] for name in node.input
            ]
            for name in node.output:
                renamed[name] = f'{name}@{step}' if name else ''
            copy.output[:] = [renamed[name] for name in node.output]
            nodes.append(copy)
        for each in known:
            if each.name in renamed:
                types.append(onnx.ValueInfoProto(name=renamed[each.name], type=each.type))
        move, after = f'move@{step}', _ACTIONS if step == steps - 1 else f'{_X_T}@{step}'
        nodes.append(onnx.helper.make_node('Mul', [renamed[_VELOCITY], 'dt'], [move]))
        nodes.append(onnx.helper.make_node('Add', [x_t, move], [after]))
        types.append(onnx.ValueInfoProto(name=move, type=chunk))
        if step < steps - 1:
            types.append(onnx.ValueInfoProto(name=after, type=chunk))
        x_t = after
    used = {name for node in nodes for name in node.input}
    whole = onnx.helper.make_graph(
        nodes,
        'sample',
        [*inputs, onnx.ValueInfoProto(name=_NOISE, type=chunk)],
        [onnx.ValueInfoProto(name=_ACTIONS, type=chunk)],
        [each for each in (*graph.initializer, *constants) if each.name in used],
        value_info=types,
    )
    result = onnx.helper.make_model(
        whole, opset_imports=model.opset_import, ir_version=model.ir_version
    )
    out.write_bytes(result.SerializeToString())


def _constant(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Find what depends on nothing, weights that are to be dequantised: once for all steps."""
    known = {each.name for each in graph.initializer} | {''}
    nodes = []
    for node in graph.node:
        if known.issuperset(node.input):
            known.update(node.output)
            nodes.append(node)
    return nodes


def _timed(graph: onnx.GraphProto) -> tuple[set[str], tuple[str, ...]]:
    """Find what depends on the flow time and constants alone, and what of it others read."""
    constants = {each.name for each in graph.initializer}
    timed = {_T}
    for node in graph.node:
        names = {name for name in node.input if name}
        if names & timed and names <= timed | constants:
            timed.update(node.output)
    made = timed - {_T}
    read = [
        name
        for node in graph.node
        if not timed.intersection(node.output)
        for name in node.input
        if name in made
    ]
    return made, tuple(dict.fromkeys(read))


def _tables(
    model: onnx.ModelProto, folder: Path, timed: set[str], frontier: tuple[str, ...], steps: int
) -> Mapping[str, list[npt.NDArray[np.float32]]]:
    """Compute what is read of the flow time at every step, one row where all actions share it."""
    graph = model.graph
    nodes = [node for node in graph.node if timed.intersection(node.output)]
    names = {name for node in nodes for name in node.input}
    weights = []
    for each in graph.initializer:
        if each.name in names:
            tensor = onnx.TensorProto()
            tensor.CopyFrom(each)
            if uses_external_data(tensor):
                load_external_data_for_tensor(tensor, str(folder))
                tensor.data_location = onnx.TensorProto.DEFAULT
            weights.append(tensor)
    (time,) = (each for each in graph.input if each.name == _T)
    small = onnx.helper.make_graph(
        nodes, 'time', [time], [onnx.ValueInfoProto(name=name) for name in frontier], weights
    )
    run = onnx.reference.ReferenceEvaluator(
        onnx.helper.make_model(
            small, opset_imports=model.opset_import, ir_version=model.ir_version
        )
    ).run
    shape = [each.dim_value for each in time.type.tensor_type.shape.dim]
    tables: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in frontier}
    for t in euler_grid(steps):
        for name, value in zip(
            frontier, run(None, {_T: np.full(shape, t, np.float32)}), strict=True
        ):
            shared = value.ndim == 3 and bool((value == value[:, :1]).all())
            tables[name].append(np.ascontiguousarray(value[:, :1] if shared else value))
    return tables
