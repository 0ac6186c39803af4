"""Tables of a page, whose rows a reader sorts by a click or a key on a heading."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """Top of a column.

    Attributes:
        title: What stands there.
        hint: One sentence more, shown on pointing.
        over: What stands above it and above its neighbours with the same words.
        numeric: Numbers are aligned to the right, and the first click brings the largest on top.
    """

    title: str
    hint: str = ''
    over: str = ''
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """One entry.

    Attributes:
        text: What stands there.
        sort: What it is sorted by; an entry without (``None``) stays at the end in either order.
        beside: Smaller words behind it, such as the same in another unit.
        href: Where it leads.
        best: Whether it is the best of its column.
    """

    text: str
    sort: float | str | None = None
    beside: str = ''
    href: str = ''
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One line; ``apart`` is shown as not being one of the things that are compared."""

    cells: tuple[Cell, ...]
    apart: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: For those who cannot see what stands above it.
        headings: Of its columns.
        rows: Its lines.
        stacked: Whether what is beside a text goes below it: many broad columns.
    """

    name: str
    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    stacked: bool = False

    @property
    def spans(self) -> tuple[tuple[str, int], ...]:
        """What stands above the headings, and over how many of them; empty if nothing does."""
        if not any(heading.over for heading in self.headings):
            return ()
        spans: list[tuple[str, int]] = []
        for heading in self.headings:
            if spans and spans[-1][0] == heading.over:
                spans[-1] = (heading.over, spans[-1][1] + 1)
            else:
                spans.append((heading.over, 1))
        return tuple(spans)


def word(text: str, *, href: str = '', beside: str = '') -> Cell:
    """Return an entry that is sorted by its text."""
    return Cell(text, text, beside, href)
