"""Several processes as one: who this is, sums over all, and weights that are sharded or whole."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from pizero_ros.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Iterator

Module = TypeVar('Module', bound=nn.Module)


@dataclass(frozen=True)
class Team:
    """The processes of one run.

    Attributes:
        rank: This process, from 0; the first one writes.
        world: How many there are.
        device: Where this one computes.
    """

    rank: int
    world: int
    device: torch.device

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Add up a tensor over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """Collect a value of every process, in the order of ranks."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def shard(self, module: Module) -> Module:
        """Spread a module over the processes, with PyTorch's FSDP; alone, leave it whole.

        Weights, gradients, averages and optimizer are sharded. A step gathers the weights once
        and lets go of them after the backward pass: the two Gemma stacks share attention layer by
        layer, so there is no layer whose forward pass could be gathered on its own.

        Args:
            module: What an optimizer step calls.

        Returns:
            The same module.
        """
        if self.world > 1:
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            fully_shard(module, mesh=init_device_mesh(self.device.type, (self.world,)))
        return module

    def forget_gathered(self, module: nn.Module) -> None:
        """Let go of weights that were gathered for a forward pass without a backward pass.

        FSDP keeps them for the backward pass; a later step would take them for the weights of
        then.
        """
        if self.world > 1:
            from torch.distributed.fsdp import FSDPModule

            if isinstance(module, FSDPModule):
                module.reshard()


@contextlib.contextmanager
def team(device: str) -> Iterator[Team]:
    """Join the processes that ``torchrun`` started, or be alone.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Yields:
        The team, until the end of the run.

    Raises:
        EnvironmentFault: The device is not there.
    """
    world = int(os.environ.get('WORLD_SIZE', '1'))
    place = _device(device, int(os.environ.get('LOCAL_RANK', '0')), world)
    if place.type == 'cuda':
        torch.cuda.set_device(place)
    if world == 1:
        yield Team(0, 1, place)
        return
    dist.init_process_group('nccl' if place.type == 'cuda' else 'gloo')
    try:
        yield Team(dist.get_rank(), dist.get_world_size(), place)
    finally:
        dist.destroy_process_group()


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return this process's part of a weight; it shares the weight's memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy of all of a weight on the CPU; every process has to ask."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().to('cpu', copy=True).contiguous()


def part_of(full: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return a tensor of all values as one that is sharded and placed as ``like`` is."""
    placed = full.to(like.device, like.dtype)
    if isinstance(like, DTensor):
        return distribute_tensor(placed, like.device_mesh, like.placements)
    return placed.clone()


def _device(name: str, number: int, world: int) -> torch.device:
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'cuda' and world > 1:
        name = f'cuda:{number}'
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device('meta')
    if device.type not in ('cpu', 'cuda'):
        raise EnvironmentFault.at('--device', '', found=name, expected='cpu, cuda or auto')
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        found = f'{torch.cuda.device_count()} CUDA devices in this PyTorch'
        raise EnvironmentFault.at('--device', '', found=found, expected=name)
    return torch.device('cuda', device.index or 0) if device.type == 'cuda' else device
