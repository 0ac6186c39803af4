"""Reads YAML strictly: every mistake in a file is named by line, key, found and expected."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, TypeVar

import yaml

from pizero_ros.yaml_document import Document
from pizero_ros.yaml_scalars import (
    TEXT_TAG,
    boolean_of,
    describe,
    integer_of,
    number_of,
    plain_text,
    text_of,
)

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pizero_ros.errors import PizeroError

T = TypeVar('T')


class Fields:
    """The keys of one mapping, with a getter for each type that a key can have.

    A key without ``default`` is required. Asking for a key is what makes it known.
    """

    def __init__(self, document: Document, node: yaml.MappingNode | None, path: str) -> None:
        """Open a mapping; ``None`` stands for one that is absent and holds nothing."""
        self.document = document
        self.path = path
        self._mistaken = False
        self._nodes: dict[str, yaml.Node] = {}
        self._asked: dict[str, None] = {}
        document.before_finish(self.reject_unknown)
        for key, value in node.value if node is not None else ():
            self._add(key, value)

    def _add(self, key: yaml.Node, value: yaml.Node) -> None:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag != TEXT_TAG:
            self.document.report(
                self.path,
                found=f'key {describe(key)}',
                expected='a key that is text',
                remedy='Put it in quotes if it is meant as a name.',
                line=line,
            )
        elif key.value in self._nodes:
            self.document.report(
                self.at(key.value),
                found=f'the key twice (first on line {self.line(key.value)})',
                expected='each key once',
                line=line,
            )
        else:
            self._nodes[key.value] = value
            self.document.mark(self.at(key.value), key)

    def at(self, key: str) -> str:
        """Return the dotted path of ``key``."""
        return f'{self.path}.{key}' if self.path else key

    def line(self, key: str) -> int:
        """Return the line of ``key``, or of this mapping if the key is absent."""
        return self.document.line_of(self.at(key))

    def has(self, key: str) -> bool:
        """Tell whether ``key`` is in the file, without making it known."""
        return key in self._nodes

    def keys(self) -> list[str]:
        """Return every key in the file's order: for mappings from names to values."""
        return list(self._nodes)

    def skip(self, *keys: str) -> None:
        """Make keys known whose values do not matter here."""
        self._asked.update(dict.fromkeys(keys))

    def blank(self, key: str) -> bool:
        """Tell whether ``key`` is absent or null, and make it known."""
        self._asked[key] = None
        node = self._nodes.get(key)
        return node is None or node.tag == 'tag:yaml.org,2002:null'

    def report(self, key: str, *, found: object, expected: str, remedy: str = '') -> None:
        """Add a mistake about ``key``."""
        self.document.report(self.at(key), found=found, expected=expected, remedy=remedy)

    def reject_unknown(self) -> None:
        """Report every key that no getter asked for, with the known key that comes nearest."""
        for key in self._nodes:
            if key not in self._asked:
                self.document.report(
                    self.at(key),
                    found='an unknown key',
                    expected=f'one of {", ".join(self._asked) or "no keys at all"}',
                    remedy=suggestion(key, list(self._asked)),
                )

    def text(
        self,
        key: str,
        default: str | None = None,
        *,
        pattern: re.Pattern[str] | None = None,
        expected: str = 'text',
    ) -> str:
        """Return text; not blank unless the default is, and matching ``pattern`` as a whole."""

        def convert(node: yaml.Node) -> str | None:
            value = text_of(node)
            if value is None or (not value.strip() and default != ''):
                return None
            return value if pattern is None or pattern.fullmatch(value) else None

        return self._read(key, expected, convert, default, '')

    def choice(self, key: str, choices: Sequence[T], default: T | None = None) -> T:
        """Return one of ``choices``, which are all text or all integers."""
        by_text = {str(choice): choice for choice in choices}
        value_of = text_of if isinstance(choices[0], str) else plain_text

        def convert(node: yaml.Node) -> T | None:
            return by_text.get(value_of(node) or '')

        return self._read(key, f'one of {", ".join(by_text)}', convert, default, choices[0])

    def boolean(self, key: str, default: bool | None = None) -> bool:
        """Return ``true`` or ``false``; the other spellings of YAML 1.1 are mistakes."""
        return self._read(key, 'true or false', boolean_of, default, False)

    def integer(
        self,
        key: str,
        default: int | None = None,
        *,
        minimum: int | None = None,
        maximum: int | None = None,
        expected: str = '',
    ) -> int:
        """Return a decimal integer within the bounds, both inclusive."""
        expected = expected or f'an integer{_bounds(minimum, maximum)}'

        def convert(node: yaml.Node) -> int | None:
            value = integer_of(node)
            return value if value is not None and _within(value, minimum, maximum) else None

        return self._read(key, expected, convert, default, 0)

    def number(
        self,
        key: str,
        default: float | None = None,
        *,
        above: float | None = None,
        minimum: float | None = None,
        maximum: float | None = None,
        nonzero: bool = False,
    ) -> float:
        """Return a finite number; ``above`` is exclusive, the other bounds are inclusive."""
        bounds = f' above {above:g}' if above is not None else _bounds(minimum, maximum)
        bounds = f'{bounds} other than 0' if nonzero else bounds

        def convert(node: yaml.Node) -> float | None:
            value = number_of(node)
            if value is None or not _within(value, minimum, maximum) or (nonzero and not value):
                return None
            return value if above is None or value > above else None

        return self._read(key, f'a number{bounds}', convert, default, 0.0)

    def number_or_none(self, key: str, *, above: float | None = None) -> float | None:
        """Return a number as ``number`` does, or ``None`` if the key is absent."""
        self._asked[key] = None
        return self.number(key, above=above) if key in self._nodes else None

    def numbers(self, key: str, length: int | None = None) -> tuple[float, ...]:
        """Return a list of finite numbers, of ``length`` if that is given."""
        return self._sequence(key, 'numbers', length, number_of)

    def integers(self, key: str, length: int | None = None) -> tuple[int, ...]:
        """Return a list of integers, of ``length`` if that is given."""
        return self._sequence(key, 'integers', length, integer_of)

    def texts(self, key: str, length: int | None = None) -> tuple[str, ...]:
        """Return a list of texts, of ``length`` if that is given."""
        return self._sequence(key, 'texts', length, text_of)

    def booleans(self, key: str, length: int | None = None) -> tuple[bool, ...]:
        """Return a list of ``true`` and ``false``, of ``length`` if that is given."""
        return self._sequence(key, 'true or false', length, boolean_of)

    def interval(self, key: str) -> tuple[float, float]:
        """Return two finite numbers, the lower first and below the upper."""

        def convert(node: yaml.Node) -> tuple[float, float] | None:
            if not isinstance(node, yaml.SequenceNode) or len(node.value) != 2:
                return None
            lower, upper = (number_of(item) for item in node.value)
            if lower is None or upper is None or lower >= upper:
                return None
            return lower, upper

        expected = 'two numbers [lower, upper] with lower below upper'
        return self._read(key, expected, convert, None, (0.0, 0.0))

    def interval_or_none(self, key: str) -> tuple[float, float] | None:
        """Return an interval as ``interval`` does, or ``None`` if the key is absent."""
        self._asked[key] = None
        return self.interval(key) if key in self._nodes else None

    def mapping(self, key: str, *, required: bool = True) -> Fields:
        """Return a mapping inside this one; an empty one if it is absent and may be."""
        expected = 'a mapping'

        def convert(node: yaml.Node) -> Fields | None:
            if not isinstance(node, yaml.MappingNode):
                return None
            return Fields(self.document, node, self.at(key))

        absent = Fields(self.document, None, self.at(key))
        blank = Fields(self.document, None, self.at(key))
        blank._mistaken = True
        return self._read(key, expected, convert, None if required else absent, blank)

    def mappings(self, key: str) -> list[Fields]:
        """Return a list of at least one mapping."""
        expected = 'a list of at least one mapping'
        node = self._ask(key, expected, required=True)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self.report(key, found=describe(node), expected=expected)
            return []
        found = []
        for index, item in enumerate(node.value):
            path = f'{self.at(key)}[{index}]'
            self.document.mark(path, item)
            if isinstance(item, yaml.MappingNode):
                found.append(Fields(self.document, item, path))
            else:
                self.document.report(path, found=describe(item), expected='a mapping')
        return found

    def _ask(self, key: str, expected: str, *, required: bool) -> yaml.Node | None:
        """Make a key known and return its node, reporting it if it is missing but required."""
        self._asked[key] = None
        node = self._nodes.get(key)
        # A mapping that is itself a mistake is reported once, not once more for each of its keys.
        if node is None and required and not self._mistaken:
            self.report(key, found='nothing', expected=expected, remedy='The key is required.')
        return node

    def _read(
        self,
        key: str,
        expected: str,
        convert: Callable[[yaml.Node], T | None],
        default: T | None,
        blank: T,
    ) -> T:
        """Return the converted value, the default, or ``blank`` after reporting a mistake."""
        node = self._ask(key, expected, required=default is None)
        if node is None:
            return blank if default is None else default
        value = convert(node)
        if value is None:
            self.report(key, found=describe(node), expected=expected)
            return blank
        return value

    def _sequence(
        self, key: str, items: str, length: int | None, convert: Callable[[yaml.Node], T | None]
    ) -> tuple[T, ...]:
        """Return the converted items of a list, reporting each that does not convert."""
        expected = f'a list of {items}' if length is None else f'a list of {length} {items}'
        node = self._ask(key, expected, required=True)
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode) or length not in (None, len(node.value)):
            self.report(key, found=describe(node), expected=expected)
            return ()
        values = []
        for index, item in enumerate(node.value):
            value = convert(item)
            if value is None:
                path = f'{self.at(key)}[{index}]'
                self.document.mark(path, item)
                self.document.report(path, found=describe(item), expected=expected)
            else:
                values.append(value)
        return tuple(values)


