"""The planner that follows a script: instruction → subtasks, in the order of a file."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pizero_ros.errors import PlannerError
from pizero_ros.planner.plan import Done, Failed, GoOn, Next, NoAnswer
from pizero_ros.strict_yaml import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.planner.plan import Answer, Judge, Situation, Subtask
    from pizero_ros.planner.script_file import Script


class ScriptPlanner:
    """Gives the subtasks of a script one after the other."""

    def __init__(self, script: Script, judge: Judge | None = None, period_s: float = 2.0) -> None:
        """Check that everything the script needs is there.

        Args:
            script: The file.
            judge: Says when subtasks with ``until: planner`` are over.
            period_s: Pause between two judgements [s].

        Raises:
            PlannerError: It has no tasks, or needs a judge that is not there.
        """
        if not script.tasks:
            raise PlannerError.at(
                script.source, 'tasks', found='nothing', expected='at least one task'
            )
        judged = [s.prompt for task in script.tasks for s in task.subtasks if s.until == 'planner']
        if judged and judge is None:
            raise PlannerError.at(
                script.source,
                'until',
                found=f'planner, for {judged[0]!r}',
                expected='time or verdict, as there is nobody who could judge',
                remedy='Give a vision language model (vlm_url, vlm_model, embodiment) to judge.',
            )
        self._script = script
        self._judge = judge if judged else None
        self._period_s = period_s
        self._counts: Counter[str] = Counter()

    @property
    def looks_every_s(self) -> float | None:
        """See ``Planner``."""
        return self._period_s

    @property
    def sees(self) -> bool:
        """See ``Planner``."""
        return self._judge is not None

    def decide(self, situation: Situation) -> Answer:
        """See ``Planner``."""
        task = self._script.task(situation.instruction)
        if task is None:
            self._counts['unknown instructions'] += 1
            known = [task.instruction for task in self._script.tasks]
            hint = suggestion(situation.instruction, known) or f'It knows {", ".join(known)}.'
            return Failed(f'{self._script.source} has no task {situation.instruction!r}. {hint}')
        done = len(situation.finished)
        if situation.current is not None:
            open_still = self._unless_succeeded(situation, situation.current)
            if open_still is not None:
                return open_still
            done += 1
        if done == len(task.subtasks):
            return Done('the last subtask of the script is over')
        return Next(task.subtasks[done], f'subtask {done + 1} of {len(task.subtasks)}')

    def counts(self) -> Mapping[str, int]:
        """See ``Planner``."""
        return {**self._counts, **(self._judge.counts() if self._judge else {})}

    def close(self) -> None:
        """See ``Planner``."""
        if self._judge is not None:
            self._judge.close()

    def _unless_succeeded(self, situation: Situation, current: Subtask) -> Answer | None:
        """Return what is to be done, None if the judge says that the current subtask succeeded."""
        if self._judge is None:
            return GoOn('its own rule ends it')
        judgement = self._judge.judge(situation)
        if isinstance(judgement, NoAnswer):
            return judgement
        if judgement.outcome == 'going_on':
            return GoOn(judgement.reason)
        if judgement.outcome == 'failed':
            return Failed(f'{current.prompt!r}: {judgement.reason}')
        return None
