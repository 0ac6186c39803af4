"""A variant's graphs in ONNX Runtime on the CPU, without the runtime that the robot uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from pizero_ros.export.graphs import DENOISE, JACOBIAN, OBSERVE, cache_names
from pizero_ros.export.streaming_sessions import GraphRun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pizero_ros.model.architecture import Architecture
    from pizero_ros.model.pi0 import Conditioning

    Arrays = dict[str, npt.NDArray[Any]]


class ProvenGraphs(Protocol):
    """What a proof asks of the graphs of one variant."""

    @property
    def differentiated(self) -> bool:
        """Whether ``pull_back`` can be called."""
        ...

    def observe(self, seen: Conditioning) -> Arrays:
        """Compute the cache of cameras and tokens that are all valid."""
        ...

    def denoise(self, cache: Arrays, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Compute the velocity."""
        ...

    def sample(self, cache: Arrays, noise: torch.Tensor) -> torch.Tensor | None:
        """Compute the actions in one graph, None where the loop is outside."""
        ...

    def pull_back(
        self, cache: Arrays, x_t: torch.Tensor, t: torch.Tensor, error: torch.Tensor
    ) -> torch.Tensor:
        """Compute the correction; ``differentiated`` only."""
        ...


class ReferenceGraphs:
    """``observe`` or ``vision`` and ``prefix``, ``denoise``, and ``jacobian`` where it is."""

    def __init__(self, folder: Path, layers: int, files: Mapping[str, str] | None = None) -> None:
        """Open the graphs.

        Args:
            folder: Where they are.
            layers: Layers of the cache.
            files: Part → file; None for the reference.
        """
        named = {'observe': OBSERVE, 'denoise': DENOISE} if files is None else dict(files)
        self._parts = {part: GraphRun(folder / file) for part, file in named.items()}
        jacobian = folder / JACOBIAN
        if files is None and jacobian.is_file():
            self._parts['jacobian'] = GraphRun(jacobian)
        self._names = cache_names(layers)

    def observe(self, seen: Conditioning) -> Arrays:
        """Compute the cache of cameras and tokens that are all valid."""
        images = {'images': seen.images[0].numpy()}
        rest = {'tokens': seen.tokens.numpy(), 'state': seen.state.numpy()}
        if 'observe' in self._parts:
            return self._parts['observe'].run(self._names, images | rest)
        # One view at a time, as it may come on a robot, in an order of its own.
        one_by_one = [
            self._parts['vision'].run(['views'], {'images': image[None]})['views']
            for image in images['images']
        ]
        views = {'views': np.concatenate(one_by_one)}
        return self._parts['prefix'].run(self._names, views | rest)

    def denoise(self, cache: Arrays, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Compute the velocity."""
        feed = {**cache, 'x_t': x_t.numpy(), 't': t.numpy()}
        return torch.from_numpy(self._parts['denoise'].run(['velocity'], feed)['velocity'])

    def sample(self, cache: Arrays, noise: torch.Tensor) -> torch.Tensor | None:
        """There is no such graph."""
        return None

    @property
    def differentiated(self) -> bool:
        """Whether the third graph is there."""
        return 'jacobian' in self._parts

    def pull_back(
        self, cache: Arrays, x_t: torch.Tensor, t: torch.Tensor, error: torch.Tensor
    ) -> torch.Tensor:
        """Compute the correction; ``differentiated`` only."""
        feed = {**cache, 'x_t': x_t.numpy(), 't': t.numpy(), 'error': error.numpy()}
        return torch.from_numpy(self._parts['jacobian'].run(['correction'], feed)['correction'])


def fused_inputs(seen: Conditioning, sizes: Architecture) -> Arrays:
    """Return all that fused graphs read but the cache and what is denoised.

    Args:
        seen: Cameras and tokens that are all valid; batch 1.
        sizes: The policy's.
    """
    prefix = seen.images.shape[1] * sizes.vision.tokens + seen.tokens.shape[1]
    room = (1, sizes.vlm.kv_heads, prefix + 1 + sizes.horizon, sizes.vlm.head_dim)
    return {
        'images': seen.images[0].numpy(),
        'tokens': seen.tokens.numpy(),
        'state': seen.state.numpy(),
        **_span('prefix', prefix),
        **_span('state', prefix + 1),
        **_span('actions', room[2]),
        'room': np.zeros(room, np.float32),
    }


class FusedGraphs:
    """Graphs that are told where their tokens are, and the unrolled sample."""

    differentiated = False

    def __init__(self, folder: Path, sizes: Architecture, files: Mapping[str, str]) -> None:
        """Open the graphs.

        Args:
            folder: Where they are.
            sizes: The policy's.
            files: Part → file.
        """
        self._parts = {part: GraphRun(folder / file) for part, file in files.items()}
        self._names = cache_names(sizes.vlm.depth)
        self._sizes = sizes

    def observe(self, seen: Conditioning) -> Arrays:
        """Compute the cache of cameras and tokens that are all valid."""
        feed = fused_inputs(seen, self._sizes)
        self._actions = {name: value for name, value in feed.items() if name.startswith('actions')}
        return self._run('observe', self._names, feed)

    def denoise(self, cache: Arrays, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Compute the velocity."""
        feed = {**cache, 'x_t': x_t.numpy(), 't': t.numpy(), **self._actions}
        return torch.from_numpy(self._run('denoise', ['velocity'], feed)['velocity'])

    def sample(self, cache: Arrays, noise: torch.Tensor) -> torch.Tensor:
        """Compute the actions in one graph."""
        feed = {**cache, 'noise': noise.numpy(), **self._actions}
        return torch.from_numpy(self._run('sample', ['actions'], feed)['actions'])

    def pull_back(
        self, cache: Arrays, x_t: torch.Tensor, t: torch.Tensor, error: torch.Tensor
    ) -> torch.Tensor:
        """There is no such graph."""
        raise NotImplementedError

    def _run(self, part: str, outputs: Sequence[str], feed: Arrays) -> Arrays:
        """Run a graph with those of the arrays that it reads."""
        graph = self._parts[part]
        return graph.run(outputs, {name: feed[name] for name in graph.inputs})


def _span(of: str, total: int) -> Arrays:
    return {
        f'{of}_last': np.array([total - 1], np.int32),
        f'{of}_total': np.array(total, np.int32),
    }
