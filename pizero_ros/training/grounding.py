"""Learning to see: the VLM is asked where the object is that an instruction means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from pizero_ros.errors import TrainingConfigError
from pizero_ros.model.answers import answer_logits, likeliest_answer
from pizero_ros.training.heat_maps import HeatMaps, heat_hits, heat_loss
from pizero_ros.training.locations import PER_CAMERA, Locations
from pizero_ros.training.objective import Objective, Terms
from pizero_ros.training.trainable import unanswering

if TYPE_CHECKING:
    from pizero_ros.model.pi0 import Pi0
    from pizero_ros.training.questions import Questions


class Grounding(Objective):
    """Cross-entropy of location tokens, and of keypoints' maps; the expert does not learn."""

    loss_name = 'cross-entropy of a location token'

    def __init__(self, policy: Pi0, bins: int, keypoints: float = 0.0) -> None:
        """Wrap a policy.

        Args:
            policy: The policy.
            bins: Places along each side of a picture.
            keypoints: Weight of what the first keypoints of the stem are told, each of one object,
                beside a location token; 0 tells them nothing.

        Raises:
            TrainingConfigError: If keypoints are to be told, and there are none.
        """
        super().__init__(policy)
        self._locations = Locations(policy.architecture.vocabulary, bins)
        self._weight = keypoints
        self.measures = ('located', 'nowhere', *(('keypoints',) if keypoints else ()))
        if keypoints and policy.vision_tower.stem is None:
            raise TrainingConfigError.at(
                'grounding.keypoints',
                '',
                found=keypoints,
                expected='0: the architecture has patches and no keypoints',
            )

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
                that of the views without the object in which it is not seen either, ``keypoints``
                that of the visible objects whose map is highest within a cell of the truth.

        Returns:
            Sums over the tokens of an answer, and how many there are. What keypoints are told
            counts as a share of each token.
        """
        stem = self.policy.vision_tower.stem
        if stem is None or not self._weight:
            return self._answers(batch, judged=judged)
        with HeatMaps(stem) as made:
            terms = self._answers(batch, judged=False)
        maps = made.of(batch.objects)
        loss = self._weight * heat_loss(maps, batch.objects)
        terms = terms._replace(sums=terms.sums + terms.counts * loss)
        if not judged:
            return terms
        hits, cases = self._judge(batch)
        hit, case = heat_hits(maps, batch.objects)
        return terms._replace(
            hits=torch.cat((hits, hit.float()[None])), cases=torch.cat((cases, case.float()[None]))
        )

    def _answers(self, batch: Questions, *, judged: bool) -> Terms:
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
