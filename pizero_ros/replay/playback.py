"""When each message of a recording is due: rate, loops, start offset, pause and single steps."""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import chain, groupby
from typing import TYPE_CHECKING, NamedTuple

from pizero_ros.errors import BagError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from pizero_ros.replay.bag import Bag, RawMessage

LATCHED_DEPTH = 100
"""Messages of a latched topic that somebody who comes late still hears."""

_POLL_S = 0.1
"""How often a waiting playback looks whether it is to end."""


class Moment(NamedTuple):
    """Everything that was recorded at one time stamp; played as a whole."""

    time_ns: int
    messages: tuple[RawMessage, ...]


def start_of(bag: Bag, offset_s: float) -> int:
    """Return the time at which a playback with an offset starts, ns.

    Args:
        bag: The recording.
        offset_s: How far behind its first message, s.

    Raises:
        BagError: If the recording ends before.
    """
    start_ns = bag.start_ns + round(offset_s * 1e9)
    if not bag.start_ns <= start_ns <= bag.end_ns:
        length_s = (bag.end_ns - bag.start_ns) * 1e-9
        raise BagError.at(
            bag.path,
            'start_offset_s',
            found=f'{offset_s:g} s',
            expected=f'0 to {length_s:.3f} s, the length of the recording',
        )
    return start_ns


def moments(
    bag: Bag, topics: Collection[str], latched: Collection[str], start_ns: int
) -> Iterator[Moment]:
    """Read a recording moment by moment.

    Args:
        bag: The recording.
        topics: Topics to read.
        latched: Those of them whose messages stay valid: what was recorded before ``start_ns``
            comes first, at ``start_ns``.
        start_ns: Where to start.

    Yields:
        Moments in the order of time.
    """
    standing = _standing(bag, latched, start_ns) if latched else []
    messages = chain(standing, bag.messages(topics, start_ns))
    for time_ns, together in groupby(messages, key=lambda message: message.time_ns):
        yield Moment(time_ns, tuple(together))


def _standing(bag: Bag, latched: Collection[str], start_ns: int) -> list[RawMessage]:
    """Return what a subscriber that comes at ``start_ns`` would be given, stamped with that."""
    kept: dict[str, deque[RawMessage]] = {n: deque(maxlen=LATCHED_DEPTH) for n in latched}
    for message in bag.messages(latched):
        if message.time_ns >= start_ns:
            break
        kept[message.topic].append(message)
    found = sorted((m for each in kept.values() for m in each), key=lambda m: m.time_ns)
    return [message._replace(time_ns=start_ns) for message in found]


