"""The planning thread: one question at a time, so that no callback waits for an answer."""

from __future__ import annotations

import threading
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from pizero_ros.errors import PizeroError
from pizero_ros.planner.plan import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pizero_ros.planner.execution import Question
    from pizero_ros.planner.plan import Answer, Planner, Rgb


class Asking:
    """Puts questions to a planner in a thread of its own.

    All methods are for the thread that made it.
    """

    def __init__(
        self,
        planner: Planner,
        look: Callable[[], Mapping[str, Rgb]] = dict,
        broken: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        """Start the thread.

        Args:
            planner: Is asked; ``close`` closes it.
            look: Returns the newest pictures; called by the planning thread when a planner that
                sees is asked. What it raises is the answer's reason.
            broken: Called by the planning thread with what no planner may raise.
        """
        self._planner = planner
        self._look = look
        self._broken = broken
        self._questions: SimpleQueue[Question | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Question, Answer]] = SimpleQueue()
        self._outstanding = False
        self._thread = threading.Thread(target=self._run, name='planner', daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether an answer is yet to be taken."""
        return self._outstanding

    def ask(self, question: Question) -> None:
        """Put a question; only while not busy."""
        if self._outstanding:
            msg = 'the planner answers one question at a time'
            raise ValueError(msg)
        self._outstanding = True
        self._questions.put(question)

    def answer(self) -> tuple[Question, Answer] | None:
        """Take the answer if it has come."""
        try:
            taken = self._answers.get_nowait()
        except Empty:
            return None
        self._outstanding = False
        return taken

    def close(self, timeout_s: float = 2.0) -> bool:
        """End the thread; tell whether it has ended in time."""
        self._planner.close()
        self._questions.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (question := self._questions.get()) is not None:
            try:
                answer = self._decide(question)
            except PizeroError as error:
                answer = NoAnswer(str(error))
            except (
                Exception
            ) as error:  # a thread must not die unnoticed: the subtask's limit stays
                self._broken(error)
                answer = NoAnswer(f'{type(error).__name__}: {error}', permanent=True)
            self._answers.put((question, answer))

    def _decide(self, question: Question) -> Answer:
        situation = question.situation
        if self._planner.sees:
            situation = replace(situation, pictures=self._look())
        return self._planner.decide(situation)
