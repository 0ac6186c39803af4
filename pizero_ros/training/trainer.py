"""The training loop: a step, a look at held-out samples, a checkpoint; exact when it goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils import clip_grad_norm_

from pizero_ros.errors import TrainingError
from pizero_ros.training.average import Average
from pizero_ros.training.curves import Curves, Look
from pizero_ros.training.faults import describe_fault, in_memory, not_finite
from pizero_ros.training.lora import add_lora
from pizero_ros.training.precision import computing, keep_heads_in_float32, repeatable
from pizero_ros.training.schedule import learning_rate
from pizero_ros.training.snapshot import Snapshot, restore
from pizero_ros.training.start import objective_of
from pizero_ros.training.trainable import choose_trainable, learning

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pizero_ros.model.pi0 import Pi0
    from pizero_ros.training.batch import AnyBatch, BatchSource
    from pizero_ros.training.config import TrainingConfig
    from pizero_ros.training.distributed import Team
    from pizero_ros.training.objective import Terms
    from pizero_ros.training.saved import RunFolder

_TRAINING, _VALIDATION = 0, 1
"""What a draw is for: the held-out batches have noise and times of their own, the same at every
look, so that two looks differ by the weights alone."""


@dataclass(frozen=True)
class Outcome:
    """How a call of ``Trainer.run`` ended.

    Attributes:
        steps: Optimizer steps done in all.
        loss: Of the last step; None where none was made.
        validation: Loss of the last look at held-out samples, with the averaged weights.
        measures: What else that look showed, by name.
        checkpoint: The newest checkpoint.
        stopped: Whether it was asked to stop before its end.
    """

    steps: int
    loss: float | None
    validation: float | None
    measures: Mapping[str, float]
    checkpoint: Path | None
    stopped: bool


class Trainer:
    """Trains one policy, from a source of batches into the folder of a run."""

    def __init__(
        self,
        config: TrainingConfig,
        policy: Pi0,
        source: BatchSource,
        team: Team,
        *,
        validation: BatchSource | None = None,
        attachments: Mapping[str, bytes] | None = None,
    ) -> None:
        """Prepare what learns.

        Args:
            config: The run.
            policy: At its start, float32, on the CPU, the same in every process.
            source: Training batches of ``config.batch`` samples over all processes.
            team: The processes.
            validation: Batches of held-out samples, by number of the batch.
            attachments: Files that each checkpoint gets beside its weights: path → content.

        Raises:
            TrainingConfigError: A pattern of names fits nothing, or nothing is left to learn.
            TrainingError: The batch cannot be shared out evenly, or the prefix is too long.
        """
        _check(config, policy, team)
        self._config = config
        self._source, self._validation = source, validation
        self._team = team
        self._attachments = attachments or {}
        objective = objective_of(config, policy)
        dead = objective.unreached()
        choose_trainable(policy, config.model.freeze, dead)
        if config.model.lora is not None:
            add_lora(policy, config.model.lora, config.seed, dead)
        if config.precision == 'bfloat16':
            keep_heads_in_float32(policy, team.device)
        self._objective = team.shard(objective.to(team.device).train())
        self.policy = self._objective.policy
        self._learning = learning(self.policy)
        self._average = Average(self._learning, config.ema)
        settings = config.optimizer
        self._optimizer = torch.optim.AdamW(
            self._learning.values(),
            lr=settings.learning_rate,
            betas=settings.betas,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
        )

    @property
    def counts(self) -> tuple[int, int]:
        """Number of values that learn, and of all values."""
        learn = sum(each.numel() for each in self._learning.values())
        return learn, sum(each.numel() for each in self.policy.parameters())

    def run(
        self,
        folder: RunFolder,
        until: int,
        *,
        stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, float], object] = lambda *_: None,
    ) -> Outcome:
        """Train from the newest checkpoint of the run, or from the start.

        Args:
            folder: The run.
            until: Optimizer steps after which to stop, at most ``config.steps``.
            stop: Asked between two steps; True saves a checkpoint and ends.
            on_step: Told steps done and the loss of the last one.

        Returns:
            How it ended. Every process has the same.

        Raises:
            TrainingError: A loss or gradient is not finite, in which case nothing is saved any
                more; or a file cannot be written.
        """
        config = self._config
        # The first process says from where: another may look while the folder is not yet settled.
        latest = self._team.gather(folder.latest)[0]
        done = 0
        if latest is not None:
            done = restore(latest, self.policy, self._average, self._optimizer)
        curves = None
        if self._team.rank == 0:
            curves = Curves(folder, done, self._objective.loss_name, self._objective.measures)
        loss = looked = None
        saved, stopped = done, False
        with repeatable(self._team.device, config.threads), in_memory(config.batch):
            try:
                while done < until and not stopped:
                    loss, rate, norm, stopped = self._step(done, stop())
                    if curves:
                        curves.step(done, loss, rate, norm)
                    done += 1
                    last = done == until or stopped
                    if self._validation is not None and (
                        done % config.validate_every == 0 or done == config.steps
                    ):
                        looked = self.validate()
                        if curves:
                            curves.look(done, looked)
                    if done % config.save_every == 0 or last:
                        self._save(folder, done, curves)
                        saved = done
                    on_step(done, loss)
            finally:
                if curves:
                    curves.close()
        latest = folder.latest if saved else None
        if looked is None:
            return Outcome(done, loss, None, {}, latest, stopped)
        shares = zip(self._objective.measures, looked.measures, strict=True)
        # A measure without a single case has no share.
        measures = {name: share for name, share in shares if math.isfinite(share)}
        return Outcome(done, loss, looked.loss, measures, latest, stopped)

    def rehearse(self) -> float:
        """Return the loss of the first batch, forward and backward, without learning from it.

        A batch with longer prompts takes more memory than this one.

        Raises:
            TrainingError: It is not finite, or there is not enough memory for it.
        """
        with repeatable(self._team.device, self._config.threads), in_memory(self._config.batch):
            loss, _, _ = self._gradient(0, False)
        self._optimizer.zero_grad(set_to_none=True)
        return loss

    @torch.no_grad()
    def validate(self) -> Look:
        """Return what held-out samples show of the averaged weights."""
        if self._validation is None:
            msg = 'no held-out samples'
            raise ValueError(msg)
        team = self._team
        measures = len(self._objective.measures)
        totals = torch.zeros(2 + 2 * measures, dtype=torch.float64, device=team.device)
        with self._average.in_place():
            for number in range(self._config.validate_batches):
                batch = self._validation.batch(number, team.rank, team.world).to(team.device)
                terms = self._terms(batch, _VALIDATION, number)
                totals[:2] += _sum(terms)
                if terms.hits is not None and terms.cases is not None:
                    totals[2:] += torch.cat((terms.hits, terms.cases)).double()
            team.forget_gathered(self._objective)
        totals = team.sum(totals)
        loss, shares = totals[0] / totals[1], totals[2 : 2 + measures] / totals[2 + measures :]
        return Look(float(loss), tuple(shares.tolist()))

    def _step(self, step: int, asked: bool) -> tuple[float, float, float, bool]:
        """Make one optimizer step; return loss, learning rate, gradient norm, whether to stop."""
        loss, norm, stopped = self._gradient(step, asked)
        rate = learning_rate(step, self._config.optimizer)
        for group in self._optimizer.param_groups:
            group['lr'] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._average.update()
        return loss, rate, norm, stopped

    def _gradient(self, step: int, asked: bool) -> tuple[float, float, bool]:
        """Compute the clipped gradient of a step; return loss, norm and whether to stop.

        The wish to stop travels with the loss, so that all processes stop after the same step.
        """
        team = self._team
        batch = self._source.batch(step, team.rank, team.world).to(team.device)
        terms = self._terms(batch, _TRAINING, step)
        wish = torch.tensor([float(asked)], dtype=torch.float64, device=team.device)
        totals = team.sum(torch.cat((_sum(terms).detach(), wish)))
        loss, asked_by = float(totals[0] / totals[1]), float(totals[2])
        if not torch.isfinite(totals[0]) or not totals[1] > 0:
            raise self._fault(step, batch, terms, f'a loss of {loss}')
        # The mean over processes, which averaging gradients takes, shall be that over values.
        scaled = terms.sums.sum() * (team.world / float(totals[1]))
        scaled.backward()  # type: ignore[no-untyped-call]
        norm = self._clip()
        if not math.isfinite(norm):
            raise self._fault(step, batch, terms, f'a gradient of norm {norm}')
        return loss, norm, asked_by > 0

    def _terms(self, batch: AnyBatch, purpose: int, number: int) -> Terms:
        """Compute the loss of this process's part of a batch."""
        team, learning = self._team, purpose == _TRAINING
        seed = (self._config.seed, purpose, number)
        draw = self._objective.draw(batch, seed, team.rank, team.world, learning=learning)
        with computing(self._config.precision, team.device):
            terms: Terms = self._objective(batch, draw, judged=not learning)
        return terms

    def _clip(self) -> float:
        norm: Any = clip_grad_norm_(self._learning.values(), self._config.optimizer.clip)
        return float(norm.full_tensor() if hasattr(norm, 'full_tensor') else norm)

    def _save(self, folder: RunFolder, done: int, curves: Curves | None) -> None:
        self._team.forget_gathered(self._objective)
        snapshot = Snapshot(self.policy, self._average, self._optimizer, done)
        if curves is not None:
            folder.save(done, lambda place: snapshot.write(place, self._attachments))
            curves.draw()

    def _fault(self, step: int, batch: AnyBatch, terms: Terms, found: str) -> Exception:
        """Say which samples a fault comes from; every process has to ask."""
        causes = self._team.gather(describe_fault(batch, terms))
        return not_finite(step, found, [line for each in causes for line in each])


def _sum(terms: Terms) -> torch.Tensor:
    return torch.stack((terms.sums.sum(), terms.counts.sum())).double()


def _check(config: TrainingConfig, policy: Pi0, team: Team) -> None:
    if config.batch % team.world:
        raise TrainingError.at(
            'batch', '', found=config.batch, expected=f'a multiple of {team.world} processes'
        )
    if config.rtc_max_delay >= policy.architecture.horizon:
        raise TrainingError.at(
            'rtc.max_delay',
            '',
            found=config.rtc_max_delay,
            expected=f'fewer than the {policy.architecture.horizon} actions of a chunk',
        )
