"""Records of trials as an evaluation writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.evaluation.record import record_of
from pizero_ros.evaluation.trial import Trial
from pizero_ros.sim.tasks.judge import Approach, Score
from pizero_ros.sim.tasks.task import task_named

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    """Give a maker of records: of a trial that succeeded, or came somewhere, or nowhere."""

    def make(
        seed: int = 1_000_000,
        policy: str = 'ours',
        condition: str = 'flat',
        task: str = 'touch_red',
        *,
        success: bool = True,
        progress: float = 0.0,
        approached: str | None = 'red',
        ended: str = '',
        **account: Any,
    ) -> dict[str, Any]:
        task_ = task_named(load_embodiment('sim_single_arm'), task)
        found = None if approached is None else Approach(approached, 'arm')
        right = found is not None and found.colour == task_.steps[0].colour
        score = Score(
            success=success,
            progress=1.0 if success else progress,
            steps_done=len(task_.steps) if success else 0,
            approached=(found,) * (len(task_.steps) if success else 1),
            followed=right,
            elapsed_s=3.5 if success else 8.0,
            done_s=3.0 if success else None,
        )
        return record_of(
            Trial('sim_single_arm', policy, condition, task_, seed % 1000, seed),
            score,
            ended=ended or ('success' if success else 'time'),
            reason='inference failed' if ended == 'fault' else '',
            account=account,
            frames_skipped=0,
            took_s=4.0,
            video=None,
        )

    return make
