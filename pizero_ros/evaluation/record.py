"""A trial that was run, as one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pizero_ros.evaluation.trial import Trial
    from pizero_ros.sim.tasks.judge import Score


def record_of(
    trial: Trial,
    score: Score,
    *,
    ended: str,
    reason: str,
    account: dict[str, Any],
    frames_skipped: int,
    took_s: float,
    video: str | None,
) -> dict[str, Any]:
    """Return the record of a trial.

    Args:
        trial: Which.
        score: The judge's.
        ended: ``success``, ``time``, ``fault`` or ``crash``; only the first is a success.
        reason: Of a fault or crash.
        account: What the policy node counted.
        frames_skipped: Pictures that the simulation left out.
        took_s: Of the system's clock, scene and video included.
        video: File in the folder of the evaluation, if there is one.
    """
    success = ended == 'success'
    return {
        'embodiment': trial.embodiment,
        'policy': trial.policy,
        'condition': trial.condition,
        'task': trial.task.name,
        'steps': len(trial.task.steps),
        'instruction': trial.task.instruction,
        'number': trial.number,
        'seed': trial.seed,
        'success': success,
        # A policy that ends or fails has not succeeded, wherever the hand was.
        'progress': round(score.progress if success else min(score.progress, 0.99), 4),
        'steps_done': score.steps_done,
        'followed': score.followed,
        'approached': [
            None if each is None else '_'.join(filter(None, (each.colour, each.arm)))
            for each in score.approached
        ],
        'elapsed_s': round(score.elapsed_s, 3),
        'done_s': round(score.done_s, 3) if success and score.done_s is not None else None,
        'ended': ended,
        'reason': reason,
        'frames_skipped': frames_skipped,
        'took_s': round(took_s, 2),
        'video': video,
        **account,
    }
