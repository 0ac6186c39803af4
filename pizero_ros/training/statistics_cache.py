"""Statistics that were measured already: the same samples with the same meaning, once."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pizero_ros.processing.spec import Statistics
from pizero_ros.training import statistics
from pizero_ros.training.cache import not_written
from pizero_ros.training.statistics import Fitted, Still, fit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pizero_ros.processing.spec import RobotSemantics
    from pizero_ros.training.demonstrations import Demonstrations

_VECTORS = ('mean', 'std', 'q01', 'q99')


def fit_once(
    pairs: Sequence[Demonstrations],
    means: RobotSemantics,
    still: Collection[str],
    cache: Path,
    *,
    progress: Callable[[float], None],
    tell: Callable[[str], None],
) -> Fitted:
    """Return ``statistics.fit`` of the same arguments, from the cache if it is there.

    Args:
        pairs: Samples of one robot.
        means: What its values mean.
        still: Joints that are known not to move.
        cache: Folder in which the result is kept; exists.
        progress: Told the share that is done, 0 to 1.
        tell: Told that a damaged file is made anew.

    Raises:
        DatasetError: As ``fit``, or if the result cannot be written.
    """
    key = _key(pairs, means, still)
    path = cache / f'statistics-{means.embodiment}-{key[:16]}.json'
    if path.exists():
        try:
            fitted = _read(json.loads(path.read_text(encoding='utf-8')), key, means)
        except (OSError, ValueError, KeyError, TypeError) as error:
            tell(f'{path} is measured anew: {type(error).__name__}: {error}')
        else:
            progress(1.0)
            return fitted
    fitted = fit(pairs, means, still=still, progress=progress)
    beside = path.with_name(f'.{path.name}-{uuid.uuid4().hex[:8]}')
    try:
        beside.write_text(json.dumps(_values(fitted, key), indent=1), encoding='utf-8')
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise not_written(path, error) from error
    return fitted


def _key(pairs: Sequence[Demonstrations], means: RobotSemantics, still: Collection[str]) -> str:
    content = {
        'code': Path(statistics.__file__).read_text(encoding='utf-8'),
        'samples': [[each.digest for each in pair.episodes] for pair in pairs],
        'still': sorted(still),
        'normalization': means.normalization,
        'eps': means.eps,
        'relative': means.relative.tolist(),
        'signs': None if means.signs is None else means.signs.tolist(),
        'grippers': [asdict(g) for g in (*means.state_grippers, *means.action_grippers)],
        'split': len(means.state_grippers),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _values(fitted: Fitted, key: str) -> dict[str, Any]:
    values = {
        'key': key,
        'samples': fitted.samples,
        'state': _lists(fitted.semantics.state),
        'action': _lists(fitted.semantics.action),
        'still': [asdict(each) for each in fitted.still],
    }
    return {**values, 'sha256': _seal(values)}


def _seal(values: Mapping[str, Any]) -> str:
    """One flipped digit of a statistic must not pass."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _lists(found: Statistics) -> dict[str, list[float] | None]:
    arrays = {name: getattr(found, name) for name in _VECTORS}
    return {name: None if each is None else each.tolist() for name, each in arrays.items()}


def _read(values: Mapping[str, Any], key: str, means: RobotSemantics) -> Fitted:
    if values['key'] != key:
        msg = f'made from something else ({values["key"]})'
        raise ValueError(msg)
    if values['sha256'] != _seal({k: v for k, v in values.items() if k != 'sha256'}):
        msg = 'altered'
        raise ValueError(msg)
    state, action = (
        Statistics(*(None if v[n] is None else np.array(v[n], np.float64) for n in _VECTORS))
        for v in (values['state'], values['action'])
    )
    still = tuple(Still(**each) for each in values['still'])
    return Fitted(replace(means, state=state, action=action), still, int(values['samples']))
