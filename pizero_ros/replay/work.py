"""What a worker does with a job: opens its policy, once, and evaluates the recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import cv2

from pizero_ros.policy.opened import open_policy
from pizero_ros.replay.evaluate import evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.policy.opened import Predictor
    from pizero_ros.replay.episode import Episode
    from pizero_ros.replay.evaluate import Settings
    from pizero_ros.replay.jobs import Job, Share


@dataclass(frozen=True)
class Evaluation:
    """The work of ``pizero replay``; see ``jobs.Work``.

    Attributes:
        embodiment: The robot.
        policies: Label → folder of the policy.
        settings: What to do.
        baselines: Whether to evaluate the baselines too.
        provider: Of ONNX Runtime.
        threads: Inside an operator, and of OpenCV.
    """

    embodiment: Embodiment
    policies: Mapping[str, Path]
    settings: Settings
    baselines: bool = True
    provider: str = 'auto'
    threads: int | None = None

    # Of the process, not of the object: Ray makes a new object for every job.
    _open: ClassVar[dict[str, tuple[Evaluation, Predictor]]] = {}

    def __call__(self, job: Job, told: Share) -> Episode:
        """Return the episode of a job."""
        if self.threads is not None:
            cv2.setNumThreads(self.threads)
        predictor = self._predictor(job.policy) if job.policy else None
        return evaluate(
            Path(job.bag),
            self.embodiment,
            predictor,
            job.policy,
            self.settings,
            baselines=self.baselines,
            progress=told,
        )

    def _predictor(self, label: str) -> Predictor:
        """Return a policy, of which one is open at a time."""
        known = self._open.get(label)
        if known is not None and known[0] == self:
            return known[1]
        self._open.clear()
        predictor = open_policy(self.policies[label], self.embodiment, self.provider, self.threads)
        self._open[label] = (self, predictor)
        return predictor
