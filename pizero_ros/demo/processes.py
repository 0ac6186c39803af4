"""The processes of a demo: each in a group of its own, with a log, and always ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pizero_ros.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STOPPING: tuple[tuple[signal.Signals, float], ...] = (
    (signal.SIGINT, 12.0),
    (signal.SIGTERM, 4.0),
    (signal.SIGKILL, 4.0),
)
"""Signals in order, and seconds to wait after each. An exiting policy node may wait 10 s for an
inference under way."""

TAIL_LINES = 12


class Exit(NamedTuple):
    """How a process ended: its status (negative: killed by that signal) and what ended it.

    ``signal`` is empty if it ended by itself.
    """

    name: str
    code: int
    signal: str


class NodeEnded(EnvironmentFault):
    """A node that ended by itself; ``name`` is that of its process."""

    name = ''


class NodeProcess:
    """One process in its own group, with stdout and stderr in a log file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        env: Mapping[str, str],
        log: Path,
        *,
        finite: bool,
    ) -> None:
        self.name = name
        self.log = log
        self.finite = finite
        self._ended_by = ''
        with log.open('wb') as output:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def exit(self) -> Exit | None:
        """Return how it ended, None while it runs."""
        code = self._process.poll()
        return None if code is None else Exit(self.name, code, self._ended_by)

    def stop(self) -> Exit:
        """End it with SIGINT, or harder if it does not obey; ended already, that is reported."""
        for number, limit_s in STOPPING:
            if not self.running:
                break
            self._ended_by = number.name
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(limit_s)
        return Exit(self.name, self._process.wait(), self._ended_by)

    def tail(self) -> str:
        """Return the last lines of the log."""
        lines = self.log.read_text(encoding='utf-8', errors='replace').splitlines()
        return '\n'.join(lines[-TAIL_LINES:])

    def cpu_s(self) -> float | None:
        """Return the processor time used so far in s, None where the system does not say."""
        try:
            fields = Path(f'/proc/{self._process.pid}/stat').read_text().rpartition(')')[2].split()
        except OSError:
            return None
        # Fields 14 and 15 of proc(5), counted after the name: user and system time.
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


class Processes:
    """Processes that end with the ``with`` block, the last started first."""

    def __init__(self, env: Mapping[str, str], logs: Path) -> None:
        """Keep environment and log folder for every process."""
        self._env = env
        self._logs = logs
        self._processes: list[NodeProcess] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.stop()

    def start(
        self, name: str, command: Sequence[str | Path], log_name: str, *, finite: bool = False
    ) -> NodeProcess:
        """Start a process with its log in ``log_name``.log; a ``finite`` one ends by itself."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f'{log_name}.log'
        process = NodeProcess(name, command, self._env, log, finite=finite)
        self._processes.append(process)
        return process

    def tail(self, name: str) -> str:
        """Return the last lines of the log of the process called ``name``."""
        return next((each.tail() for each in self._processes if each.name == name), '')

    def died(self) -> NodeProcess | None:
        """Return a process that has ended when it should not have, or with an error."""
        for process in self._processes:
            ended = process.exit()
            if ended is not None and not ended.signal and (ended.code or not process.finite):
                return process
        return None

    def check(self) -> None:
        """Raise if a process has ended that should not have.

        Raises:
            NodeEnded: With the end of its log.
        """
        if (dead := self.died()) is None:
            return
        ended = dead.exit()
        error = NodeEnded.at(
            dead.name,
            '',
            found=f'that it ended by itself with status {ended.code if ended else 0}',
            expected='a node that runs until it is stopped',
            remedy=f'The end of its log: {dead.tail()}',
        )
        assert isinstance(error, NodeEnded)
        error.name = dead.name
        raise error


def ros_arguments(
    parameters: Mapping[str, object], remaps: Mapping[str, str] | None = None
) -> list[str]:
    """Return ``--ros-args`` for a node; lists become YAML lists, text is quoted for YAML."""
    words = ['--ros-args']
    for name, value in parameters.items():
        words += ['-p', f'{name}:={_yaml(value)}']
    for source, target in (remaps or {}).items():
        words += ['-r', f'{source}:={target}']
    return words


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f'[{", ".join(_yaml(item) for item in value)}]'
    if isinstance(value, int | float):
        return str(value)
    # Single quotes are the only YAML style in which nothing but the quote itself is special.
    quoted = str(value).replace("'", "''")
    return f"'{quoted}'"
