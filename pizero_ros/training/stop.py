"""Ctrl-C and SIGTERM as a wish: the step is finished and saved; a second one ends at once."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopWish:
    """Knows whether somebody wants the run to stop; a context, in the main thread."""

    def __init__(self) -> None:
        """Wish for nothing yet."""
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopWish:
        self._before = {each: signal.signal(each, self._ask) for each in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def __call__(self) -> bool:
        """Tell whether to stop."""
        return self._asked

    def _ask(self, *_: object) -> None:
        if self._asked:
            # Checkpoints take their names whole, so an end at any moment loses steps only.
            raise KeyboardInterrupt
        self._asked = True
