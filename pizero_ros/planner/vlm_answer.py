"""What a vision language model may answer, and the strict reading of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Status = Literal['continue', 'next', 'done', 'failed']

_STATUSES: dict[str, Status] = {
    'continue': 'continue',
    'next': 'next',
    'done': 'done',
    'failed': 'failed',
}
JUDGEMENTS: dict[str, Literal['going_on', 'succeeded', 'failed']] = {
    'going_on': 'going_on',
    'succeeded': 'succeeded',
    'failed': 'failed',
}


class MalformedAnswer(Exception):
    """Text that is not the JSON that was asked for."""


class UnknownSubtask(Exception):
    """A subtask that is no prompt of the policy."""


class PlanAnswer(NamedTuple):
    """What is to be done; ``subtask`` is empty unless ``status`` is ``next``."""

    status: Status
    subtask: str
    reason: str


def plan_schema(prompts: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of a plan's answer."""
    return _schema(
        {
            'status': {'type': 'string', 'enum': list(_STATUSES)},
            'subtask': {'type': ['string', 'null'], 'enum': [*prompts, None]},
            'reason': {'type': 'string'},
        }
    )


def judgement_schema() -> dict[str, Any]:
    """Return the JSON schema of a judgement."""
    return _schema(
        {
            'judgement': {'type': 'string', 'enum': list(JUDGEMENTS)},
            'reason': {'type': 'string'},
        }
    )


def read_plan(text: str, prompts: Sequence[str]) -> PlanAnswer:
    """Read the answer of a planning model.

    Args:
        text: What it said.
        prompts: Those that the policy knows.

    Raises:
        MalformedAnswer: It is not JSON of ``plan_schema``, or contradicts itself.
        UnknownSubtask: Its subtask is not among ``prompts``, to the letter.
    """
    fields = _fields(text, {'status', 'subtask', 'reason'})
    status, subtask, reason = (fields[key] for key in ('status', 'subtask', 'reason'))
    if type(status) is not str or status not in _STATUSES:
        raise MalformedAnswer(f'status {status!r}')
    if type(reason) is not str:
        raise MalformedAnswer(f'reason {reason!r}')
    if (status == 'next') != (subtask is not None):
        raise MalformedAnswer(f'status {status!r} with subtask {subtask!r}')
    if subtask is None:
        return PlanAnswer(_STATUSES[status], '', reason)
    if type(subtask) is not str:
        raise MalformedAnswer(f'subtask {subtask!r}')
    if subtask not in prompts:
        raise UnknownSubtask(repr(subtask))
    return PlanAnswer('next', subtask, reason)


def read_judgement(text: str) -> tuple[Literal['going_on', 'succeeded', 'failed'], str]:
    """Read a judgement: how the subtask stands, and why.

    Raises:
        MalformedAnswer: It is not JSON of ``judgement_schema``.
    """
    fields = _fields(text, {'judgement', 'reason'})
    judgement, reason = fields['judgement'], fields['reason']
    if type(judgement) is not str or judgement not in JUDGEMENTS or type(reason) is not str:
        raise MalformedAnswer(f'judgement {judgement!r}, reason {reason!r}')
    return JUDGEMENTS[judgement], reason


def _schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        'type': 'object',
        'properties': dict(properties),
        'required': list(properties),
        'additionalProperties': False,
    }


def _fields(text: str, keys: set[str]) -> dict[str, Any]:
    """Parse an object that has these keys, each once, and no others."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            msg = 'a key twice'
            raise MalformedAnswer(msg)
        return dict(pairs)

    try:
        fields = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise MalformedAnswer(text) from None
    if not isinstance(fields, dict) or set(fields) != keys:
        raise MalformedAnswer(text)
    return fields
