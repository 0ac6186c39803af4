"""Carries out an instruction: which prompt is in force, when a subtask ends, whom to ask when."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from pizero_ros.planner.plan import Done, Failed, Finished, GoOn, Next, NoAnswer, Situation
from pizero_ros.planner.verdict import read_verdict

if TYPE_CHECKING:
    from pizero_ros.planner.plan import Answer, Outcome, Subtask

State = Literal['idle', 'planning', 'running', 'done', 'failed', 'stopped']
PolicyState = Literal['running', 'dry_run', 'holding', 'inactive', 'fault', 'silent']

STOP = ''
"""The prompt that makes the policy hold: it refuses it, and holds until a usable one comes."""

HANDOVER_S = 1.0
"""So long the last prompt stays while the next is asked for: a script answers within
milliseconds, and a hold between two subtasks would be a jerk for nothing."""


class PolicyView(NamedTuple):
    """What the policy node last said about itself; ``silent`` if it has not for a while."""

    state: PolicyState
    prompt: str = ''
    reason: str = ''


class Question(NamedTuple):
    """What the planner is to be asked, and the step for which its answer counts."""

    step: int
    situation: Situation


@dataclass(frozen=True)
class PlanView:
    """Everything that can be told about the plan; times in seconds."""

    state: State
    instruction: str
    step: int
    prompt: str
    until: str
    elapsed_s: float
    limit_s: float
    reason: str
    policy: PolicyView
    finished: tuple[Finished, ...]
    counts: dict[str, int]


class Execution:
    """The state of one instruction after the other; times are the caller's, in seconds.

    All methods are for one thread.

    Attributes:
        prompt: What the policy has to be told now; ``STOP`` if the robot has to hold.
        state: What is going on.
    """

    def __init__(self, *, looks_every_s: float | None, planning_limit_s: float) -> None:
        """Start idle.

        Args:
            looks_every_s: The planner's pause between questions; None: a person speaks first.
            planning_limit_s: The instruction fails when the planner has not said for so long
                what comes first, or next.
        """
        self._looks_every_s = looks_every_s
        self._planning_limit_s = planning_limit_s
        self.state: State = 'idle'
        self.prompt = STOP
        self.counts: Counter[str] = Counter()
        self._policy = PolicyView('silent')
        self._generation = 0
        self._step = 0
        self._reset('')

    def _reset(self, instruction: str) -> None:
        self._instruction = instruction
        self._finished: list[Finished] = []
        self._current: Subtask | None = None
        self._reason = ''
        self._verdict = ''
        self._said: deque[str] = deque()
        self._asks = True
        self._since_s = self._now_s = self._ask_at_s = 0.0
        self._followed_s = 0.0

    @property
    def active(self) -> bool:
        """Whether an instruction is being carried out."""
        return self.state in ('planning', 'running')

    @property
    def generation(self) -> int:
        """Number of instructions so far."""
        return self._generation

    # What comes from outside

    def instruct(self, text: str, now_s: float) -> None:
        """Begin an instruction; the robot holds until its first subtask is known.

        The one that is being carried out already changes nothing; an empty one ends it.
        """
        instruction = ' '.join(text.split())
        if not instruction:
            if self.active:
                self._end('stopped', 'an empty instruction', now_s)
            return
        if not self.active or instruction != self._instruction:
            self._begin(instruction, now_s)

    def say(self, text: str, now_s: float) -> None:
        """Take a person's message; the first begins a plan if there is none."""
        if not self.active:
            self._begin('', now_s)
        self._said.append(text)

    def judge(self, text: str) -> None:
        """Take a message of the verdict topic."""
        if self._current is None:
            self.counts['verdicts without a subtask'] += 1
            return
        verdict = read_verdict(text)
        if verdict is None:
            self.counts['verdicts not understood'] += 1
        elif verdict.prompt not in ('', self._current.prompt):
            self.counts['verdicts on another subtask'] += 1
        else:
            self._verdict = verdict.outcome

    def heed(self, policy: PolicyView) -> None:
        """Note what the policy says about itself."""
        self._policy = policy

    # Time

    def tick(self, now_s: float) -> None:
        """Apply the rules that end subtasks; call it many times a second."""
        passed_s, self._now_s = now_s - self._now_s, now_s
        if passed_s < 0.0 or passed_s == now_s:
            # The clock was reset, or has only begun: what was under way keeps its age.
            self._since_s += passed_s
            self._ask_at_s += passed_s
            passed_s = 0.0
        if self.state == 'planning':
            self._tick_planning(now_s)
        elif self._current is not None:
            self._tick_running(self._current, now_s, passed_s)

    def _tick_planning(self, now_s: float) -> None:
        waited_s = now_s - self._since_s
        if self.prompt != STOP and waited_s >= HANDOVER_S:
            self.prompt = STOP
        if self._looks_every_s is not None and waited_s >= self._planning_limit_s:
            why = f': {self._reason}' if self._reason else ''
            self._end('failed', f'no answer from the planner in {waited_s:.1f} s{why}', now_s)

    def _tick_running(self, current: Subtask, now_s: float, passed_s: float) -> None:
        policy = self._policy
        if policy.prompt == current.prompt and policy.state in ('running', 'dry_run'):
            self._followed_s += passed_s
        elapsed_s = now_s - self._since_s
        if policy.state == 'fault':
            self._end('failed', f'the policy has failed: {policy.reason}', now_s)
        elif current.until == 'verdict' and self._verdict == 'succeeded':
            self._finish('succeeded', now_s)
        elif current.until == 'verdict' and self._verdict == 'failed':
            self._end('failed', f'{current.prompt!r} failed, by the verdict topic', now_s)
        elif current.until == 'time' and self._followed_s >= current.seconds:
            self._finish('succeeded', now_s)
        elif elapsed_s >= current.limit_s:
            why = f'; last: {self._reason}' if self._reason else ''
            self._end(
                'failed', f'{current.prompt!r} has reached its limit, {current.limit_s:g} s{why}',
                now_s,
            )  # fmt: skip

    # The planner

    def question(self, now_s: float) -> Question | None:
        """Return what the planner is to be asked now, None for nothing.

        What is returned counts as asked. To be called only while no answer is outstanding.
        """
        if not self.active:
            return None
        said = self._said.popleft() if self._said else None
        if said is None and not self._is_due(now_s):
            return None
        situation = Situation(
            generation=self._generation,
            instruction=self._instruction,
            finished=tuple(self._finished),
            current=self._current,
            elapsed_s=max(now_s - self._since_s, 0.0) if self._current else 0.0,
            verdict=self._verdict,
            said=said,
        )
        return Question(self._step, situation)

    def _is_due(self, now_s: float) -> bool:
        if self._looks_every_s is None or not self._asks or now_s < self._ask_at_s:
            return False
        return self._current is None or self._current.until == 'planner'

    def answered(self, question: Question, answer: Answer, now_s: float) -> None:
        """Act on an answer, unless what was asked about is over."""
        if question.step != self._step or not self.active:
            self.counts['answers too late'] += 1
            return
        self._ask_at_s = now_s + (self._looks_every_s or 0.0)
        self._reason = answer.reason
        if isinstance(answer, Next):
            self._finish_current(now_s)
            self._start(answer.subtask, now_s)
        elif isinstance(answer, Done):
            self._finish_current(now_s)
            self._end('done', answer.reason, now_s)
        elif isinstance(answer, Failed):
            self._end('failed', answer.reason, now_s)
        elif isinstance(answer, NoAnswer):
            self.counts['no answer'] += 1
            self._asks = self._asks and not answer.permanent
            if answer.permanent and self._current is None:
                self._end('failed', answer.reason, now_s)
        elif isinstance(answer, GoOn) and self._current is None:
            self.counts['no answer'] += 1
            self._reason = f'told to go on, with nothing begun: {answer.reason}'

    # Changes

    def _begin(self, instruction: str, now_s: float) -> None:
        self._generation += 1
        self._step += 1
        self._reset(instruction)
        self.state = 'planning'
        self.prompt = STOP
        self._since_s = self._now_s = self._ask_at_s = now_s

    def _start(self, subtask: Subtask, now_s: float) -> None:
        self.state = 'running'
        self.prompt = subtask.prompt
        self._current = subtask
        self._begin_step(now_s)
        self._ask_at_s = now_s + (self._looks_every_s or 0.0)

    def _finish(self, outcome: Outcome, now_s: float) -> None:
        """End a subtask by its own rule; the next is asked for while its prompt stays."""
        self._record(outcome, now_s)
        self.state = 'planning'
        self._begin_step(now_s)
        self._ask_at_s = now_s

    def _finish_current(self, now_s: float) -> None:
        if self._current is not None:
            self._record('succeeded', now_s)

    def _end(self, state: State, reason: str, now_s: float) -> None:
        if self._current is not None:
            self._record('failed', now_s)
        self._begin_step(now_s)
        self.state = state
        self.prompt = STOP
        self._reason = reason
        self._said.clear()

    def _record(self, outcome: Outcome, now_s: float) -> None:
        if self._current is not None:
            elapsed_s = max(now_s - self._since_s, 0.0)
            self._finished.append(Finished(self._current.prompt, outcome, elapsed_s))
            self._current = None

    def _begin_step(self, now_s: float) -> None:
        self._step += 1
        self._since_s = now_s
        self._followed_s = 0.0
        self._verdict = ''

    def stop(self, reason: str, now_s: float) -> None:
        """End whatever is going on, with a hold."""
        if self.active:
            self._end('stopped', reason, now_s)

    def view(self, now_s: float) -> PlanView:
        """Return everything that can be told."""
        current = self._current
        return PlanView(
            state=self.state,
            instruction=self._instruction,
            step=self._step,
            prompt=self.prompt,
            until=current.until if current else '',
            elapsed_s=max(now_s - self._since_s, 0.0) if self.active else 0.0,
            limit_s=current.limit_s if current else 0.0,
            reason=self._reason,
            policy=self._policy,
            finished=tuple(self._finished),
            counts=dict(self.counts),
        )
