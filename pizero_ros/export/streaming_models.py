"""The torch policy with none, one or all of its weights in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from pizero_ros.model.pi0 import Pi0

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch._subclasses.fake_tensor import FakeTensorMode

    from pizero_ros.export.streaming import StreamedWeights
    from pizero_ros.model.architecture import Architecture


def without_weights(architecture: Architecture, mode: FakeTensorMode) -> Pi0:
    """Build a policy of fake tensors, which can be traced with inputs of the same mode."""

    def fake(_: str, parameter: torch.Tensor) -> torch.Tensor:
        # On the CPU and not on `meta`: constants that are made beside a parameter have values.
        with mode:
            return torch.empty(parameter.shape, dtype=parameter.dtype, device='cpu')

    return _filled(architecture, fake)


def with_weights(weights: StreamedWeights) -> Pi0:
    """Build the policy as a whole, float32 on the CPU."""
    return _filled(weights.architecture, lambda name, _: weights.load(name))


def layer_by_layer(weights: StreamedWeights) -> Pi0:
    """Build a policy that holds the weights of one operator at a time, float32 on the CPU.

    A matrix, norm or table is read when it is used and let go at once, so a pass over the policy
    reads all of its weights once and needs memory for the largest tensor.
    """
    with torch.device('meta'):
        model = Pi0(weights.architecture)
    vision = model.paligemma_with_expert.paligemma.model.vision_tower.vision_model
    # These two are used by their parent, which adds the table of places itself.
    places = vision.embeddings
    inside = set(places.children())
    for path, module in model.named_modules():
        if module in inside:
            continue
        names = [name for name, _ in module.named_parameters(recurse=module is places)]
        if names:
            _load_on_use(module, path, names, weights)
    return model.eval()


def _filled(architecture: Architecture, value: Callable[[str, torch.Tensor], torch.Tensor]) -> Pi0:
    with torch.device('meta'):
        model = Pi0(architecture)
    for path, module in model.named_modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            filled = nn.Parameter(value(f'{path}.{name}', parameter), requires_grad=False)
            setattr(module, name, filled)
    return model.eval()


def _load_on_use(module: nn.Module, path: str, names: list[str], weights: StreamedWeights) -> None:
    """Give ``module`` its weights only while it runs."""
    places = []
    for name in names:
        owner, _, attribute = name.rpartition('.')
        holder = module.get_submodule(owner)
        places.append((holder, attribute, f'{path}.{name}', getattr(holder, attribute)))

    def arrive(*_: object) -> None:
        for holder, attribute, full, _absent in places:
            setattr(holder, attribute, nn.Parameter(weights.load(full), requires_grad=False))

    def leave(*_: object) -> None:
        for holder, attribute, _full, absent in places:
            setattr(holder, attribute, absent)

    module.register_forward_pre_hook(arrive)
    module.register_forward_hook(leave, always_call=True)
