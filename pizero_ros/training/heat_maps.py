"""Telling keypoints what each of them is of: the first ones, one object each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from types import TracebackType

    from pizero_ros.model.keypoints import KeypointEmbeddings

_ABSENT = 0.3
"""Weight of a map of an object that is not seen, beside 1 of one that is: it is to be flat, so
that the keypoint says how sure it is of its place."""


class Objects(NamedTuple):
    """Where the objects are of which a run tells, in B samples with N cameras.

    Attributes:
        places: float32 [B, N, O, 2], u and v of the centres as shares of the picture, 0 to 1.
        visible: bool [B, N, O], whether the camera sees it.
        told: bool [B, N, O], False at cameras and objects that a sample does not have.
    """

    places: torch.Tensor
    visible: torch.Tensor
    told: torch.Tensor

    def to(self, device: torch.device) -> Objects:
        """Return the same on ``device``."""
        return Objects(*(each.to(device) for each in self))


class HeatMaps:
    """Keeps the maps that a stem makes in a ``with``; the policy only takes their centres."""

    def __init__(self, stem: KeypointEmbeddings) -> None:
        self._stem = stem
        self._made: torch.Tensor | None = None

    def __enter__(self) -> HeatMaps:
        self._hook = self._stem.heat.register_forward_hook(self._keep)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hook.remove()

    def of(self, objects: Objects) -> torch.Tensor:
        """Return the logarithms of the maps of the objects, float32 [B, N, O, side, side]."""
        if self._made is None:
            msg = 'the stem has seen no picture'
            raise RuntimeError(msg)
        samples, cameras, count = objects.told.shape
        heat = self._made[:, :count].float()
        shares = heat.flatten(2).log_softmax(-1).view_as(heat)
        return shares.view(samples, cameras, *shares.shape[1:])

    def _keep(self, _module: object, _given: object, heat: torch.Tensor) -> None:
        self._made = heat


def heat_loss(maps: torch.Tensor, objects: Objects) -> torch.Tensor:
    """Compute the cross-entropy of maps with those that are to be.

    A map is to have its mass in the four cells around the object's centre, shared out so that
    their mean is the centre; or everywhere alike where the camera does not see the object.

    Args:
        maps: float32 [B, N, O, side, side], logarithms of shares, rows first.
        objects: Where they are.

    Returns:
        float32 [B], mean over what a sample is told; 0 where that is nothing.
    """
    place = _cells(objects, maps.shape[-1])
    cells = torch.arange(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    near = (1.0 - (cells - place[..., None]).abs()).clamp(min=0.0)
    # No matrix product: autocast would round the shares to bfloat16.
    seen = -(maps * near[..., 1, :, None] * near[..., 0, None, :]).sum(dim=(-2, -1))
    flat = -maps.mean(dim=(-2, -1))
    weight = torch.where(objects.visible, 1.0, _ABSENT) * objects.told
    losses = torch.where(objects.visible, seen, flat) * weight
    return losses.sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=_ABSENT)


def heat_hits(maps: torch.Tensor, objects: Objects) -> tuple[torch.Tensor, torch.Tensor]:
    """Count the visible objects, and those whose map is highest within a cell of the centre.

    Args:
        maps: As in ``heat_loss``.
        objects: Where they are.

    Returns:
        Two counts of one value: hits and cases.
    """
    side = maps.shape[-1]
    highest = maps.flatten(-2).argmax(-1)
    found = torch.stack((highest % side, highest // side), dim=-1)
    near = ((found - _cells(objects, side)).abs() <= 1.0).all(-1)
    cases = objects.visible & objects.told
    return (cases & near).sum(), cases.sum()


def _cells(objects: Objects, side: int) -> torch.Tensor:
    """Return u and v in cells, 0 at the centre of the first one."""
    return (objects.places * side - 0.5).clamp(0.0, side - 1.0)
