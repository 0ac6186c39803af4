"""Demonstrations of one task on one robot, and the split into learnt and held-out ones."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from itertools import accumulate
from pathlib import PurePath
from typing import TYPE_CHECKING

from pizero_ros.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.training.cache import CachedEpisode
    from pizero_ros.training.example import Example


class Demonstrations:
    """The samples of several demonstrations, one after the other: a task-robot pair."""

    def __init__(
        self, name: str, embodiment: Embodiment, episodes: Sequence[CachedEpisode]
    ) -> None:
        """Put demonstrations together.

        Args:
            name: Of the pair.
            embodiment: The robot.
            episodes: Read for that robot, with the same image size.

        Raises:
            DatasetError: If there is none, or they do not belong together.
        """
        if not episodes:
            raise DatasetError.at(
                name, 'demonstrations', found='none', expected=f'recordings of {embodiment.name}'
            )
        for episode in episodes:
            if episode.shape.embodiment != embodiment.name:
                raise DatasetError.at(
                    episode.origin,
                    'embodiment',
                    found=episode.shape.embodiment,
                    expected=f'{embodiment.name}, the robot of {name}',
                )
            if episode.shape != episodes[0].shape:
                raise DatasetError.at(
                    episode.origin,
                    'shape',
                    found=episode.shape,
                    expected=f'{episodes[0].shape}, as {episodes[0].origin} has',
                )
        self.name = name
        self.embodiment = embodiment
        self.episodes = tuple(episodes)
        self._ends = list(accumulate(len(episode) for episode in episodes))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, number: int) -> Example:
        """Return sample ``number``, counted through all demonstrations."""
        if not 0 <= number < len(self):
            msg = f'sample {number} of {len(self)}'
            raise IndexError(msg)
        episode = bisect_right(self._ends, number)
        return self.episodes[episode][number - (self._ends[episode - 1] if episode else 0)]


def hold_out(
    episodes: Sequence[CachedEpisode], share: float, seed: int
) -> tuple[list[CachedEpisode], list[CachedEpisode]]:
    """Split demonstrations; a demonstration is never in both parts.

    Neighbouring samples of one demonstration are nearly the same, so a split of samples would
    measure memory. Which ones are held out depends on their names and the seed only: others that
    come to them later change as little as possible.

    Args:
        episodes: All of them.
        share: Of the demonstrations that are held out, 0 to less than 1; more than 0 means at
            least one.
        seed: Of the choice.

    Returns:
        Those to learn from, and those held out, each in the given order.

    Raises:
        DatasetError: If nothing would be left to learn from.
    """
    if not 0 <= share < 1:
        msg = f'a share of {share}, expected 0 to less than 1'
        raise ValueError(msg)
    count = max(1, round(share * len(episodes))) if share else 0
    if count >= len(episodes) > 0:
        raise DatasetError.at(
            episodes[0].origin,
            'held out',
            found=f'{count} of {len(episodes)} demonstrations',
            expected='at least one left to learn from',
            remedy='Give more demonstrations, or hold out none.',
        )
    ranked = sorted(episodes, key=lambda episode: (_rank(episode, seed), episode.origin))
    chosen = {id(episode) for episode in ranked[:count]}
    return (
        [episode for episode in episodes if id(episode) not in chosen],
        [episode for episode in episodes if id(episode) in chosen],
    )


def _rank(episode: CachedEpisode, seed: int) -> bytes:
    return hashlib.sha256(f'{seed}\0{PurePath(episode.origin).name}'.encode()).digest()
