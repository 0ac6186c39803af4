"""What stops a robot between its chunks: dead sensors, hung inference, arms gone astray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pizero_ros.control.following import FollowingWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pizero_ros.control.commander import Commander
    from pizero_ros.control.commands import Command
    from pizero_ros.control.latch import Latch
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.observation.assembler import ObservationAssembler


class Counters(Protocol):
    """Where a supervisor counts what it did."""

    observations_refused: int
    starvations: int


class Supervisor:
    """Looks after the robot at every control tick, and streams what is due then.

    Called by the executor's thread; ``late`` is set by the inference thread.

    Attributes:
        late: Why the last chunk came to nothing; told when the horizon runs out for it.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        assembler: ObservationAssembler,
        commander: Commander,
        latch: Latch,
        *,
        inference_timeout_s: float,
        replay: bool,
        publish: Callable[[Iterable[Command]], bool],
        because: Callable[[str, str], None],
    ) -> None:
        """Build a supervisor; ``start`` it before the first tick.

        Args:
            embodiment: The robot, with its own limits: a share of them is no reason to expect
                that the arms follow more closely.
            assembler: Knows the sensors.
            commander: Knows the commands.
            latch: Keeps the robot still after what it names.
            inference_timeout_s: Time after which an inference is given up.
            replay: Whether the sensors are a recording, whose arms follow nobody.
            publish: Publishes commands.
            because: Takes kind and text of why the robot holds.
        """
        self._assembler = assembler
        self._commander = commander
        self._latch = latch
        self._following = None if replay else FollowingWatch(embodiment)
        self._inference_timeout_s = inference_timeout_s
        self._publish = publish
        self._because = because
        self.late = ''

    def start(self, tally: Counters, now_ns: int) -> None:
        """Begin anew with an activation; what happens is counted in ``tally``."""
        self._tally = tally
        self._overdue = False
        self.late = ''
        self._latch.release(self._commander.status())
        self._clock_epoch = self._assembler.epoch
        self._ticked_ns = now_ns

    def tick(self, now_ns: int, *, enabled: bool, inferring_s: float) -> None:
        """Stop a robot that must not go on, and stream what is due.

        Args:
            now_ns: The node's time.
            enabled: Whether commands are sent at all.
            inferring_s: How long the inference under way has taken, 0 while there is none.
        """
        self._watch_clock(now_ns)
        stale = self._assembler.stale(now_ns)
        if stale and self._commander.status().sequence is not None:
            text = '; '.join(map(str, stale))
            with self._commander.in_order():
                measured = self._assembler.measured()
                self._publish(self._commander.refuse(stale[0].kind, text, now_ns, measured))
                self._commander.advance_epoch()
            self._tally.observations_refused += 1
            self._because(stale[0].kind, text)
        self._watch_inference(now_ns, inferring_s)
        self._watch_following(now_ns, sound=enabled and not stale)
        self._stream(now_ns)
        if self._latch.latches(self._commander.status()):
            with self._commander.in_order():
                self._publish(self._commander.stop(now_ns, self._assembler.measured()))
            self._because('latched', self._latch.reason)

    def _watch_clock(self, now_ns: int) -> None:
        """Hold and start anew when the clock has jumped back (a looped bag)."""
        if self._assembler.epoch != self._clock_epoch:
            self._clock_epoch = self._assembler.epoch
            with self._commander.in_order():
                # At the new time the old trajectory may be at its start: hold where it was. If
                # only stamps of a sensor went back, that is where it is now.
                self._commander.hold(max(self._ticked_ns, now_ns), {})
                self._publish(self._commander.stop(now_ns, {}))
                if not self._latch.reason:
                    self._commander.reset()
            reset = self._assembler.last_reset
            self._because('clock', f'the clock jumped back: starting anew ({reset})')
        self._ticked_ns = now_ns

    def _watch_inference(self, now_ns: int, inferring_s: float) -> None:
        """Give up an inference that has not returned in time; its thread may still be in it."""
        overdue = inferring_s > self._inference_timeout_s
        if overdue and not self._overdue:
            text = f'inference has not returned for {inferring_s:.1f} s'
            with self._commander.in_order():
                measured = self._assembler.measured()
                self._publish(self._commander.overdue(text, now_ns, measured))
            self._because('overdue', text)
        self._overdue = overdue

    def _watch_following(self, now_ns: int, *, sound: bool) -> None:
        """Hold when an arm is elsewhere than it was told; that latches."""
        if self._following is None or self._latch.reason:
            return
        if not sound:
            # What impossible joint states say, and what was not sent, is not to be compared.
            self._following.reset()
            return
        measured = self._assembler.measured()
        commanded = self._commander.current(now_ns, {})
        text = self._following.check(commanded, measured, now_ns)
        if not text:
            return
        with self._commander.in_order():
            # Latched, because such an arm would leap as soon as it obeyed again.
            self._publish(self._commander.refuse('following', text, now_ns, measured))
            self._publish(self._commander.stop(now_ns, measured))
            self._latch.close('following', text)
        self._because('latched', self._latch.reason)

    def _stream(self, now_ns: int) -> None:
        """Send twists and gripper goals, and hold when the horizon has run out."""
        starved = self._commander.status().starved
        with self._commander.in_order():
            self._publish(self._commander.tick(now_ns))
        status = self._commander.status()
        if status.blocked is not None:
            self._because(status.blocked.reason, status.blocked.text)
        if status.starved and not starved:
            self._tally.starvations += 1
            text = 'the published horizon ran out before the next chunk'
            self._because('starved', '; '.join(filter(None, (text, self.late))))
