"""A graph on ONNX Runtime, as a whole or in pieces, for a process with little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import onnx
import onnxruntime as ort

from pizero_ros.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[np.float32]]

_PIECE = 1_000_000_000
"""Bytes of weights that one piece uses; a larger tensor is a piece of its own."""
_EXPECTED = 'a graph that ONNX Runtime loads'
_FOLDER = 'session.model_external_initializers_file_folder_path'


class GraphRun:
    """Runs one graph with its weights mapped from the files, on the CPU.

    A graph whose weights lie in a data file is cut between nodes into pieces that run one after
    the other; each is loaded, run and let go. The nodes and the bytes of the weights are those of
    the whole graph, and at most ``_PIECE`` bytes of them are resident.

    Attributes:
        inputs: Names of what it reads.
    """

    def __init__(self, path: Path, piece: int = _PIECE) -> None:
        """Read the graph.

        Args:
            path: The graph's file.
            piece: Bytes of weights of one piece.

        Raises:
            ExportError: It is no graph that ONNX Runtime loads.
        """
        self._path = path
        try:
            model = onnx.load(path, load_external_data=False)
        except Exception as error:  # protobuf's and onnx's have no common base class
            raise ExportError.at(path, '', found=str(error), expected=_EXPECTED) from error
        self.inputs = tuple(each.name for each in model.graph.input)
        self._pieces: list[_Piece] = []
        self._session: ort.InferenceSession | None = None
        if any(onnx.external_data_helper.uses_external_data(x) for x in model.graph.initializer):
            self._pieces = _cut(model, piece)
        if len(self._pieces) < 2:
            self._session = self._open(path, mapped=bool(self._pieces))

    def run(self, outputs: Iterable[str], feed: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Compute ``outputs`` from ``feed``, all by name."""
        outputs = list(outputs)
        if self._session is not None:
            return dict(zip(outputs, self._session.run(outputs, dict(feed)), strict=True))
        values: Arrays = dict(feed)
        last = {name: i for i, piece in enumerate(self._pieces) for name in piece.inputs}
        for i, piece in enumerate(self._pieces):
            session = self._open(piece.model, mapped=True)
            given = {name: values[name] for name in piece.inputs}
            values |= zip(piece.outputs, session.run(list(piece.outputs), given), strict=True)
            del session
            for name in [name for name in values if last.get(name, -1) <= i]:
                if name not in outputs:
                    del values[name]
        return {name: values[name] for name in outputs}

    def _open(self, model: Path | bytes, *, mapped: bool) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # Torch and the graphs take turns; spinning threads of one would slow the other tenfold.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        if mapped:
            # Packed weights would be a copy of all of them.
            options.add_session_config_entry('session.disable_prepacking', '1')
            options.add_session_config_entry(_FOLDER, str(self._path.parent))
            options.enable_cpu_mem_arena = False
        try:
            return ort.InferenceSession(
                model if isinstance(model, bytes) else str(model),
                sess_options=options,
                providers=['CPUExecutionProvider'],
            )
        except Exception as error:  # ONNX Runtime has no common base class of its own
            raise ExportError.at(self._path, '', found=str(error), expected=_EXPECTED) from error


class _Piece(NamedTuple):
    """A serialised model, and the names of what goes into and comes out of it."""

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def _cut(model: onnx.ModelProto, limit: int) -> list[_Piece]:
    """Cut a graph between nodes, so that no piece uses more than ``limit`` bytes of weights."""
    graph = model.graph
    weights = {each.name: each for each in graph.initializer}
    sizes = {name: _nbytes(each) for name, each in weights.items()}
    groups: list[list[onnx.NodeProto]] = [[]]
    held: set[str] = set()
    for node in graph.node:
        wanted = held.union(name for name in node.input if name in weights)
        if groups[-1] and sum(sizes[name] for name in wanted) > limit:
            groups.append([])
            wanted = wanted - held
        groups[-1].append(node)
        held = wanted
    types = {each.name: each for each in (*graph.value_info, *graph.input, *graph.output)}
    needed_later = {each.name for each in graph.output}
    pieces = []
    for nodes in reversed(groups):
        made = dict.fromkeys(name for node in nodes for name in node.output if name)
        taken = dict.fromkeys(name for node in nodes for name in node.input if name)
        inputs = [name for name in taken if name not in made and name not in weights]
        outputs = [name for name in made if name in needed_later]
        needed_later = (needed_later - set(made)) | set(inputs)
        piece = onnx.helper.make_graph(
            nodes,
            'piece',
            [types[name] for name in inputs],
            [types[name] for name in outputs],
            [weights[name] for name in taken if name in weights],
        )
        whole = onnx.helper.make_model(
            piece, opset_imports=model.opset_import, ir_version=model.ir_version
        )
        pieces.append(_Piece(whole.SerializeToString(), tuple(inputs), tuple(outputs)))
    return pieces[::-1]


def _nbytes(tensor: onnx.TensorProto) -> int:
    for entry in tensor.external_data:
        if entry.key == 'length':
            return int(entry.value)
    return len(tensor.raw_data)
