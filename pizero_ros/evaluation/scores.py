"""What trials say: success, progress and language following, and policies against each other.

Keys (``SHARE``: ``hits``, ``n``, ``share``, ``low``, ``high``; ``MEAN``: ``n``, ``mean``,
``low``, ``high``, both None for one trial; any is None where there is nothing to count)::

    schema        1
    trials        int
    confidence    0.95
    scores        list, one for each robot, policy, condition and number of steps, then one for
                  each of their tasks:
      embodiment, policy, condition, steps (int)
      task        None for all of them
      success     SHARE of trials in which every step was done in time, in order
      progress    MEAN of the judge's progress, 0 to 1
      followed    SHARE of trials in which every step that began went to the right object with the
                  right arm; one in which nothing was approached did not follow
      followed_of_approached     the same SHARE of trials in which something was approached
      first_step  SHARE in which the first step was done
      done_s      median time of those that succeeded, None if none did
      ended       REASON: int, of ``success``, ``time``, ``fault``, ``crash``
    pairs         list, one for each robot, condition and number of steps and two policies, and for
                  each robot, policy and two conditions: what differs is a and b; baselines are
                  not compared with each other
      embodiment, policy (None if those differ), condition (the same), steps, a, b
      success, progress, followed      MEAN of a - b over the scenes that both have
    timing        embodiment, policy: latency_p95_ms (largest of any trial, None without), trials,
                  held (trials with a hold), starvations, frames_skipped, messages_missing (sums)
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING, Any

from pizero_ros.evaluation.intervals import mean, share
from pizero_ros.evaluation.trial import BASELINES
from pizero_ros.replay.comparison import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Record = Mapping[str, Any]

SCHEMA = 1


def scores_of(records: Sequence[Record]) -> dict[str, Any]:
    """Return the keys above.

    Args:
        records: Trials, in any order; robots, policies and tasks are told in that of the records.
    """
    groups = _grouped(
        records, lambda r: (r['embodiment'], r['policy'], r['condition'], r['steps'])
    )
    scores = []
    for (embodiment, policy, condition, steps), found in groups.items():
        about = {
            'embodiment': embodiment,
            'policy': policy,
            'condition': condition,
            'steps': steps,
        }
        scores.append({**about, 'task': None, **_score(found)})
        by_task = _grouped(found, lambda r: r['task'])
        scores += [{**about, 'task': task, **_score(each)} for task, each in by_task.items()]
    return {
        'schema': SCHEMA,
        'trials': len(records),
        'confidence': CONFIDENCE,
        'scores': scores,
        'pairs': [*_policy_pairs(records), *_condition_pairs(records)],
        'timing': [
            {'embodiment': embodiment, 'policy': policy, **_timing(found)}
            for (embodiment, policy), found in _grouped(
                records, lambda r: (r['embodiment'], r['policy'])
            ).items()
        ],
    }


def broken(content: Mapping[str, Any]) -> int:
    """Count the trials that ended because a node failed, in what ``scores_of`` returned."""
    ends = [each['ended'] for each in content['scores'] if each['task'] is None]
    return sum(each.get(end, 0) for each in ends for end in ('fault', 'crash'))


def approached(record: Record) -> bool:
    """Tell whether a trial came near anything at all."""
    return any(each is not None for each in record['approached'])


def _score(records: Sequence[Record]) -> dict[str, Any]:
    n = len(records)
    near = [each for each in records if approached(each)]
    times = [each['done_s'] for each in records if each['done_s'] is not None]
    parts = {
        'success': share(sum(each['success'] for each in records), n),
        'progress': mean([each['progress'] for each in records]),
        'followed': share(sum(each['followed'] for each in records), n),
        'followed_of_approached': share(sum(each['followed'] for each in near), len(near)),
        'first_step': share(sum(each['steps_done'] > 0 for each in records), n),
    }
    return {
        **{name: None if part is None else part._asdict() for name, part in parts.items()},
        'done_s': round(median(times), 3) if times else None,
        'ended': dict(Counter(each['ended'] for each in records)),
    }


def _policy_pairs(records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    groups = _grouped(records, lambda r: (r['embodiment'], r['condition'], r['steps']))
    for (embodiment, condition, steps), found in groups.items():
        about = {
            'embodiment': embodiment,
            'policy': None,
            'condition': condition,
            'steps': steps,
        }
        yield from _pairs(found, 'policy', about)


def _condition_pairs(records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    groups = _grouped(records, lambda r: (r['embodiment'], r['policy'], r['steps']))
    for (embodiment, policy, steps), found in groups.items():
        about = {
            'embodiment': embodiment,
            'policy': policy,
            'condition': None,
            'steps': steps,
        }
        yield from _pairs(found, 'condition', about)


def _pairs(
    records: Sequence[Record], differs: str, about: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the differences of every two, on the scenes that both have."""
    by_name = {
        name: {(each['task'], each['seed']): each for each in found}
        for name, found in _grouped(records, lambda r: r[differs]).items()
    }
    for a, b in combinations(by_name, 2):
        both = [scene for scene in by_name[a] if scene in by_name[b]]
        if not both or {a, b} <= set(BASELINES):
            continue
        differences = {
            name: mean(
                [float(by_name[a][scene][name]) - float(by_name[b][scene][name]) for scene in both]
            )
            for name in ('success', 'progress', 'followed')
        }
        yield {
            **about,
            'a': a,
            'b': b,
            **{name: each._asdict() for name, each in differences.items() if each is not None},
        }


def _timing(records: Sequence[Record]) -> dict[str, Any]:
    latencies = [each['latency_ms']['p95'] for each in records if each.get('latency_ms')]
    counters = [each.get('counters', {}) for each in records]
    return {
        'trials': len(records),
        'latency_p95_ms': max(latencies, default=None),
        'held': sum(bool(each.get('holds')) for each in records),
        'starvations': sum(each.get('starvations', 0) for each in counters),
        'frames_skipped': sum(each['frames_skipped'] for each in records),
        'messages_missing': sum(each.get('messages_missing', 0) for each in records),
    }


def _grouped(records: Iterable[Record], key: Callable[[Record], Any]) -> dict[Any, list[Record]]:
    """Return key → records, in the order in which they come."""
    found: dict[Any, list[Record]] = {}
    for record in records:
        found.setdefault(key(record), []).append(record)
    return found
