"""Graphs that a GPU replays: every buffer at one address, the whole sample in one graph."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pizero_ros.policy.graph_signature import cache_names
from pizero_ros.policy.providers import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pizero_ros.policy.manifest import Manifest
    from pizero_ros.processing.model_inputs import ModelInputs

_KEPT_SHAPES = 4
"""Pairs of camera count and prompt length that stay captured; older ones are dropped."""
_GRAPH_ID = 'gpu_graph_id'
"""ONNX Runtime's key: one captured CUDA graph for each."""
_NUMPY = {'tensor(float)': np.float32, 'tensor(float16)': np.float16}
_BFLOAT16 = 16
"""``onnx.TensorProto.BFLOAT16``; NumPy has no such type."""


class _Buffer:
    """An input at a fixed address of the device, with an array on the host to fill it from."""

    def __init__(self, array: npt.NDArray[Any], device: str) -> None:
        self.array = array
        self.value = onnxruntime().OrtValue.ortvalue_from_numpy(array, device)
        self._shared = device == 'cpu'

    def write(self, array: npt.NDArray[Any] | np.generic | float) -> None:
        """Fill it."""
        self.array[...] = array
        self.push()

    def push(self) -> None:
        """Bring what is in ``array`` to the device."""
        if not self._shared:
            self.value.update_inplace(self.array)


@dataclass(frozen=True)
class _Bound:
    """All that belongs to one camera count and prompt length."""

    inputs: Mapping[str, _Buffer]
    cache: tuple[Any, ...]
    runs: dict[str, tuple[Any, Any]]
    """Part → its binding and run options, once it has run."""


