"""A policy's weights as the exporter takes them: one tensor at a time, wherever they come from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pizero_ros.errors import ExportError
from pizero_ros.model.pi0 import Pi0

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.model.architecture import Architecture

Source = Callable[[str], torch.Tensor]
"""``Pi0``'s parameter name → that tensor, in any float type."""

MEMORY_LIMIT = 1_500_000_000
"""Bytes of float32 weights up to which a policy is handled in memory: its weights lie inside the
graphs' files, and the proof holds the whole policy. Protocol buffers end at 2 GiB."""


@dataclass(frozen=True)
class StreamedWeights:
    """The weights of one policy, none of them in memory until it is asked for.

    Attributes:
        architecture: The sizes.
        source: Gives one tensor, as often as it is asked for it; the tensor must not keep others
            in memory.
        identity: Gives a digest of all tensors, by which a later process knows them again; None
            where there is none.
    """

    architecture: Architecture
    source: Source
    identity: Callable[[], str] | None = None

    @classmethod
    def of(cls, policy: Pi0 | StreamedWeights) -> StreamedWeights:
        """See a policy in memory as a source."""
        if isinstance(policy, StreamedWeights):
            return policy
        return cls(policy.architecture, policy.state_dict().__getitem__)

    @functools.cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every tensor by its name."""
        with torch.device('meta'):
            model = Pi0(self.architecture)
        return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors in float32."""
        return 4 * sum(torch.Size(shape).numel() for shape in self.shapes.values())

    @property
    def fits_memory(self) -> bool:
        """Whether the policy is small enough to be held as a whole."""
        return self.nbytes <= MEMORY_LIMIT

    def load(self, name: str) -> torch.Tensor:
        """Read one tensor.

        Args:
            name: ``Pi0``'s parameter name.

        Returns:
            float32, contiguous, on the CPU.

        Raises:
            ExportError: Its shape is not the architecture's.
        """
        tensor = self.source(name)
        if tuple(tensor.shape) != self.shapes[name]:
            raise ExportError.at(
                'weights',
                name,
                found=f'shape {list(tensor.shape)}',
                expected=f'{list(self.shapes[name])}, by the architecture',
            )
        return tensor.detach().to('cpu', torch.float32).contiguous()
