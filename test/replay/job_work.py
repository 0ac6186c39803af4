"""Work for tests of the engines: quick episodes, and recordings that go wrong in every way."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from episodes import make_episode

from pizero_ros.errors import BagError
from pizero_ros.replay.jobs import Job

if TYPE_CHECKING:
    from pathlib import Path


def jobs_of(bags, policies=('tiny',)):
    """One job for each policy and bag, in the order in which they are run."""
    return [Job(bag, policy, f'key_{policy}_{bag}') for policy in policies for bag in bags]


class Diary(NamedTuple):
    """Work that notes who did what in a folder; what it does depends on the recording's name."""

    folder: Path

    def __call__(self, job, told):
        note = f'{os.getpid()} {job.policy} {job.bag}\n'
        with (self.folder / 'diary').open('a') as diary:
            diary.write(note)
        told(0.5)
        match job.bag.split('-')[0]:
            case 'corrupt':
                raise BagError.at(job.bag, '', found='rubbish', expected='a recording')
            case 'exits':
                os._exit(7)
            case 'killed':
                os.kill(os.getpid(), signal.SIGKILL)
            case 'large':
                raise MemoryError
            case 'mistaken':
                return make_episode(error='none')
            case 'endless':
                time.sleep(600)
            case 'waits':
                deadline = time.monotonic() + 60
                while not (self.folder / 'go').exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
        return make_episode(bag=job.bag, policy=job.policy)

    def entries(self):
        """(process, policy, bag) of every job that was begun, in order."""
        path = self.folder / 'diary'
        lines = path.read_text().splitlines() if path.exists() else []
        return [tuple(line.split(' ')) for line in lines]


class Seen:
    """A display that remembers."""

    def __init__(self):
        self.began = None
        self.outcomes = []
        self.shares = []

    def begin(self, jobs, resumed):
        self.began = (jobs, resumed)

    def ended(self, outcome):
        self.outcomes.append(outcome)

    def share(self, share, /):
        self.shares.append(share)
