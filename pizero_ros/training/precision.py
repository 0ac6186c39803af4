"""Precision of the forward and backward pass: float32, or bfloat16 where it does no harm."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pizero_ros.model.pi0 import Pi0
    from pizero_ros.training.config import Precision

_HEADS = (
    'state_proj',
    'action_in_proj',
    'action_time_mlp_in',
    'action_time_mlp_out',
    'action_out_proj',
)
"""What openpi's PyTorch code keeps in float32 (pi0.md section 1.10): noise, time and velocity."""


def keep_heads_in_float32(policy: Pi0, device: torch.device) -> None:
    """Take the projections around noisy actions out of autocast."""
    without = torch.autocast(device.type, enabled=False)
    for name in _HEADS:
        layer = policy.get_submodule(name)
        layer.forward = without(layer.forward)


@contextlib.contextmanager
def computing(precision: Precision, device: torch.device) -> Iterator[None]:
    """Run what is inside at this precision; weights stay float32.

    Args:
        precision: ``float32`` or ``bfloat16``.
        device: Where it runs.
    """
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == 'bfloat16'):
        yield


@contextlib.contextmanager
def repeatable(device: torch.device, threads: int) -> Iterator[None]:
    """Let torch use algorithms that give the same bits each time, as far as it has them.

    Args:
        device: Where training runs. Some CUDA kernels have no such variant; they warn.
        threads: CPU threads, on which the order of sums depends; 0 leaves torch's choice.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    count = torch.get_num_threads()
    torch.use_deterministic_algorithms(True, warn_only=device.type != 'cpu')
    # A search for reads of memory that nobody wrote; it costs time and changes no result.
    search: Any = torch.utils.deterministic
    searched = search.fill_uninitialized_memory
    search.fill_uninitialized_memory = False
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        search.fill_uninitialized_memory = searched
        torch.set_num_threads(count)