class FusedGraphs:
    """Runs observe once, then the unrolled sample, or single steps where something hooks in.

    What it reads and writes stays where it is from the first run of a camera count and prompt
    length on, so that ONNX Runtime can capture a CUDA graph for each. The step's graph is loaded
    when the first single step is asked for: it would hold the expert's weights a second time.

    Not thread-safe: one thread at a time.
    """

    differentiated = False
    observe_parts_s: Mapping[str, float] = {}

    def __init__(
        self,
        observe: Any,
        sample: Any,
        denoise: Callable[[], Any],
        manifest: Manifest,
        steps: int,
    ) -> None:
        """Allocate the buffers whose sizes do not vary.

        Args:
            observe: Session that writes the cache.
            sample: Session that makes a whole sample.
            denoise: Opens the session of one step.
            manifest: What the graphs look like (``graph_signature.verify``).
            steps: Steps of ``sample``.
        """
        self._sessions = {'observe': observe, 'sample': sample}
        self._open_denoise = denoise
        self._manifest = manifest
        self.unrolled_steps = steps
        on_cpu = observe.get_providers()[0] == 'CPUExecutionProvider'
        self.device = 'cpu' if on_cpu else 'cuda'
        model = manifest.model
        chunk = (1, model.horizon, model.action_dim)
        self._x_t = _Buffer(np.zeros(chunk, np.float32), self.device)
        self._t = _Buffer(np.zeros((1, model.horizon), np.float32), self.device)
        self._noise = _Buffer(np.zeros(chunk, np.float32), self.device)
        self._results = {
            name: _Buffer(np.zeros(chunk, np.float32), self.device)
            for name in ('velocity', 'actions')
        }
        self.x_t, self.t = self._x_t.array, self._t.array
        self._names = cache_names(manifest.cache.layers)
        self._per_view = manifest.tokens_per_view
        self._ids = itertools.count(1)
        self._bounds: OrderedDict[tuple[int, int], _Bound] = OrderedDict()
        self._current: _Bound | None = None

    @property
    def cache(self) -> tuple[Any, ...]:
        """The cache's ``OrtValue`` objects of the latest ``observe``, keys first."""
        return () if self._current is None else self._current.cache

    def observe(self, inputs: ModelInputs) -> None:
        """Run the observe graph, so that the cache belongs to ``inputs``."""
        shape = (len(inputs.images), len(inputs.tokens))
        if shape not in self._bounds:
            self._bounds[shape] = self._bind(shape)
            if len(self._bounds) > _KEPT_SHAPES:
                self._bounds.popitem(last=False)
        self._bounds.move_to_end(shape)
        bound = self._current = self._bounds[shape]
        bound.inputs['images'].write(inputs.images)
        bound.inputs['tokens'].write(inputs.tokens)
        bound.inputs['state'].write(inputs.state)
        self._run('observe', bound)

    def sample(self, noise: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Make a whole sample in one graph.

        Args:
            noise: float32 [H, A].

        Returns:
            float32 [1, H, A]: the one buffer, overwritten by the next sample.
        """
        self._noise.write(noise)
        self._run('sample', self._observed())
        return self._result('actions')

    def denoise(self) -> npt.NDArray[np.float32]:
        """Run one denoise step on ``x_t`` and ``t``.

        Returns:
            The velocity, float32 [1, H, A]: the one buffer, overwritten by the next step.
        """
        self._x_t.push()
        self._t.push()
        self._run('denoise', self._observed())
        return self._result('velocity')

    def pull_back(self, error: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """There is no graph of the Jacobian in this variant."""
        msg = 'no graph of the Jacobian'
        raise ValueError(msg)

    def _observed(self) -> _Bound:
        if self._current is None:
            msg = 'denoise before observe: there is no cache'
            raise ValueError(msg)
        return self._current

    def _result(self, name: str) -> npt.NDArray[np.float32]:
        buffer = self._results[name]
        if self.device != 'cpu':
            buffer.array[...] = buffer.value.numpy()
        result: npt.NDArray[np.float32] = buffer.array
        return result

    def _run(self, part: str, bound: _Bound) -> None:
        if part not in bound.runs:
            bound.runs[part] = self._bind_part(part, bound)
        self._sessions[part].run_with_iobinding(*bound.runs[part])

    def _bind(self, shape: tuple[int, int]) -> _Bound:
        """Allocate what varies with camera count and prompt length."""
        cameras, words = shape
        model, sizes = self._manifest.model, self._manifest.cache
        prefix = cameras * self._per_view + words
        full = prefix + 1 + model.horizon
        room = (1, sizes.kv_heads, full, sizes.head_dim)
        arrays: dict[str, npt.NDArray[Any]] = {
            'images': np.zeros((cameras, 3, *model.image_size), np.float32),
            'tokens': np.zeros((1, words), np.int64),
            'state': np.zeros((1, model.state_dim), np.float32),
            'room': np.zeros(room, np.float32),
        }
        inputs = {name: _Buffer(array, self.device) for name, array in arrays.items()}
        for of, total in (('prefix', prefix), ('state', prefix + 1), ('actions', full)):
            inputs[f'{of}_last'] = _Buffer(np.array([total - 1], np.int32), self.device)
            # ONNX Runtime reads this one on the host.
            inputs[f'{of}_total'] = _Buffer(np.array(total, np.int32), 'cpu')
        # Attention in prepared room fills it in place of growing.
        observe = self._sessions['observe']
        prepared = any(each.name == 'room' for each in observe.get_inputs())
        cached = (*room[:2], full if prepared else prefix + 1, room[3])
        written = observe.get_outputs()[0].type
        cache = tuple(
            onnxruntime().OrtValue.ortvalue_from_shape_and_type(
                cached, _NUMPY.get(written, _BFLOAT16), self.device
            )
            for _ in self._names
        )
        inputs |= {'x_t': self._x_t, 't': self._t, 'noise': self._noise}
        return _Bound(inputs, cache, {})

    def _bind_part(self, part: str, bound: _Bound) -> tuple[Any, Any]:
        """Bind a graph to its buffers, and give it a number under which it is captured."""
        if part not in self._sessions:
            self._sessions[part] = self._open_denoise()
        session = self._sessions[part]
        binding = session.io_binding()
        named = dict(zip(self._names, bound.cache, strict=True))
        for tensor in session.get_inputs():
            value = named.get(tensor.name)
            if value is None:
                value = bound.inputs[tensor.name].value
            binding.bind_ortvalue_input(tensor.name, value)
        for tensor in session.get_outputs():
            value = named.get(tensor.name)
            if value is None:
                value = self._results[tensor.name].value
            binding.bind_ortvalue_output(tensor.name, value)
        options = onnxruntime().RunOptions()
        if session.get_providers()[0] == 'CUDAExecutionProvider':
            options.add_run_config_entry(_GRAPH_ID, str(next(self._ids)))
        return binding, options
