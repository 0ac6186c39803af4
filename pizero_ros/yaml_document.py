"""One YAML file while it is read: the mistakes found in it and the line of each key."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import yaml

    from pizero_ros.errors import PizeroError


class Document:
    """One YAML file: the mistakes found in it so far and the line of each key.

    Mistakes are collected, not thrown, so that one run names them all. Getters return a
    placeholder after a mistake; nothing they returned may be used before ``finish`` has passed.
    """

    def __init__(self, source: str, error: type[PizeroError]) -> None:
        """Start with no mistakes.

        Args:
            source: Name of the file for messages.
            error: Class of the errors raised.
        """
        self.source = source
        self._error = error
        self._lines: dict[str, int] = {}
        self._mistakes: list[tuple[int, str]] = []
        self._last_checks: list[Callable[[], None]] = []

    def mark(self, path: str, node: yaml.Node) -> None:
        """Remember the line of ``path``, a dotted path such as ``actions[0].topic``."""
        self._lines.setdefault(path, node.start_mark.line + 1)

    def line_of(self, path: str) -> int:
        """Return the line of ``path``, or of the nearest key above it that is in the file."""
        while path and path not in self._lines:
            path = path[: max(path.rfind('.'), path.rfind('['), 0)]
        return self._lines.get(path, 1)

    def before_finish(self, check: Callable[[], None]) -> None:
        """Have ``finish`` call ``check``, which reports what can only be known at the end."""
        self._last_checks.append(check)

    def report(
        self, path: str, *, found: object, expected: str, remedy: str = '', line: int = 0
    ) -> None:
        """Add a mistake.

        Args:
            path: Dotted path of the key.
            found: What is there.
            expected: What should be there.
            remedy: What to do about it, as a sentence.
            line: Line, where it is not the line of ``path``.
        """
        line = line or self.line_of(path)
        error = self._error.at(
            f'{self.source}:{line}', path, found=found, expected=expected, remedy=remedy
        )
        self._mistakes.append((line, str(error)))

    def check(self) -> None:
        """Raise one error that lists every mistake reported so far, in the file's order."""
        if not self._mistakes:
            return
        texts = [text for _, text in sorted(self._mistakes, key=lambda mistake: mistake[0])]
        if len(texts) > 1:
            texts.insert(0, f'{len(texts)} mistakes in {self.source}:')
        msg = '\n'.join(texts)
        raise self._error(msg)

    def finish(self) -> None:
        """Reject the keys that no getter asked for, then raise as ``check`` does."""
        for check in self._last_checks:
            check()
        self._last_checks.clear()
        self.check()
