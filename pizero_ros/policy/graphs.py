"""Observe and denoise on ONNX Runtime, joined by buffers that never leave the device."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pizero_ros.policy.graph_signature import cache_names
from pizero_ros.policy.providers import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.policy.manifest import Manifest
    from pizero_ros.processing.model_inputs import ModelInputs

_KEPT_SHAPES = 4
"""Pairs of camera count and prompt length whose buffers are kept; older ones are dropped."""


@dataclass(frozen=True)
class _Binding:
    """The graphs bound for one camera count and prompt length."""

    observe: Any
    denoise: Any
    jacobian: Any | None
    cache: tuple[Any, ...]


class Graphs:
    """Runs observe once and denoise often.

    The key/value cache that observe writes is the very memory that denoise reads: the same
    ``OrtValue`` objects are bound as outputs of one session and inputs of the other. They are
    kept for as long as camera count and prompt length stay what they were, so a steady robot
    allocates nothing. ``x_t``, ``t`` and the velocity have one buffer each, for good.

    Not thread-safe: one thread at a time.
    """

    unrolled_steps: int | None = None
    """Steps of the graph that makes a whole sample; None without one."""

    def __init__(
        self, observe: Any, denoise: Any, manifest: Manifest, jacobian: Any | None = None
    ) -> None:
        """Allocate the fixed buffers.

        Args:
            observe: Session that writes the cache.
            denoise: Session of one step.
            manifest: What the graphs look like (``graph_signature.verify``).
            jacobian: Session of ``jacobian.onnx``, None without it.
        """
        self._cache_names = cache_names(manifest.cache.layers)
        self._observe = observe
        self._denoise = denoise
        self._jacobian = jacobian
        model = manifest.model
        on_cpu = observe.get_providers()[0] == 'CPUExecutionProvider'
        self.device = 'cpu' if on_cpu else 'cuda'
        self.x_t: npt.NDArray[np.float32] = np.zeros(
            (1, model.horizon, model.action_dim), np.float32
        )
        self.t: npt.NDArray[np.float32] = np.zeros((1, model.horizon), np.float32)
        self.velocity: npt.NDArray[np.float32] = np.zeros_like(self.x_t)
        # On the CPU these share the arrays' memory; on a GPU they are copies, refreshed per step.
        self._x_t = self._on_device(self.x_t)
        self._t = self._on_device(self.t)
        self._velocity = onnxruntime().OrtValue.ortvalue_from_numpy(self.velocity)
        if jacobian is not None:
            self._error_array = np.zeros_like(self.x_t)
            self._correction_array = np.zeros_like(self.x_t)
            self._error = self._on_device(self._error_array)
            self._correction = onnxruntime().OrtValue.ortvalue_from_numpy(self._correction_array)
        self._bindings: OrderedDict[tuple[int, int], _Binding] = OrderedDict()
        self._current: _Binding | None = None

    @property
    def cache(self) -> tuple[Any, ...]:
        """The cache's ``OrtValue`` objects of the latest ``observe``, keys first."""
        return () if self._current is None else self._current.cache

    def observe(self, inputs: ModelInputs) -> None:
        """Run the observe graph, so that the cache belongs to ``inputs``."""
        arrays: dict[str, npt.NDArray[Any]] = {
            'images': inputs.images,
            'tokens': inputs.tokens[None],
            'state': inputs.state[None],
        }
        self._run_observe((len(inputs.images), len(inputs.tokens)), arrays)

    def sample(self, noise: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Make a whole sample in one graph; only where there are ``unrolled_steps``."""
        msg = 'no graph of a whole sample'
        raise ValueError(msg)

    @property
    def observe_parts_s(self) -> Mapping[str, float]:
        """Seconds of the parts of the latest ``observe``, empty where it is one graph."""
        return {}

    def _run_observe(self, shape: tuple[int, int], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Run the graph that writes the cache, for a camera count and prompt length."""
        known = self._bindings.get(shape)
        binding = self._observe.io_binding() if known is None else known.observe
        for name, array in arrays.items():
            binding.bind_ortvalue_input(name, self._on_device(np.ascontiguousarray(array)))
        if known is None:
            for name in self._cache_names:
                binding.bind_output(name, self.device)
        self._observe.run_with_iobinding(binding)
        if known is None:
            known = self._join(binding)
            self._bindings[shape] = known
            if len(self._bindings) > _KEPT_SHAPES:
                self._bindings.popitem(last=False)
        else:
            self._bindings.move_to_end(shape)
        self._current = known

    def denoise(self) -> npt.NDArray[np.float32]:
        """Run one denoise step on ``x_t`` and ``t``.

        Returns:
            The velocity, float32 [1, H, A]: the one buffer, overwritten by the next step.
        """
        if self._current is None:
            msg = 'denoise before observe: there is no cache'
            raise ValueError(msg)
        if self.device != 'cpu':
            self._x_t.update_inplace(self.x_t)
            self._t.update_inplace(self.t)
        self._denoise.run_with_iobinding(self._current.denoise)
        return self.velocity

    @property
    def differentiated(self) -> bool:
        """Whether ``pull_back`` can be called."""
        return self._jacobian is not None

    def pull_back(self, error: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Multiply an error of ``x_t - t·velocity`` by its transposed Jacobian.

        Args:
            error: float32 [H, A], at the ``x_t`` and ``t`` of the latest ``denoise``.

        Returns:
            The correction, float32 [H, A]: the one buffer, overwritten by the next call.
        """
        if self._jacobian is None or self._current is None:
            msg = 'pull_back before observe, or without the graph of the Jacobian'
            raise ValueError(msg)
        self._error_array[0] = error
        if self.device != 'cpu':
            self._error.update_inplace(self._error_array)
        self._jacobian.run_with_iobinding(self._current.jacobian)
        correction: npt.NDArray[np.float32] = self._correction_array[0]
        return correction

    def _join(self, observe: Any) -> _Binding:
        """Bind the cache that observe has just allocated to all sides."""
        cache = tuple(observe.get_outputs())
        for name, value in zip(self._cache_names, cache, strict=True):
            observe.bind_ortvalue_output(name, value)
        denoise = self._reader(self._denoise, cache)
        denoise.bind_ortvalue_output('velocity', self._velocity)
        jacobian = None
        if self._jacobian is not None:
            jacobian = self._reader(self._jacobian, cache)
            jacobian.bind_ortvalue_input('error', self._error)
            jacobian.bind_ortvalue_output('correction', self._correction)
        return _Binding(observe, denoise, jacobian, cache)

    def _reader(self, session: Any, cache: tuple[Any, ...]) -> Any:
        """Bind what a graph reads at every step."""
        binding = session.io_binding()
        for name, value in zip(self._cache_names, cache, strict=True):
            binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_input('x_t', self._x_t)
        binding.bind_ortvalue_input('t', self._t)
        return binding

    def _on_device(self, array: npt.NDArray[Any]) -> Any:
        """Wrap an array for the sessions' device: shared memory on the CPU, else a copy."""
        return onnxruntime().OrtValue.ortvalue_from_numpy(array, self.device)