class Playback:
    """A recording's own clock: it runs at a rate, stands still, or goes on by single moments.

    ``play`` occupies one thread and calls ``show`` and ``send`` in it; any other thread may call
    ``pause`` and ``step``.

    Attributes:
        loops: How often the end was reached.
        latest_late_s: Longest time by which a message was sent later than it was due.
    """

    def __init__(
        self,
        source: Callable[[], Iterable[Moment]],
        start_ns: int,
        *,
        rate: float,
        tick_s: float,
        show: Callable[[int], None],
        send: Callable[[RawMessage], None],
        stop: threading.Event,
        paused: bool = False,
    ) -> None:
        """Prepare; nothing is read or sent before ``play``.

        Args:
            source: Opens the recording at its start; called once a loop.
            start_ns: Time on the clock at the start of each loop.
            rate: Seconds of the recording that pass in a second.
            tick_s: Time between calls of ``show`` while no message is due.
            show: Takes the time on the clock, ns.
            send: Takes a message when it is due.
            stop: Set from outside to end the playback early.
            paused: Whether to start with the clock standing.
        """
        self.loops = 0
        self.latest_late_s = 0.0
        self._source = source
        self._start_ns = start_ns
        self._rate = rate
        self._tick_s = tick_s
        self._show_time = show
        self._send = send
        self._stop = stop
        self._changed = threading.Condition()
        self._paused = paused
        self._playing = False
        self._step_wanted = False
        self._stepped: Moment | None = None
        self._anchor_s = 0.0
        self._anchor_ns = self._shown_ns = start_ns
        self._next_tick_s = 0.0

    @property
    def at_ns(self) -> int:
        """Time that the clock showed last."""
        return self._shown_ns

    def play(self, *, loop: bool) -> None:
        """Send every message when it is due; return at the end, or when told to stop.

        A paused playback stays at its end until it is resumed.

        Args:
            loop: Start again at the end, with the clock set back.

        Raises:
            BagError: If a loop has no duration, or the recording cannot be read.
        """
        with self._changed:
            self._playing = True
        try:
            while self._play_once():
                self.loops += 1
                if not loop:
                    self._rest()
                    return
                if self._shown_ns == self._start_ns:
                    raise BagError.at(
                        'loop',
                        '',
                        found='a recording in which no time passes',
                        expected='messages of different times, to be played over and over',
                    )
        finally:
            with self._changed:
                self._playing = False
                self._changed.notify_all()

    def pause(self, on: bool) -> None:
        """Let the clock stand still, or go on from where it stands."""
        with self._changed:
            if on != self._paused:
                self._anchor(self._now_ns() if on else self._anchor_ns)
            self._paused = on
            self._changed.notify_all()

    def step(self) -> Moment:
        """Send the next moment of a paused playback, with the clock set to it.

        Returns:
            What was sent.

        Raises:
            BagError: If the playback runs, has not begun, or is at its end.
        """
        with self._changed:
            if not self._paused:
                raise _no_step(
                    'a playback that runs', 'a paused one', 'Call ~/pause first, with data: true.'
                )
            if not self._playing:
                raise _no_step('a playback that waits for its listeners', 'one that has begun')
            moment = self._ask_for_step()
            if moment is None:
                raise _no_step('the end of the recording', 'a message that is left')
            return moment

    def _ask_for_step(self) -> Moment | None:
        self._stepped, self._step_wanted = None, True
        self._changed.notify_all()
        while self._step_wanted and self._playing and not self._stop.is_set():
            self._changed.wait(_POLL_S)
        self._step_wanted = False
        return self._stepped

    def _play_once(self) -> bool:
        """Play to the end; return whether it was reached."""
        opened = False
        for moment in self._source():
            if not opened:  # Finding the start of a long recording takes time of its own.
                with self._changed:
                    self._anchor(self._start_ns)
                opened = True
            if not self._reach(moment.time_ns):
                return False
            for message in moment.messages:
                if self._stop.is_set():
                    return False
                self._send(message)
                self._note_late(moment.time_ns)
            with self._changed:
                if self._step_wanted:
                    self._stepped, self._step_wanted = moment, False
                    self._changed.notify_all()
        return not self._stop.is_set()

    def _reach(self, time_ns: int) -> bool:
        """Wait until a moment is due or wanted, and show its time; False to stop."""
        with self._changed:
            while not self._stop.is_set():
                now_ns = self._now_ns()
                if self._paused:
                    if self._step_wanted:
                        self._anchor(time_ns)
                        self._show(time_ns)
                        return True
                    self._stand()
                elif now_ns >= time_ns:
                    self._show(time_ns)
                    return True
                else:
                    self._tick(now_ns)
                    self._wait((time_ns - now_ns) * 1e-9 / self._rate)
        return False

    def _rest(self) -> None:
        """Stay at the end while paused; there is nothing left to step to."""
        with self._changed:
            while self._paused and not self._stop.is_set():
                self._step_wanted = False
                self._changed.notify_all()
                self._stand()

    def _stand(self) -> None:
        """Keep showing the time that was shown last: who comes late needs it."""
        self._tick(self._shown_ns)
        self._wait(_POLL_S)

    def _wait(self, seconds: float) -> None:
        self._changed.wait(min(seconds, self._tick_s, _POLL_S))

    def _now_ns(self) -> int:
        """Return the time on the running clock."""
        return self._anchor_ns + round((time.monotonic() - self._anchor_s) * self._rate * 1e9)

    def _anchor(self, time_ns: int) -> None:
        """Let the clock run from ``time_ns``, or stand there while paused."""
        self._anchor_s, self._anchor_ns = time.monotonic(), time_ns

    def _tick(self, now_ns: int) -> None:
        if time.monotonic() >= self._next_tick_s:
            self._show(now_ns)

    def _show(self, time_ns: int) -> None:
        self._shown_ns = time_ns
        self._next_tick_s = time.monotonic() + self._tick_s
        self._show_time(time_ns)

    def _note_late(self, time_ns: int) -> None:
        if not self._paused:
            late_s = (self._now_ns() - time_ns) * 1e-9 / self._rate
            self.latest_late_s = max(self.latest_late_s, late_s)


def _no_step(found: str, expected: str, remedy: str = '') -> Exception:
    return BagError.at('~/step', '', found=found, expected=expected, remedy=remedy)
