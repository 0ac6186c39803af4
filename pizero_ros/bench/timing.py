"""Times one policy by phase, for one size or for several that take turns."""

from __future__ import annotations

import resource
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.bench.inputs import noise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pizero_ros.bench.inputs import Around, Size
    from pizero_ros.policy.runtime import Policy

PERCENTILES = (50, 95, 99)
PHASES = (
    'preprocess',
    'vision',
    'prefix',
    'observe',
    'denoise step',
    'denoise',
    'postprocess',
    'whole',
    'chunk',
)
"""``observe`` is vision and prefix, ``denoise`` all steps, ``whole`` the model, ``chunk`` all."""

Times = dict[str, list[float]]
"""Phase → seconds of each time it ran; only phases that could be told apart."""


def measure(
    policy: Policy,
    sizes: Sequence[Size],
    surround: Around,
    runs: int,
    *,
    beside: Callable[[Size], object] | None = None,
    on_run: Callable[[], object] | None = None,
) -> dict[Size, Times]:
    """Time chunks; sizes take turns, so that a slow moment of the machine hits all alike.

    Args:
        policy: Warm for every size.
        sizes: What to time.
        surround: What comes before and after the model.
        runs: Chunks of each size.
        beside: Also timed after each chunk, under ``beside``: something to compare with.
        on_run: Called after each chunk, for a progress bar.

    Returns:
        Size → times.
    """
    start_noise = noise(policy.bundle)
    all_times: dict[Size, Times] = {size: {} for size in sizes}
    for _ in range(runs):
        for size in sizes:
            times = all_times[size]
            begin = time.perf_counter()
            inputs, before_s = surround.before(size)
            ready = time.perf_counter()
            result = policy.infer(inputs, start_noise, size.steps)
            inferred = time.perf_counter()
            after_s = surround.after(result.actions)
            end = time.perf_counter()
            for name, seconds in result.durations_s.items():
                times.setdefault(name, []).append(seconds)
            times.setdefault('denoise step', []).extend(result.steps_s)
            times.setdefault('whole', []).append(inferred - ready)
            if before_s is not None and after_s is not None:
                times.setdefault('preprocess', []).append(before_s)
                times.setdefault('postprocess', []).append(after_s)
                times.setdefault('chunk', []).append(end - begin)
            if beside is not None:
                start = time.perf_counter()
                beside(size)
                times.setdefault('beside', []).append(time.perf_counter() - start)
            if on_run is not None:
                on_run()
    return all_times


def warm_up(policy: Policy, sizes: Sequence[Size], surround: Around) -> tuple[float, ...]:
    """Run every size until it is as fast as it will be.

    Returns:
        Seconds of the runs of the first size, in order.
    """
    first: tuple[float, ...] = ()
    for size in sizes:
        seconds = policy.warm_up(size.cameras, size.tokens)
        first = first or seconds
        policy.infer(surround.before(size)[0], noise(policy.bundle), size.steps)
    return first


def percentiles_ms(times: Times) -> dict[str, dict[str, float]]:
    """Return phase → ``p50``, ``p95``, ``p99`` in milliseconds, in the order of ``PHASES``."""
    names = [name for name in PHASES if times.get(name)]
    names += [name for name in times if name not in PHASES]
    return {name: _percentiles(times[name]) for name in names}


def medians_ms(latency_ms: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return phase → median of what ``percentiles_ms`` returned."""
    return {name: row['p50'] for name, row in latency_ms.items()}


def peak_bytes() -> int:
    """Return this process's peak of resident memory; Linux counts kibibytes, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def _percentiles(times_s: list[float]) -> dict[str, float]:
    values = np.percentile(times_s, PERCENTILES) * 1e3
    return {
        f'p{percent}': float(value) for percent, value in zip(PERCENTILES, values, strict=True)
    }
