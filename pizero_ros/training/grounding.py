"""Learning to see: the VLM is asked where the object is that an instruction means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from pizero_ros.model.answers import answer_logits, likeliest_answer
from pizero_ros.training.locations import PER_CAMERA, Locations
from pizero_ros.training.objective import Objective, Terms
from pizero_ros.training.trainable import unanswering

if TYPE_CHECKING:
    from pizero_ros.model.pi0 import Pi0
    from pizero_ros.training.questions import Questions


class Grounding(Objective):
    """Cross-entropy of location tokens; the expert does not learn."""

    loss_name = 'cross-entropy of a location token'
    measures = ('located', 'nowhere')

    def __init__(self, policy: Pi0, bins: int) -> None:
        """Wrap a policy.

        Args:
            policy: The policy.
            bins: Places along each side of a picture.
        """
        super().__init__(policy)
        self._locations = Locations(policy.architecture.vocabulary, bins)

    def unreached(self) -> set[str]:
        """Name the weights on which no answer depends."""
        return unanswering(self.policy)

    def draw(
        self,
        batch: Questions,
        seed: tuple[int, ...],
        rank: int,
        world: int,
        *,
        learning: bool,
    ) -> None:
        """Draw nothing: the questions are all that chance decides, and come with the batch."""
        return

    def forward(self, batch: Questions, draw: None, *, judged: bool = False) -> Terms:
        """Compute the loss of each sample.

        Args:
            batch: Pictures, instructions and answers, on the policy's device.
            draw: Nothing.
            judged: Whether to let the policy answer by itself, too. ``located`` is the share of
                the views of an object whose two bins are each within 1 of the truth, ``nowhere``
                that of the views without the object in which it is not seen either.

        Returns:
            Sums over the tokens of an answer, and how many there are.
        """
        logits = answer_logits(self.policy, batch.seen, batch.answer, batch.told)
        losses = functional.cross_entropy(
            logits.flatten(0, 1), batch.answer.flatten(), reduction='none'
        ).view(batch.answer.shape)
        sums = torch.where(batch.told, losses, 0.0).sum(dim=1)
        terms = Terms(sums, batch.told.sum(dim=1).to(sums.dtype))
        if not judged:
            return terms
        hits, cases = self._judge(batch)
        return terms._replace(hits=hits, cases=cases)

    def _judge(self, batch: Questions) -> tuple[torch.Tensor, torch.Tensor]:
        ids = slice(self._locations.first, self._locations.vocabulary)
        said = likeliest_answer(self.policy, batch.seen, batch.told, ids)
        said, truth, told = (
            torch.unflatten(each, 1, (-1, PER_CAMERA)) for each in (said, batch.answer, batch.told)
        )
        told = told.all(dim=2)
        nowhere = self._locations.nowhere
        somewhere = told & (truth != nowhere).all(dim=2)
        absent = told & ~somewhere
        near = ((said - truth).abs() <= 1).all(dim=2) & (said != nowhere).all(dim=2)
        missed = (said == nowhere).all(dim=2)
        hits = torch.stack(((somewhere & near).sum(), (absent & missed).sum()))
        return hits.float(), torch.stack((somewhere.sum(), absent.sum())).float()
