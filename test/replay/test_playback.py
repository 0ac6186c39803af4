"""The clock of a playback: order, rate, pause, steps, offset and loops, without ROS."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pytest
from bags import PERIOD_NS, START_NS, Types, demonstration, write
from rosbags.rosbag2 import StoragePlugin

from pizero_ros.errors import BagError
from pizero_ros.replay.bag import RawMessage, open_bag
from pizero_ros.replay.playback import Moment, Playback, moments, start_of

SECOND = 1_000_000_000


def message(time_ns, topic='/a'):
    return RawMessage(topic, 'std_msgs/msg/String', time_ns, b'')


def recording(*times_ns):
    return [Moment(at, (message(at), message(at, '/b'))) for at in times_ns]


class Stage:
    """A playback of given moments in a thread; keeps what it shows and sends, in order."""

    def __init__(self, source, *, start_ns=0, rate=1000.0, paused=False):
        self.events = []
        self.stop = threading.Event()
        self.playback = Playback(
            lambda: source,
            start_ns,
            rate=rate,
            tick_s=0.001,
            show=lambda at: self.events.append(('show', at)),
            send=lambda m: self.events.append(('send', m.time_ns, m.topic)),
            stop=self.stop,
            paused=paused,
        )
        self.error = None

    @contextmanager
    def playing(self, *, loop=False):
        thread = threading.Thread(target=self._play, args=(loop,))
        thread.start()
        try:
            yield thread
        finally:
            self.stop.set()
            thread.join(10)
            assert not thread.is_alive()

    def _play(self, loop):
        try:
            self.playback.play(loop=loop)
        except BagError as error:
            self.error = error

    @property
    def shown(self):
        return [event[1] for event in list(self.events) if event[0] == 'show']

    @property
    def sent(self):
        return [event[1:] for event in list(self.events) if event[0] == 'send']

    def step(self):
        """Step once the playback has begun, which it shows."""
        until(lambda: self.shown)
        return self.playback.step()


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_each_moment_is_shown_before_it_is_sent_and_time_never_goes_back():
    stage = Stage(recording(0, SECOND, 3 * SECOND), rate=100.0)
    with stage.playing() as thread:
        thread.join(10)
    assert stage.sent == [(at, t) for at in (0, SECOND, 3 * SECOND) for t in ('/a', '/b')]
    for at, topic in stage.sent:
        assert ('show', at) in stage.events[: stage.events.index(('send', at, topic))]
    assert stage.shown == sorted(stage.shown)
    assert len(stage.shown) > 6  # It ticks between moments.
    assert stage.playback.loops == 1


def test_nothing_passes_while_paused_and_a_step_sends_one_whole_moment():
    stage = Stage(recording(5, SECOND, 3 * SECOND), paused=True)
    with stage.playing():
        until(lambda: len(stage.shown) > 5)
        assert (stage.sent, set(stage.shown)) == ([], {0})
        stepped = stage.step()
        assert (stepped.time_ns, len(stepped.messages)) == (5, 2)
        assert stage.sent == [(5, '/a'), (5, '/b')]
        shown = len(stage.shown)
        until(lambda: len(stage.shown) > shown + 5)
        assert set(stage.shown[shown:]) == {5}
        assert stage.step().time_ns == SECOND
        assert stage.playback.at_ns == SECOND


def test_paused_playback_goes_on_from_where_it_stands():
    stage = Stage(recording(0, 10 * SECOND, 10 * SECOND + 1, 11 * SECOND), rate=50.0)
    with stage.playing() as thread:
        until(lambda: stage.playback.at_ns > SECOND)
        stage.playback.pause(on=True)
        stands = stage.playback.at_ns
        shown = len(stage.shown)
        until(lambda: len(stage.shown) > shown + 20)
        assert set(stage.shown[shown:]) == {stands}
        stage.playback.pause(on=False)
        thread.join(10)
        assert stage.shown == sorted(stage.shown)
        assert len({at for at in stage.shown if stands < at < 10 * SECOND}) > 5
        assert len(stage.sent) == 8


def test_second_pause_and_resume_while_running_change_nothing():
    stage = Stage(recording(0, 2 * SECOND), rate=20.0)
    with stage.playing() as thread:
        until(lambda: stage.playback.at_ns > SECOND)
        stage.playback.pause(on=False)
        thread.join(10)
    assert stage.shown == sorted(stage.shown)
    assert len(stage.sent) == 4


def test_step_is_refused_where_there_is_none():
    stage = Stage(recording(0, SECOND))
    with pytest.raises(BagError, match='found a playback that runs'):
        stage.playback.step()
    stage.playback.pause(on=True)
    with pytest.raises(BagError, match='has begun'):
        stage.playback.step()
    with stage.playing() as thread:
        assert [stage.step().time_ns for _ in range(2)] == [0, SECOND]
        with pytest.raises(BagError, match='found the end of the recording'):
            stage.playback.step()
        assert thread.is_alive()  # It stays at the end until it is resumed.
        stage.playback.pause(on=False)
        thread.join(10)
        assert not thread.is_alive()
    assert stage.playback.loops == 1


def test_loop_starts_again_and_stands_still_at_its_end_while_paused():
    stage = Stage(recording(7, SECOND), start_ns=3, paused=True, rate=50.0)
    with stage.playing(loop=True):
        assert [stage.step().time_ns for _ in range(2)] == [7, SECOND]
        shown = len(stage.shown)
        until(lambda: len(stage.shown) > shown + 5)
        assert set(stage.shown[shown:]) == {SECOND}
        assert stage.step().time_ns == 7
        shown = len(stage.shown)
        stage.playback.pause(on=False)
        until(lambda: stage.playback.loops >= 4)
    # Not in one burst: each loop lasts as long as the recording.
    assert len({at for at in stage.shown[shown:] if 7 < at < SECOND}) > 1
    assert [at for at, topic in stage.sent if topic == '/a'][:6] == [7, SECOND] * 3


def test_loop_in_which_no_time_passes_is_refused():
    stage = Stage(recording(0))
    with stage.playing(loop=True) as thread:
        thread.join(10)
    assert 'found a recording in which no time passes' in str(stage.error)


def test_stop_ends_a_playback_that_waits_or_stands():
    for paused in (False, True):
        stage = Stage(recording(0, 10**6 * SECOND), paused=paused, rate=1.0)
        with stage.playing():
            until(lambda stage=stage: stage.shown)
        assert stage.playback.loops == 0


@pytest.fixture(scope='module', params=['SQLITE3', 'MCAP'])
def bag(request, tmp_path_factory):
    path = tmp_path_factory.mktemp('bag') / 'bag'
    messages = [*demonstration(6)]
    late = START_NS + 2 * PERIOD_NS + 1
    messages.append(('/instruction', 'std_msgs/msg/String', late, Types().text('now the cup')))
    messages.sort(key=lambda each: each[2])
    write(path, messages, storage=StoragePlugin[request.param])
    with open_bag(path) as opened:
        yield opened


def test_moments_hold_everything_in_order(bag):
    found = list(moments(bag, list(bag.topics), ['/instruction'], bag.start_ns))
    assert [each for moment in found for each in moment.messages] == list(bag.messages())
    times = [moment.time_ns for moment in found]
    assert times == sorted(set(times))
    assert len(found[0].messages) == 6


@pytest.mark.parametrize('offset_s', [0.06, 0.15, 0.25])
def test_offset_leaves_out_what_was_before_but_for_what_stays_valid(bag, offset_s):
    start_ns = start_of(bag, offset_s)
    assert start_ns == START_NS + round(offset_s * 1e9)
    first, *rest = moments(bag, list(bag.topics), ['/instruction'], start_ns)
    messages = [each for moment in (first, *rest) for each in moment.messages]
    expected = [each for each in bag.messages() if each.time_ns >= start_ns]
    assert messages[-len(expected) :] == expected
    standing = messages[: -len(expected)]
    before = [m for m in bag.messages(['/instruction']) if m.time_ns < start_ns]
    assert [each.raw for each in standing] == [each.raw for each in before]
    assert {each.time_ns for each in standing} == {start_ns} == {first.time_ns}
    assert sum(each.topic == '/instruction' for each in messages) == 2


def test_offset_outside_the_recording_is_refused(bag):
    assert start_of(bag, 0.25) == bag.end_ns
    for offset_s in (-0.1, 0.2501, 99.0):
        with pytest.raises(BagError, match=r'start_offset_s: .* expected 0 to 0\.250 s'):
            start_of(bag, offset_s)
