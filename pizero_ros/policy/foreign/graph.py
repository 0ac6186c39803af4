"""A chunk policy's graph on ONNX Runtime: it fits its manifest, and it repeats itself."""

from __future__ import annotations

import logging
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import BundleError, EnvironmentFault
from pizero_ros.policy.foreign.signature import TensorSpec, verify_signature
from pizero_ros.policy.providers import ProviderName, open_session, resolve_provider

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pizero_ros.policy.foreign.bundle import ForeignBundle

_SAME = 1e-3
"""Relative and absolute; GPUs may sum in another order, random numbers differ by far more."""

_log = logging.getLogger(__name__)


class ForeignGraph:
    """The session of one chunk policy. Not thread-safe: one thread at a time."""

    def __init__(
        self, bundle: ForeignBundle, provider: ProviderName | str, threads: int | None
    ) -> None:
        """Open the session, compare it with the manifest, and see that it repeats itself.

        Args:
            bundle: The checked folder.
            provider: As ``Policy.load`` takes it.
            threads: Threads inside an operator; None for one per core.

        Raises:
            EnvironmentFault: ONNX Runtime or the provider asked for is not there.
            BundleError: The graph cannot be loaded, differs from the manifest, or draws random
                numbers of its own.
        """
        manifest = bundle.manifest
        self._where = bundle.path / manifest.graph
        self._session, self.provider = _open(self._where, provider, threads)
        self._inputs = verify_signature(self._where, self._session, manifest)
        self._output = manifest.output.name
        self._rows = manifest.horizon, manifest.output.vector.width
        self._require_repeatable()

    def __call__(self, arrays: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Run the graph once.

        Args:
            arrays: Input name → float32, of the shape in the manifest; images that the graph
                takes as bytes in 0..255.

        Returns:
            Its chunk, float32 [horizon, width].

        Raises:
            BundleError: ONNX Runtime fails, or returns another shape.
        """
        feed = {name: _cast(arrays[name], spec) for name, spec in self._inputs.items()}
        try:
            (result,) = self._session.run([self._output], feed)
        except Exception as error:  # ONNX Runtime raises C++ exceptions without a base.
            msg = f'{self._where}: ONNX Runtime cannot run this graph: {error}'
            raise BundleError(msg) from None
        if result.shape[-2:] != self._rows or prod(result.shape) != prod(self._rows):
            raise BundleError.at(
                self._where,
                f'output {self._output}',
                found=str(list(result.shape)),
                expected=str([1, *self._rows]),
                remedy='Correct horizon or output.indices in policy.yaml.',
            )
        return np.asarray(result, np.float32).reshape(self._rows)

    def blank(self, seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
        """Return made-up inputs of the right shapes, the same ones for the same seed."""
        generator = np.random.default_rng(seed)
        return {
            name: generator.random(spec.shape, np.float32) for name, spec in self._inputs.items()
        }

    def ignored(self) -> tuple[str, ...]:
        """Return the inputs without effect on the chunk, found by exchanging one at a time.

        Such a graph loads and runs: ``torch.export`` makes one of two inputs whose example was the
        same tensor object, and the policy sees one camera twice and the other never.
        """
        blank, other = self.blank(), self.blank(1)
        chunk = self(blank)
        return tuple(
            name
            for name in blank
            if np.array_equal(self({**blank, name: other[name]}), chunk, equal_nan=True)
        )

    def _require_repeatable(self) -> None:
        """Run twice on the same inputs."""
        blank = self.blank()
        first, second = self(blank), self(blank)
        if not np.allclose(first, second, _SAME, _SAME, equal_nan=True):
            raise BundleError.at(
                self._where,
                f'output {self._output}',
                found='another chunk at each run of the same inputs',
                expected='the same one',
                remedy='The graph draws random numbers: export it in evaluation mode, with the '
                'noise as an input, and name that under `noise` in policy.yaml.',
            )


def _open(path: Path, provider: str, threads: int | None) -> tuple[Any, str]:
    """Open the session on the provider asked for, or where ``auto`` finds one that works."""
    chosen = resolve_provider(provider)
    try:
        return open_session(path, chosen, threads), chosen
    except EnvironmentFault as error:
        if provider != 'auto' or chosen == 'cpu':
            raise
        _log.warning('%s Using the CPU instead, because the provider is "auto".', error)
        return open_session(path, 'cpu', threads), 'cpu'


def _cast(array: npt.NDArray[np.float32], wanted: TensorSpec) -> npt.NDArray[Any]:
    if wanted.dtype == np.uint8:
        array = np.rint(array).clip(0, 255)
    return np.ascontiguousarray(array, wanted.dtype).reshape(wanted.shape)
