"""The worst moments of an episode: what the cameras showed, the chunk, and what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from markupsafe import Markup

from pizero_ros.errors import PizeroError
from pizero_ros.page.drawing import svg_text
from pizero_ros.page.pictures import jpeg_base64
from pizero_ros.replay.bag import open_bag
from pizero_ros.replay.recording import pictures
from pizero_ros.replay.report.figures import moment_figure
from pizero_ros.replay.report.words import source_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.replay.episode import Episode

    Shown = Mapping[int, Mapping[str, npt.NDArray[np.uint8]]]
    Pictures = Callable[[Path, Embodiment, Sequence[int]], Shown]
    """Recording, robot and moments → moment → slot → uint8 RGB."""

JOINTS = 4
"""How many joints are drawn at a moment: those that are furthest off."""

_STRIP = (0.0, 1 / 3, 2 / 3, 1.0)
"""Pictures of a strip, as parts of the chunk's duration."""

_WIDTH, _QUALITY = 200, 80


class Picture(NamedTuple):
    """One picture of a strip; ``data`` is base64 of JPEG."""

    at_s: float
    data: str


class Moment(NamedTuple):
    """One of the worst moments, as the page shows it.

    Attributes:
        anchor: Name of its place in the page.
        at_s: Seconds since the beginning of the recording.
        source: What its source is called.
        share: Mean error of the chunk over all joints, as a share of their ranges.
        joint: The joint that is furthest off, relative to its range.
        error: Its mean absolute error.
        unit: Of the error.
        drawing: The chunk and the recorded actions, SVG.
        strips: Camera slot → pictures.
    """

    anchor: str
    at_s: float
    source: str
    share: float
    joint: str
    error: float
    unit: str
    drawing: Markup
    strips: Mapping[str, Sequence[Picture]]


def recorded_pictures(path: Path, embodiment: Embodiment, moments_ns: Sequence[int]) -> Shown:
    """Return what the cameras showed at some moments; see ``recording.pictures``.

    Raises:
        BagError: If the recording is not there any more, or is damaged.
    """
    with open_bag(path) as bag:
        return pictures(bag, embodiment, moments_ns)


def worst_moments(
    episode: Episode,
    worst: Sequence[Mapping[str, Any]],
    anchor: str,
    embodiment: Embodiment,
    look: Pictures,
) -> tuple[list[Moment], str]:
    """Make the worst moments of an episode.

    Args:
        episode: The episode.
        worst: ``worst`` of its summary.
        anchor: Beginning of the names of their places in the page.
        embodiment: The robot.
        look: Gives the pictures.

    Returns:
        The moments, and why there are no pictures (empty if there are).
    """
    lasts_ns = (episode.horizon - 1) / episode.rate_hz * 1e9
    times = {
        each['asked_ns']: [
            min(each['asked_ns'] + round(part * lasts_ns), episode.end_ns) for part in _STRIP
        ]
        for each in worst
    }
    problem = ''
    shown: Shown = {}
    wanted = sorted({at_ns for strip in times.values() for at_ns in strip})
    if wanted:
        try:
            shown = look(Path(episode.bag), embodiment, wanted)
        except PizeroError as error:
            problem = str(error)
    moments = []
    for number, each in enumerate(worst, start=1):
        strip = [(at_ns, shown.get(at_ns, {})) for at_ns in dict.fromkeys(times[each['asked_ns']])]
        moments.append(
            Moment(
                anchor=f'{anchor}-moment-{number}',
                at_s=each['at_s'],
                source=source_words(each['source']),
                share=each['mae_share'],
                joint=each['joint'],
                error=each['error'],
                unit=each['unit'],
                drawing=_drawing(episode, each, f'{anchor}-moment-{number}'),
                strips={
                    camera.slot: [
                        Picture((at_ns - episode.start_ns) * 1e-9, _encoded(slots[camera.slot]))
                        for at_ns, slots in strip
                        if camera.slot in slots
                    ]
                    for camera in embodiment.cameras
                },
            )
        )
    return moments, problem


def _drawing(episode: Episode, moment: Mapping[str, Any], name: str) -> Markup:
    asked = episode.open_loop[moment['source']]
    query = int(np.flatnonzero(asked.asked_ns == moment['asked_ns'])[0])
    errors = np.abs(asked.predicted[query] - asked.recorded[query])
    known = np.isfinite(errors)
    counts = known.sum(axis=0)
    sums = np.where(known, errors, 0.0).sum(axis=0)
    shares = np.where(counts > 0, sums / np.maximum(counts, 1), -1.0) / episode.columns.spans
    furthest = np.argsort(-shares, kind='stable')[:JOINTS]
    joints = [episode.columns.columns[n].name for n in furthest if counts[n]]
    label = f'Chunk and recorded actions at {moment["at_s"]:.2f} s: {", ".join(joints)}'
    # Checked markup: matplotlib escapes the names that it writes.
    drawing = moment_figure(episode, moment['source'], query, joints)
    return Markup(svg_text(drawing, label, name=name))


def _encoded(rgb: npt.NDArray[np.uint8]) -> str:
    return jpeg_base64(rgb, width=_WIDTH, quality=_QUALITY)
