"""Turns YAML scalars into Python values by their text, without YAML 1.1's surprises."""

from __future__ import annotations

import math
import re

import yaml

TEXT_TAG = 'tag:yaml.org,2002:str'

# YAML 1.1 takes 010 for 8, 1:30 for 90 and 1e-6 for text; none of that may reach a robot.
_INTEGER = re.compile(r'[-+]?(0|[1-9][0-9]{0,17})')
_NUMBER = re.compile(r'[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?')
_LONGEST = 80


def plain_text(node: yaml.Node) -> str | None:
    """Return the text of an unquoted scalar."""
    if isinstance(node, yaml.ScalarNode) and node.style is None:
        return str(node.value)
    return None


def text_of(node: yaml.Node) -> str | None:
    """Return text, quoted or not, that YAML does not take for another type."""
    is_text = isinstance(node, yaml.ScalarNode) and node.tag == TEXT_TAG
    return str(node.value) if is_text else None


def boolean_of(node: yaml.Node) -> bool | None:
    """Return the value of an unquoted ``true`` or ``false``."""
    return {'true': True, 'false': False}.get(plain_text(node) or '')


def integer_of(node: yaml.Node) -> int | None:
    """Return an unquoted decimal integer."""
    plain = plain_text(node)
    return int(plain) if plain is not None and _INTEGER.fullmatch(plain) else None


def number_of(node: yaml.Node) -> float | None:
    """Return an unquoted finite decimal number."""
    plain = plain_text(node)
    if plain is None or not _NUMBER.fullmatch(plain):
        return None
    value = float(plain)
    return value if math.isfinite(value) else None


def describe(node: yaml.Node) -> str:
    """Say what stands in a file; quotes tell text from numbers and words of YAML."""
    if isinstance(node, yaml.MappingNode):
        return 'a mapping'
    if isinstance(node, yaml.SequenceNode):
        if len(node.value) <= 4 and all(isinstance(item, yaml.ScalarNode) for item in node.value):
            return f'[{", ".join(describe(item) for item in node.value)}]'
        return f'a list of {len(node.value)}'
    if node.tag == 'tag:yaml.org,2002:null':
        return 'nothing'
    value = str(node.value)
    shown = value if len(value) <= _LONGEST else f'{value[:_LONGEST]}…'
    return repr(shown) if node.tag == TEXT_TAG else shown
