"""Episodes on disk: bit for bit, complete or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from episodes import COLUMNS, make_episode

from pizero_ros.replay.episode import (
    ChunkFate,
    Deployed,
    Episode,
    Happening,
    Inputs,
    OpenLoop,
    Seam,
    StreamInput,
    Timing,
)
from pizero_ros.replay.saved import SavedEpisodeError, load, remove_unfinished, save


def identical(one, other):
    """Compare bit for bit: signs of zero, NaNs, types of arrays, order of mappings."""
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    if is_dataclass(one):
        return type(one) is type(other) and all(
            identical(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)
        )
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(identical(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return (
            isinstance(other, tuple) and len(one) == len(other) and all(map(identical, one, other))
        )
    if isinstance(one, float):
        return (
            type(one) is type(other) and np.float64(one).tobytes() == np.float64(other).tobytes()
        )
    return type(one) is type(other) and one == other


def random_episode(seed):
    """An episode whose every value is drawn, with NaNs, infinities and negative zeros."""
    draw = np.random.default_rng(seed)
    texts = ('', 'arm', 'Bewegung über 3 µm', '#', '__float__', 'a/b\n"c"', '__array__')

    def reals(*shape):
        values = draw.standard_normal(shape) * 10.0 ** draw.integers(-300, 300, shape)
        special = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324])
        return np.where(draw.random(shape) < 0.2, draw.choice(special, shape), values)

    def moments(*shape):
        return draw.integers(-(2**62), 2**62, shape)

    def integer():
        return int(moments())

    def text():
        return str(draw.choice(texts))

    def counts():
        return {text(): int(draw.integers(9)) for _ in range(draw.integers(4))}

    def joints():
        return {column.name: float(reals()) for column in COLUMNS.columns}

    q, h, j, t, n = (int(each) for each in draw.integers(0, 6, 5))
    recorded = reals(q, h, j)

    def deployed():
        return Deployed(
            time_ns=moments(t),
            commanded=reals(t, j),
            recorded=reals(t, j),
            moving=draw.random(t) < 0.5,
            chunks=tuple(
                ChunkFate(integer(), integer(), integer(), text(), 1, 2, 3) for _ in range(n)
            ),
            actions=reals(n, h, j),
            seams=tuple(Seam(integer(), text(), joints(), joints()) for _ in range(n)),
            happenings=tuple(Happening(integer(), text(), text(), text()) for _ in range(n)),
            gate_counts=counts(),
            trajectories_sent=integer(),
            trajectories_rejected=counts(),
            starvations=integer(),
            observations_refused=integer(),
            deadlines_missed=integer(),
        )

    sources = ('pi0#0', 'pi0#1', 'hold')
    return Episode(
        bag=text(),
        embodiment=text(),
        policy=text(),
        rate_hz=float(draw.random()),
        horizon=h,
        prompt=text(),
        start_ns=integer(),
        end_ns=integer(),
        columns=COLUMNS,
        action_source=text(),
        open_loop={
            name: OpenLoop(moments(q), moments(q), reals(q, h, j), recorded) for name in sources
        },
        deployed={name: deployed() for name in sources[: draw.integers(4)]},
        inputs=Inputs(
            tuple(StreamInput(text(), 'camera', *range(6), text()) for _ in range(n)),
            reals(q),
            reals(q),
            reals(q),
            counts(),
        ),
        timing=Timing(float(reals()), 1.5, {text(): reals(n)}, n),
    )


@pytest.mark.parametrize('seed', range(40))
def test_random_episode_comes_back_bit_for_bit(tmp_path, seed):
    episode = random_episode(seed)
    save(episode, tmp_path / 'deep' / 'key')
    assert identical(load(tmp_path / 'deep' / 'key'), episode)


def test_comparison_of_this_test_sees_a_single_bit(tmp_path):
    episode = make_episode()
    save(episode, tmp_path / 'key')
    loaded = load(tmp_path / 'key')
    assert identical(loaded, episode)
    loaded.open_loop['hold'].predicted.view(np.uint64)[3, 2, 1] ^= 1
    assert not identical(loaded, episode)


def test_file_is_strict_json_and_equal_arrays_are_kept_once(tmp_path):
    save(random_episode(1), tmp_path / 'key')

    def refuse(constant):
        raise AssertionError(constant)

    json.loads((tmp_path / 'key/episode.json').read_text(), parse_constant=refuse)

    save(make_episode(), tmp_path / 'full')
    each = make_episode().open_loop['hold'].recorded.nbytes
    total = sum(s.predicted.nbytes + s.recorded.nbytes for s in make_episode().open_loop.values())
    deployed = sum(
        getattr(d, name).nbytes
        for d in make_episode().deployed.values()
        for name in ('commanded', 'recorded', 'actions')
    )
    # `recording` predicts what is recorded, so 1 of 12 arrays is left of 7.
    assert (tmp_path / 'full/episode.npz').stat().st_size < total + deployed - 5 * each


def test_saving_again_replaces(tmp_path):
    save(make_episode(error=0.1), tmp_path / 'key')
    save(make_episode(error=0.2), tmp_path / 'key')
    assert identical(load(tmp_path / 'key'), make_episode(error=0.2))
    assert [each.name for each in tmp_path.iterdir()] == ['key']


def test_another_schema_is_refused(tmp_path):
    save(make_episode(), tmp_path / 'key')
    path = tmp_path / 'key/episode.json'
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2', 1))
    with pytest.raises(SavedEpisodeError, match='schema: found 2, expected 1'):
        load(tmp_path / 'key')


def test_absent_episode_is_refused(tmp_path):
    with pytest.raises(SavedEpisodeError, match='FileNotFoundError'):
        load(tmp_path / 'key')


@pytest.mark.parametrize('name', ['episode.json', 'episode.npz'])
@pytest.mark.parametrize('kept', [0.0, 0.3, 0.99])
def test_truncated_file_is_refused(tmp_path, name, kept):
    save(make_episode(), tmp_path / 'key')
    path = tmp_path / 'key' / name
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(SavedEpisodeError, match='an evaluated episode'):
        load(tmp_path / 'key')


def test_flipped_bit_in_the_arrays_is_refused(tmp_path):
    save(make_episode(), tmp_path / 'key')
    path = tmp_path / 'key/episode.npz'
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(SavedEpisodeError, match='CRC'):
        load(tmp_path / 'key')


def test_field_that_is_missing_is_refused(tmp_path):
    save(make_episode(), tmp_path / 'key')
    path = tmp_path / 'key/episode.json'
    values = json.loads(path.read_text())
    del values['deployed']['hold']['starvations']
    path.write_text(json.dumps(values))
    with pytest.raises(SavedEpisodeError, match='starvations'):
        load(tmp_path / 'key')


def test_arrays_of_objects_cannot_be_saved(tmp_path):
    episode = make_episode()
    timing = replace(episode.timing, phases_s={'observe': np.array([None])})
    with pytest.raises(ValueError, match='object'):
        save(replace(episode, timing=timing), tmp_path / 'key')
    assert not (tmp_path / 'key').exists()
    remove_unfinished(tmp_path)
    assert not list(tmp_path.iterdir())
