"""Which frames make a set, and which of the held ones will be part of the next."""

from dataclasses import replace

import pytest

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.observation.fresh import FrameSet

MS = 1_000_000


@pytest.fixture
def cameras() -> FrameSet:
    """Two cameras of 25 Hz: 40 ms apart, of one moment within 30 ms, alive within 200 ms."""
    robot = load_embodiment('sim_single_arm')
    made = [
        replace(camera, topic=topic, rate_hz=25.0, max_age_s=0.2)
        for camera, topic in zip(robot.cameras, ('/a', '/b'), strict=False)
    ]
    return FrameSet(replace(robot, cameras=tuple(made)))


def stamps(**ms: float) -> dict[str, int]:
    return {f'/{name}': round(value * MS) for name, value in ms.items()}


@pytest.mark.parametrize(
    ('held', 'complete'),
    [
        (stamps(a=100, b=100), False),  # nothing new
        (stamps(a=140, b=100), False),  # b is of the moment before
        (stamps(a=140, b=111), True),  # b is on a clock of its own, and of this moment
        (stamps(a=140, b=140), True),
        (stamps(a=340, b=100), True),  # b is gone
        (stamps(a=140, b=100, joints=150), False),
    ],
)
def test_a_set_is_complete_when_no_live_camera_lags(
    cameras: FrameSet, held: dict[str, int], complete: bool
) -> None:
    assert cameras.complete(held, 100 * MS) is complete


@pytest.mark.parametrize(
    ('held', 'staying'),
    [
        (stamps(a=100, b=100), set()),  # both deliver anew
        (stamps(a=100, b=115), {'/b'}),  # a's next frame, at 140, ends the set
        (stamps(a=115, b=100), {'/a'}),
        (stamps(a=100, b=109), set()),  # b's next frame still belongs to a's
        (stamps(a=400, b=100), set()),  # b is gone, so a's next frame is the set
        (stamps(a=100), set()),
        ({}, set()),
    ],
)
def test_only_frames_that_the_next_set_will_have_are_prepared_ahead(
    cameras: FrameSet, held: dict[str, int], staying: set[str]
) -> None:
    assert cameras.staying(held | stamps(joints=500)) == staying


def test_what_stays_is_what_the_complete_set_has(cameras: FrameSet) -> None:
    for lag in range(40):
        held = stamps(a=100, b=100 + lag)
        arrived = held | stamps(a=140)
        assert cameras.complete(arrived, 100 * MS) is ('/b' in cameras.staying(held))
