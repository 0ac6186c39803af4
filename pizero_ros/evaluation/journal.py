"""The folder of an evaluation: what was asked for, and one line for each trial that was run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pizero_ros.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pizero_ros.evaluation.trial import Trial

ORDER, TRIALS = 'order.json', 'trials.jsonl'
SCHEMA = 1


@dataclass(frozen=True)
class Order:
    """What all trials of a folder have in common.

    Attributes:
        seed: Of the first scene.
        width: Of the pictures, px; they are square.
        speed: Simulated seconds per second at most, ``None`` for the system's clock.
        executed_steps: Of each chunk; 0: the embodiment says.
        noise_seed: Of the noise with which each trial begins.
    """

    seed: int
    width: int
    speed: float | None
    executed_steps: int
    noise_seed: int


class Journal:
    """Trials that were run, in a file that is complete after each of them.

    Attributes:
        records: One for each trial, in the order in which they were run.
        policies: Name → ``bundle`` and ``identity`` of each policy so far.
        robots: Name → hash of each robot so far.
    """

    def __init__(
        self,
        folder: Path,
        order: Order,
        policies: Mapping[str, Mapping[str, str]],
        robots: Mapping[str, str],
    ):
        """Open the journal of a folder, or begin one.

        Args:
            folder: Of the evaluation; exists.
            order: What is asked for now.
            policies: Name → ``bundle`` (a path) and ``identity`` (a hash of what it does).
            robots: Name → hash of what each robot is.

        Raises:
            EnvironmentFault: If the folder holds what was asked for otherwise, or files that
                cannot be read or written.
        """
        self._folder = folder
        self._order = order
        self.policies = {name: dict(each) for name, each in policies.items()}
        self.robots = dict(robots)
        self.records: list[dict[str, Any]] = []
        if (folder / ORDER).exists():
            self._check(_read_order(folder / ORDER))
        self._write_order()
        self._read_trials()

    def missing(self, trials: list[Trial]) -> list[Trial]:
        """Return those that were not run yet."""
        done = {key_of(record) for record in self.records}
        return [trial for trial in trials if trial.key not in done]

    def add(self, record: dict[str, Any]) -> None:
        """Append a trial.

        Raises:
            EnvironmentFault: If it cannot be written.
        """
        self.records.append(record)
        path = self._folder / TRIALS
        line = json.dumps(record, ensure_ascii=False, allow_nan=False) + '\n'
        try:
            with path.open('ab') as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(path, error) from None

    def _check(self, found: dict[str, Any]) -> None:
        path = self._folder / ORDER
        wanted = {'schema': SCHEMA, **asdict(self._order)}
        for key, value in wanted.items():
            if found.get(key) != value:
                raise _otherwise(path, key, found.get(key), value)
        before = found.get('policies', {})
        for name, policy in self.policies.items():
            known = before.get(name, policy)
            if known.get('identity') != policy['identity']:
                raise _otherwise(
                    path,
                    f'policies.{name}',
                    f'another policy of this name ({known.get("bundle")})',
                    f'{policy["bundle"]}, SHA-256 {policy["identity"][:12]}…',
                )
        self.policies = {**before, **self.policies}
        robots = found['robots']
        for name, digest in self.robots.items():
            if robots.get(name, digest) != digest:
                raise _otherwise(
                    path, f'robots.{name}', 'another robot of this name', f'SHA-256 {digest[:12]}…'
                )
        self.robots = {**robots, **self.robots}

    def _write_order(self) -> None:
        path = self._folder / ORDER
        content = {
            'schema': SCHEMA,
            **asdict(self._order),
            'policies': self.policies,
            'robots': self.robots,
        }
        waiting = path.with_suffix('.part')
        try:
            waiting.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
            waiting.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from None

    def _read_trials(self) -> None:
        """Read what there is; a line that was cut off belongs to a trial that is run anew."""
        path = self._folder / TRIALS
        if not path.exists():
            return
        try:
            whole, _, cut = path.read_bytes().rpartition(b'\n')
            self.records = [json.loads(line) for line in whole.splitlines()]
            keys = [key_of(record) for record in self.records]
            if len(set(keys)) < len(keys):
                raise ValueError('a trial that is there twice')
            if cut:
                with path.open('r+b') as file:
                    file.truncate(len(whole) + (1 if whole else 0))
        except OSError as error:
            raise _unwritable(path, error) from None
        except (ValueError, KeyError, TypeError) as error:
            raise EnvironmentFault.at(
                path,
                '',
                found=repr(error),
                expected='one JSON object a line, each a trial',
                remedy='Take the damaged line out, or name another folder.',
            ) from None


def key_of(record: Mapping[str, Any]) -> tuple[str, str, str, str, int]:
    """Return ``Trial.key`` of a record."""
    return (
        record['embodiment'],
        record['policy'],
        record['condition'],
        record['task'],
        record['seed'],
    )


def _read_order(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(found, dict) or not all(
            isinstance(found.get(key), dict) for key in ('policies', 'robots')
        ):
            raise ValueError('no object with policies and robots')
    except (OSError, ValueError) as error:
        raise EnvironmentFault.at(
            path, '', found=str(error), expected='what an evaluation was asked for'
        ) from None
    return found


def _otherwise(path: Path, key: str, found: object, wanted: object) -> Exception:
    return EnvironmentFault.at(
        path,
        key,
        found=found,
        expected=f'{wanted}, as it is asked for now',
        remedy='Ask for the same to go on with it, or name another folder with --out.',
    )


def _unwritable(path: Path, error: OSError) -> Exception:
    return EnvironmentFault.at(
        path, '', found=error.strerror, expected='a file that can be read and written'
    )
