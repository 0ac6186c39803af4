"""The content of ``report.json``: what was evaluated, with what, and every figure."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.replay.comparison import compare
from pizero_ros.replay.jobs import Outcome, described
from pizero_ros.replay.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pizero_ros.replay.episode import Episode, Timing
    from pizero_ros.replay.jobs import Job

SCHEMA = 1
"""Of ``report.json``."""

_LIBRARIES = ('numpy', 'onnxruntime', 'onnxruntime-gpu', 'opencv-python-headless', 'rosbags')


@dataclass(frozen=True)
class Run:
    """What is said about a whole run.

    Attributes:
        command: Command line.
        created: When, ISO 8601.
        settings: As JSON values.
        embodiment: Name, file and digest.
        policies: Label, folder, digest and kind of each.
        timing: What the run cost, and on how many processes of which engine.
    """

    command: str
    created: str
    settings: Mapping[str, Any]
    embodiment: Mapping[str, Any]
    policies: Sequence[Mapping[str, Any]]
    timing: Mapping[str, Any]


def report_content(
    run: Run,
    finished: Sequence[Job],
    failed: Sequence[Outcome],
    load: Callable[[Job], Episode],
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, Any]:
    """Return the content of ``report.json``, as JSON values.

    All but ``command``, ``created``, ``versions`` and ``timing`` is the same whatever did the
    work.

    Args:
        run: What is said about the whole.
        finished: The episodes, in the order of the report.
        failed: The jobs without. An episode that cannot be read or summed up is listed behind
            them.
        load: Gives the episode of a job; one is in memory at a time.
        progress: Told the number of episodes that are done, and of all.
    """
    episodes, failed = [], list(failed)
    for done, job in enumerate(finished, start=1):
        try:
            episodes.append(_entry(job, load(job)))
        except Exception as error:  # One bad episode must not cost the report of all others.
            failed.append(Outcome(job, described(error)))
        progress(done, len(finished))
    return {
        'schema': SCHEMA,
        'command': run.command,
        'created': run.created,
        'versions': versions(),
        'settings': dict(run.settings),
        'embodiment': dict(run.embodiment),
        'policies': [dict(policy) for policy in run.policies],
        'episodes': episodes,
        'failed': [
            {'bag': each.job.bag, 'policy': each.job.policy, 'error': each.error}
            for each in failed
        ],
        'comparison': compare((each, each['summary']) for each in episodes),
        'timing': dict(run.timing),
    }


def versions() -> dict[str, str]:
    """Return the versions of what has a part in the figures and is installed."""
    found = {'python': platform.python_version()}
    for name in ('pizero_ros', *_LIBRARIES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _entry(job: Job, episode: Episode) -> dict[str, Any]:
    return {
        'bag': job.bag,
        'policy': job.policy,
        'key': job.key,
        'seconds': (episode.end_ns - episode.start_ns) * 1e-9,
        'prompt': episode.prompt,
        'action_source': episode.action_source,
        'summary': summarise(episode),
        'timing': _timing(episode.timing),
    }


def _timing(timing: Timing) -> dict[str, Any]:
    """Return what an episode cost; ``chunks_s`` can be given to ``--latency``.

    It has a value for each chunk. Of a phase that some chunks lack nothing tells which: its time
    is spread evenly over all of them.
    """
    phases = {name: np.asarray(each) for name, each in timing.phases_s.items() if len(each)}
    chunks_s = np.zeros(timing.chunks)
    for each in phases.values():
        chunks_s += each if len(each) == timing.chunks else each.sum() / timing.chunks
    return {
        'total_s': timing.total_s,
        'inference_s': timing.inference_s,
        'chunks': timing.chunks,
        'chunks_s': chunks_s.tolist() if phases else [],
        'phases_ms': {
            name: {
                f'p{percent}': float(np.percentile(each, percent)) * 1e3 for percent in (50, 95)
            }
            for name, each in phases.items()
        },
    }
