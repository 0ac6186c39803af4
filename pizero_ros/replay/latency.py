"""How long inference takes on the robot that an evaluation imagines."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pizero_ros.errors import PizeroError

DEFAULT = '100ms'

_NORMAL_P95 = 1.6448536269514722
"""95th percentile of the standard normal distribution."""

_SPAN = re.compile(r'(\d+(?:\.\d+)?)\s*(ms|s)')


class LatencyError(PizeroError):
    """A latency that cannot be read."""


@dataclass(frozen=True)
class Latency:
    """A distribution of times from observation to finished chunk.

    Attributes:
        words: What it is, for the report.
        p50_s: Median of a log-normal distribution.
        p95_s: Its 95th percentile; equal to ``p50_s`` for a constant.
        samples_s: Measured latencies to draw from instead, if any.
    """

    words: str
    p50_s: float
    p95_s: float
    samples_s: tuple[float, ...] = ()

    def draw(self, generator: np.random.Generator) -> int:
        """Return one latency in nanoseconds."""
        if self.samples_s:
            return round(1e9 * float(generator.choice(np.array(self.samples_s))))
        spread = math.log(self.p95_s / self.p50_s) / _NORMAL_P95
        return round(1e9 * self.p50_s * math.exp(spread * float(generator.standard_normal())))


def read_latency(text: str) -> Latency:
    """Read what a user says about latency.

    Args:
        text: ``80ms`` (constant); ``60ms:120ms`` (median and 95th percentile of a log-normal
            distribution); or a JSON file: a list of seconds, or a report of ``pizero replay``,
            whose measured chunks are drawn from.

    Raises:
        LatencyError: If it is none of these.
    """
    path = Path(text)
    if path.suffix == '.json' or path.is_file():
        samples = _samples(path)
        median, p95 = (float(value) for value in np.percentile(samples, (50, 95)))
        words = f'{len(samples)} measured in {path.name}, p50 {1e3 * median:.1f} ms'
        return Latency(words, median, p95, tuple(samples))
    spans = [_SPAN.fullmatch(part.strip()) for part in text.split(':')]
    known = [float(span[1]) * (1e-3 if span[2] == 'ms' else 1.0) for span in spans if span]
    if len(known) != len(spans) or len(known) not in (1, 2) or not 0.0 < known[0] <= known[-1]:
        raise LatencyError.at(
            '--latency',
            '',
            found=repr(text),
            expected='80ms, or 60ms:120ms (median and 95th percentile), or a JSON file',
        )
    if len(known) == 1:
        return Latency(f'{1e3 * known[0]:g} ms', known[0], known[0])
    words = f'log-normal, p50 {1e3 * known[0]:g} ms, p95 {1e3 * known[1]:g} ms'
    return Latency(words, known[0], known[1])


def _samples(path: Path) -> list[float]:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise LatencyError.at(
            path, '', found=str(error), expected='a JSON file of latencies'
        ) from None
    if isinstance(content, dict):
        episodes = content.get('episodes', [])
        content = [s for each in episodes for s in each.get('timing', {}).get('chunks_s', [])]
    if not isinstance(content, list) or not content or not all(map(_positive, content)):
        raise LatencyError.at(
            path,
            '',
            found='no list of latencies',
            expected='a list of seconds above 0, or a report.json of pizero replay',
        )
    return [float(value) for value in content]


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and 0.0 < value < math.inf
