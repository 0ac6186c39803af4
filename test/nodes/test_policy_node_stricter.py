"""What makes the node stricter than it is: a latch, a shorter time-out, a share of the limits."""

from __future__ import annotations

from pizero_ros.msg import PolicyStatus

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.nodes import parameters
from pizero_ros.observation.intake import stamp_ns

HOLDING = PolicyStatus.STATE_HOLDING


def test_a_latched_fault_needs_enable(robot, start):
    start(latch=['black', 'non_finite'])
    robot.until(robot.motions)
    robot.black.add('/base_camera/image_raw')
    status = robot.wait_for_state(
        HOLDING, 'latched by black', '/base_camera/image_raw', '~/enable'
    )
    assert robot.logged('latched by black')
    robot.heal()
    seen = len(robot.motions())
    received = status.chunks_received
    robot.until(
        lambda: stamp_ns(robot.status.header.stamp) > stamp_ns(status.header.stamp) + 10**9
    )
    assert robot.status.state == HOLDING
    assert (len(robot.motions()), robot.status.chunks_received) == (seen, received)
    assert robot.enable(True).success
    robot.until(lambda: len(robot.motions()) > seen)
    assert 'latched' not in robot.status.reason


def test_a_clock_that_jumps_back_does_not_unlatch(robot, start):
    start_ns = 1_700_000_000_000_000_000
    robot.set_time(start_ns)
    robot.run_clock(0.01)
    start(use_sim_time=True, latch=['black'])
    robot.until(robot.motions)
    robot.black.add('/base_camera/image_raw')
    robot.wait_for_state(HOLDING, 'latched by black')
    robot.heal()
    seen, received = len(robot.motions()), robot.status.chunks_received
    robot.time_ns = start_ns - 100_000_000_000
    robot.until(lambda: robot.logged('clock jumped back'))
    later_ns = robot.time_ns + 10**9
    robot.until(lambda: later_ns < stamp_ns(robot.status.header.stamp) < start_ns)
    assert 'latched by black' in robot.status.reason
    assert (len(robot.motions()), robot.status.chunks_received) == (seen, received)
    assert robot.enable(True).success
    robot.until(lambda: len(robot.motions()) > seen)


def test_an_inference_that_does_not_return_is_given_up(robot, start):
    start(fault_injection=['latency=1.5', 'latency_after=3', 'latency_count=1'],
          inference_timeout_s=0.5)  # fmt: skip
    robot.wait_for_state(HOLDING, 'inference has not returned for')
    assert robot.counted('chunk.overdue') == 1
    last = robot.of('arm')[-1].message
    assert len(last.points) == 1
    # What it returns after all is not executed; the one after it is.
    discarded = robot.until(lambda: [c for c in robot.chunks if c.inference_s > 1.0])
    assert not discarded[0].sent
    seen = len(robot.motions())
    robot.until(lambda: len(robot.motions()) > seen)
    start_ns = stamp_ns(robot.motions()[seen].header.stamp)
    assert start_ns > stamp_ns(discarded[0].header.stamp)


def test_a_share_of_the_limits_is_what_the_gate_gets():
    values = {name: default for name, default, _ in parameters.DECLARATIONS if name != 'autostart'}
    embodiment = load_embodiment('sim_mobile')
    chosen = parameters.PolicyParameters(**values | {'limit_scale': 0.25})
    scaled = parameters.override(embodiment, chosen)
    for before, after in zip(embodiment.action_joints, scaled.action_joints, strict=True):
        assert after.velocity == 0.25 * before.velocity
        assert after.max_step == before.max_step
        assert after.acceleration == (before.acceleration and 0.25 * before.acceleration)
        assert after.position == before.position
