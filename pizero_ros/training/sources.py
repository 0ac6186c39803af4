"""The sources of a configuration, read: robots, recordings and datasets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import DatasetError
from pizero_ros.replay.bag import bags_in
from pizero_ros.training.bag_examples import Reading, read_bag
from pizero_ros.training.lerobot_examples import LerobotReading, read_lerobot
from pizero_ros.training.lerobot_layout import is_lerobot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.processing.spec import ModelSpec
    from pizero_ros.training.cache import CachedEpisode
    from pizero_ros.training.config import DataConfig, SourceConfig

    Pairs = dict[tuple[str, str], tuple[Embodiment, list[CachedEpisode]]]


def load_robots(config: DataConfig) -> dict[str, Embodiment]:
    """Return the robots of the sources, by the words with which the sources name them.

    Raises:
        EmbodimentError: If there is no such robot.
        DatasetError: If two different robots have the same name.
    """
    robots: dict[str, Embodiment] = {}
    named = {
        each: load_embodiment(each) for each in dict.fromkeys(s.embodiment for s in config.sources)
    }
    for robot in named.values():
        if replace(robots.setdefault(robot.name, robot), source='') != replace(robot, source=''):
            raise DatasetError.at(
                robot.source,
                'name',
                found=f'another robot named {robot.name}',
                expected=f'the one of {robots[robot.name].source}',
                remedy='Give each robot a name of its own.',
            )
    return {each: robots[robot.name] for each, robot in named.items()}


def read_sources(
    config: DataConfig,
    robots: Mapping[str, Embodiment],
    model: ModelSpec,
    cache: Path,
    *,
    progress: Callable[[str, float], None],
    tell: Callable[[str], None],
) -> Pairs:
    """Read every recording once.

    Args:
        config: Names the sources.
        robots: What ``load_robots`` returned.
        model: For whom pictures are resized.
        cache: Folder of cached samples.
        progress: Told what is being read, and the share of all that is done.
        tell: Told, line by line, what a person should know.

    Returns:
        (Name of the robot, task) → robot and demonstrations.

    Raises:
        BagError: If a recording is damaged or lacks what its robot needs.
        DatasetError: If a sample cannot be learnt from, there is no recording, or one is there
            twice.
    """
    work = [
        (source, path)
        for source in config.sources
        for path in ([source.path] if is_lerobot(source.path) else find_bags(source.path))
    ]
    if not work:
        raise DatasetError.at('data', 'sources', found='none', expected='at least one')
    pairs: Pairs = {}
    taken: set[Path] = set()
    for number, (source, path) in enumerate(work):
        if path.resolve() in taken:
            raise DatasetError.at(
                path,
                f'task {source.task}',
                found='a recording that another source has too',
                expected='each recording once',
                remedy='A demonstration that is learnt from and held out would prove nothing.',
            )
        taken.add(path.resolve())
        robot = robots[source.embodiment]
        share = partial(_share, progress, f'reading {source.path}', number, len(work))
        if is_lerobot(path):
            _check_unused(source, path, commands=source.commands != 'auto')
            lerobot = LerobotReading(
                model.image_size,
                model.resize,
                source.prompt,
                dict(source.cameras),
                dict(source.names),
            )
            found = read_lerobot(path, robot, lerobot, cache, progress=share, tell=tell)
        else:
            _check_unused(source, path, cameras=source.cameras, names=source.names)
            reading = Reading.of(model, source.prompt, source.commands)
            found = [read_bag(path, robot, reading, cache, progress=share, tell=tell)]
        pairs.setdefault((robot.name, source.task), (robot, []))[1].extend(found)
    return pairs


def _check_unused(source: SourceConfig, path: Path, **settings: object) -> None:
    """Refuse settings that say nothing about a source of this kind."""
    for key, given in settings.items():
        if given:
            raise DatasetError.at(
                path,
                f'task {source.task}: {key}',
                found='a setting',
                expected='none: it is for LeRobot datasets'
                if key != 'commands'
                else 'none: a LeRobot dataset says itself what its actions are',
            )


def find_bags(path: Path) -> list[Path]:
    """Return the recordings that a path stands for: itself, or those in it at any depth.

    Raises:
        DatasetError: If there is none.
    """
    found = bags_in(path)
    if not found:
        raise DatasetError.at(
            path,
            '',
            found='no recording' if path.exists() else 'nothing',
            expected='a rosbag2 folder, an .mcap or .db3 file, or a folder with some of these',
        )
    return found


def _share(
    progress: Callable[[str, float], None], what: str, number: int, total: int, share: float
) -> None:
    progress(what, (number + share) / total)
