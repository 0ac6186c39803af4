"""The same work in eager torch, to compare with; weights of any value take the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pizero_ros.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from pizero_ros.bench.inputs import Array, Size
    from pizero_ros.model.architecture import Architecture
    from pizero_ros.processing.model_inputs import ModelInputs


def eager_sample(sizes: Architecture, inputs: ModelInputs, noise: Array) -> Callable[[Size], None]:
    """Prepare the work of one inference in eager torch.

    Args:
        sizes: The architecture.
        inputs: What the policy sees.
        noise: float32 [H, A], where the chunk starts.

    Returns:
        Does the work with as many steps as it is told; has run once.

    Raises:
        EnvironmentFault: There is no PyTorch.
    """
    try:
        import torch
    except ImportError:
        raise EnvironmentFault.at(
            '--baseline torch', '', found='no PyTorch', expected='the extra `train`'
        ) from None
    from pizero_ros.model.pi0 import Conditioning, Pi0

    model = Pi0.random(sizes, 0)
    seen = Conditioning(
        torch.from_numpy(inputs.images)[None],
        torch.from_numpy(inputs.tokens)[None],
        torch.from_numpy(inputs.state)[None],
    )
    start = torch.from_numpy(noise)[None]

    def sample(size: Size) -> None:
        with torch.inference_mode():
            model.sample(seen, start, size.steps)

    with torch.inference_mode():
        model.sample(seen, start, 1)
    return sample