def read_yaml(path: Path, error: type[PizeroError]) -> Fields:
    """Read a YAML file whose top level is a mapping.

    Args:
        path: The file.
        error: Class of the errors raised.

    Returns:
        Its keys; ask for them, then call ``fields.document.finish()``.

    Raises:
        PizeroError: Of the class ``error``, if the file cannot be read as YAML.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except UnicodeDecodeError as fault:
        raise error.at(path, '', found=str(fault), expected='UTF-8 text') from None
    except OSError as fault:
        reason = fault.strerror or type(fault).__name__
        raise error.at(path, '', found=reason, expected='a readable file') from None
    return parse_yaml(text, str(path), error)


def parse_yaml(text: str, source: str, error: type[PizeroError]) -> Fields:
    """Parse YAML text whose top level is a mapping; as ``read_yaml``."""
    try:
        # Composed, not loaded: nodes know their lines and keep duplicate keys.
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        where = f'{source}:{mark.line + 1}' if mark is not None else source
        found = fault.problem or fault.context or 'text that does not parse'
        raise error.at(where, '', found=found, expected='one YAML document') from None
    except (yaml.YAMLError, RecursionError) as fault:
        found = ' '.join(str(fault).split())
        raise error.at(source, '', found=found, expected='one YAML document') from None
    if not isinstance(node, yaml.MappingNode):
        found = 'nothing' if node is None else describe(node)
        raise error.at(source, '', found=found, expected='a mapping at the top level')
    return Fields(Document(source, error), node, '')


def suggestion(name: str, known: Sequence[str]) -> str:
    """Return ``Did you mean …?`` for the known name nearest to ``name``, or nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    return f'Did you mean {near[0]!r}?' if near else ''


def _within(value: float, minimum: float | None, maximum: float | None) -> bool:
    return (minimum is None or value >= minimum) and (maximum is None or value <= maximum)


def _bounds(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f' from {minimum:g} to {maximum:g}'
    if minimum is not None:
        return f' of at least {minimum:g}'
    return '' if maximum is None else f' of at most {maximum:g}'
