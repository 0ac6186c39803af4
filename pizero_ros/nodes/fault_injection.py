"""Faults of inference itself, for tests of what a robot does then."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pizero_ros.errors import PizeroError
from pizero_ros.policy.predictor import ChunkPredictor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pizero_ros.policy.chunk import ActionChunk

LONGEST_LATENCY_S = 5.0
"""A node that ends waits 10 s for the inference under way."""

MESSAGE = 'raised by fault_injection'

_KEYS = {
    'latency': f'seconds above 0 and at most {LONGEST_LATENCY_S:g}',
    'latency_after': 'a number of inferences, 0 or more',
    'latency_count': 'a number of inferences, 1 or more',
    'raise_after': 'a number of inferences, 0 or more',
}


@dataclass(frozen=True)
class FaultInjection:
    """What goes wrong with inference, counted over the life of one configured node.

    Attributes:
        latency_s: Time that an inference takes longer.
        latency_after: Inferences before the first slow one.
        latency_count: Number of slow ones, None for all that follow.
        raise_after: Inferences before the one that raises, None for no such thing. The one after
            it works again.
    """

    latency_s: float = 0.0
    latency_after: int = 0
    latency_count: int | None = None
    raise_after: int | None = None

    def __bool__(self) -> bool:
        """Tell whether anything goes wrong."""
        return self.latency_s > 0.0 or self.raise_after is not None

    def latency(self, index: int) -> float:
        """Return how much longer inference ``index`` (from 0) takes, in s."""
        past = index - self.latency_after
        count = self.latency_count
        slow = past >= 0 and (count is None or past < count)
        return self.latency_s if slow else 0.0


class FaultyPredictor(ChunkPredictor):
    """The real predictor, late or failing as told."""

    def __init__(self, faults: FaultInjection, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of ``ChunkPredictor`` after the faults."""
        super().__init__(*args, **kwargs)
        self._faults = faults
        self._inferences = 0

    def __call__(self, *args: Any, **kwargs: Any) -> ActionChunk:
        """Predict as ``ChunkPredictor`` does.

        Raises:
            RuntimeError: If it is the turn of the inference that raises.
        """
        index, self._inferences = self._inferences, self._inferences + 1
        if index == self._faults.raise_after:
            raise RuntimeError(MESSAGE)
        latency_s = self._faults.latency(index)
        if not latency_s:
            return super().__call__(*args, **kwargs)
        time.sleep(latency_s)
        chunk = super().__call__(*args, **kwargs)
        # As from a slower model, so that deadlines and percentiles count it.
        slower = {**chunk.durations_s, 'denoise': chunk.durations_s['denoise'] + latency_s}
        return replace(chunk, durations_s=slower)


def parse_injection(texts: Iterable[str], where: str) -> FaultInjection:
    """Read ``key=number`` texts; empty ones are left out.

    Args:
        texts: For example ``latency=0.3`` and ``raise_after=5``.
        where: Node to name in errors.

    Returns:
        What they ask for.

    Raises:
        PizeroError: A text is not a known key with a number in range, a key is given twice, or
            says something about a latency that is not given.
    """
    found: dict[str, float] = {}
    for text in filter(None, texts):
        key, _, amount = text.partition('=')
        if key not in _KEYS or key in found:
            expected = f'each of {", ".join(_KEYS)} at most once, as key=number'
            raise _wrong(where, text, expected)
        try:
            value = float(amount) if key == 'latency' else int(amount)
        except ValueError:
            raise _wrong(where, text, _KEYS[key]) from None
        within = 0.0 < value <= LONGEST_LATENCY_S if key == 'latency' else value >= 0
        if not within or (key == 'latency_count' and not value):
            raise _wrong(where, text, _KEYS[key])
        found[key] = value
    if 'latency' not in found and found.keys() - {'raise_after'}:
        raise _wrong(where, ', '.join(found), 'latency=seconds beside it')
    return FaultInjection(
        latency_s=found.get('latency', 0.0),
        latency_after=int(found.get('latency_after', 0)),
        latency_count=int(found['latency_count']) if 'latency_count' in found else None,
        raise_after=int(found['raise_after']) if 'raise_after' in found else None,
    )


def _wrong(where: str, text: str, expected: str) -> PizeroError:
    return PizeroError.at(where, 'fault_injection', found=repr(text), expected=expected)
