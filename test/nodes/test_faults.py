"""A robot that fails under a policy: it holds, says why, and moves again by the documented way.

Robot and policy are processes, and time is told by the robot's own stamps.
"""

from __future__ import annotations

import importlib.util
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from pizero_ros.msg import PolicyStatus

from pizero_ros.observation.intake import stamp_ns

pytest.importorskip('mujoco', reason='the simulation extra is not installed')

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 0.5
"""Age from which a stream is stale, in place of 0.1 and 0.2 s: a busy machine is no fault."""

STALENESS = {'image_max_age_s': LIMIT_S, 'state_max_age_s': LIMIT_S, 'max_skew_s': LIMIT_S}
PERIOD_S = 0.02
EXECUTED_S = 10 * PERIOD_S
SCHEDULING_S = 2.0
"""What three processes on busy cores may add; ``benchmarks/faults.py`` measures what they do."""

HOLDING, FAULT = PolicyStatus.STATE_HOLDING, PolicyStatus.STATE_FAULT


def _benchmark(name):
    """Load a part of the benchmark that prints figures of what is tested here."""
    specification = importlib.util.spec_from_file_location(name, ROOT / f'benchmarks/{name}.py')
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


CASES = _benchmark('fault_cases')
PASSING = [case for case in CASES.STOPPING if not case.latches and case.notice != 'frozen']
MOTION = [case for case in CASES.STOPPING if case.notice == 'frozen']
LATCHING = [case for case in CASES.STOPPING if case.latches]


@pytest.fixture(scope='module')
def rig(tiny_bundle, tmp_path_factory):
    """Give a robot with a policy, shared by the tests of this module."""
    folder = tmp_path_factory.mktemp('faults')
    with _benchmark('fault_rig').Rig(folder, tiny_bundle, staleness=STALENESS) as rig:
        rig.start_robot()
        yield rig


@pytest.fixture
def robot(rig):
    """Give the rig in motion, and end what a failed test left of its faults."""
    rig.run_policy()
    yield rig
    rig.clear_faults()


def _assert_told(robot, fragment, level=b'\1'):
    policy = robot.until(
        lambda: _with(robot.diagnosis('policy_node: policy'), fragment), f'diagnosis {fragment}'
    )
    assert policy.level == level


def _with(diagnosis, fragment):
    return diagnosis if diagnosis is not None and fragment in diagnosis.message else None


@pytest.mark.parametrize('case', PASSING, ids=lambda case: case.name)
def test_fault_of_a_sensor_holds_the_robot_until_it_has_passed(robot, case):
    since_ns = robot.set_faults(case.fault)
    robot.wait_for_state(HOLDING, case.topic, case.reason)
    arms_ns, base_ns = robot.wait_for_rest()
    _assert_told(robot, case.reason)
    stated_s = case.stated_s(robot.embodiment)
    reaction_ns = round((stated_s + 2 * PERIOD_S + SCHEDULING_S) * 1e9)
    assert base_ns - since_ns < reaction_ns
    # A hold is reached two control periods after it was told.
    assert arms_ns - since_ns < reaction_ns + 2 * PERIOD_S * 1e9
    robot.clear_faults()
    robot.wait_for_motion()


@pytest.mark.parametrize('case', MOTION, ids=lambda case: case.name)
def test_camera_that_freezes_is_noticed_by_a_moving_robot(robot, case):
    robot.set_faults(case.fault)
    robot.wait_for_state(HOLDING, case.topic, case.reason)
    robot.wait_for_rest()
    _assert_told(robot, case.reason)
    robot.clear_faults()
    robot.wait_for_motion()


@pytest.mark.parametrize('case', LATCHING, ids=lambda case: case.name)
def test_arm_that_does_not_follow_stays_still_until_it_is_enabled(robot, case):
    robot.set_faults(case.fault)
    robot.wait_for_state(HOLDING, case.reason, '~/enable')
    robot.wait_for_rest()
    _assert_told(robot, case.reason)
    robot.clear_faults()
    told = robot.mark()
    time.sleep(2 * EXECUTED_S + 0.3)
    assert robot.trajectories(told) == []
    assert robot.status.state == HOLDING
    assert robot.enable(True)
    robot.wait_for_motion()


def test_refusing_controller_says_so_itself(robot):
    robot.set_faults('rejecting:left_gripper')

    def refused():
        status = robot.diagnosis('sim_robot: left_gripper')
        values = {} if status is None else {each.key: each.value for each in status.values}
        return int(values.get('rejected.injected_fault', 0))

    robot.until(refused, 'a refusal')


def test_lost_frames_are_counted_and_the_robot_goes_on(robot):
    robot.set_faults(*(case.fault for case in CASES.COUNTED))
    for case in CASES.COUNTED:
        robot.until(
            lambda case=case: _with(robot.diagnosis(f'policy_node: {case.topic}'), case.reason),
            case.reason,
        )
    robot.wait_for_motion()


def test_wrong_fault_is_refused_with_its_reason_and_changes_nothing(robot):
    robot.set_faults(f'noisy:{CASES.HEAD}=2')
    for text, reason in (
        ('purple:/x', 'black, frozen'),
        ('deaf:tail', 'left_arm'),
        (f'slow:{CASES.HEAD}=-1', 'above 0 Hz'),
    ):
        with pytest.raises(ValueError, match=reason):
            robot.set_faults(text)
    assert robot.clear_faults() == f'ended: noisy:{CASES.HEAD}=2'
    assert robot.clear_faults() == 'there were none'


def test_late_inference_holds_at_the_end_of_the_horizon_and_goes_on(rig):
    begun_ns = rig.arms[-1].stamp_ns
    process = rig.run_policy('latency=1.5', 'latency_after=30', 'latency_count=2')
    _hear(rig)
    rig.wait_for_state(HOLDING, 'the published horizon ran out before the next chunk')
    arms_ns, _ = rig.wait_for_rest()
    assert rig.moves(rig.arms, begun_ns)
    assert arms_ns <= _horizon_ns(rig) + (4 * PERIOD_S + SCHEDULING_S) * 1e9
    announced = rig.until(lambda: rig.diagnosis('policy_node: fault injection'), 'the warning')
    assert announced.level == b'\1'
    assert 'FAULT INJECTION' in rig.log(process)
    rig.wait_for_motion()


def test_inference_that_raises_holds_until_the_node_is_activated_anew(rig):
    begun_ns = rig.arms[-1].stamp_ns
    rig.run_policy('raise_after=10')
    rig.wait_for_state(FAULT, 'RuntimeError: raised by fault_injection')
    rig.wait_for_rest()
    assert rig.moves(rig.arms, begun_ns)
    _assert_told(rig, 'raised by fault_injection', level=b'\2')
    told = rig.mark()
    assert rig.enable(False)
    assert not rig.enable(True)
    time.sleep(2 * EXECUTED_S)
    assert rig.trajectories(told) == []
    assert rig.change_state(Transition.TRANSITION_DEACTIVATE)
    assert rig.change_state(Transition.TRANSITION_ACTIVATE)
    rig.wait_for_motion()


def test_lack_of_memory_fails_configure_and_names_the_bundle(rig, tiny_bundle):
    rig.stop(rig.run_policy())
    process = rig.start_policy(autostart=False)
    rig.wait_for_node()
    told, old = rig.mark(), resource.prlimit(process.pid, resource.RLIMIT_AS)
    pages = int(Path(f'/proc/{process.pid}/statm').read_text().split()[0])
    limit = pages * resource.getpagesize() + 5_000_000
    resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, old[1]))
    assert not rig.change_state(Transition.TRANSITION_CONFIGURE)
    log = rig.log(process)
    assert f'{tiny_bundle}: memory: found ' in log
    assert 'MB of its graphs' in log or 'MB for its graphs' in log
    assert 'Traceback' not in log
    assert process.poll() is None
    assert rig.trajectories(told) == []
    resource.prlimit(process.pid, resource.RLIMIT_AS, old)
    assert rig.change_state(Transition.TRANSITION_CONFIGURE)
    assert rig.stop(process) == 0


def test_simulated_clock_that_jumps_holds_the_robot_and_starts_anew(tiny_bundle, tmp_path):
    with _benchmark('fault_rig').Rig(tmp_path, tiny_bundle, staleness=STALENESS) as rig:
        rig.start_robot(publish_clock=True)
        process = rig.run_policy(use_sim_time=True)
        for faults, fragment in (
            (['clock_jump=-3'], 'the clock jumped back'),
            ([], 'old, limit 0.5 s'),
        ):
            seen, told = len(rig.received['/policy_node/status']), rig.mark()
            rig.set_faults(*faults)
            rig.until(
                lambda seen=seen, fragment=fragment: any(
                    status.state == HOLDING and fragment in status.reason
                    for status in rig.received['/policy_node/status'][seen:]
                ),
                fragment,
            )
            topic = '/left_arm_controller/joint_trajectory'
            since = told.get(topic, 0)
            rig.until(lambda since=since, topic=topic: _held(rig, topic, since), 'a hold')
            rig.wait_for_motion()
        assert rig.stop(process) == 0


def test_policy_that_is_killed_moves_the_robot_no_longer_than_published(tiny_bundle, tmp_path):
    """With a robot of its own: what a killed process was writing to shared memory stays so."""
    with _benchmark('fault_rig').Rig(tmp_path, tiny_bundle, staleness=STALENESS) as rig:
        rig.start_robot()
        process = rig.run_policy()
        _hear(rig)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_ns = rig.arms[-1].stamp_ns
        _, base_ns = rig.wait_for_rest()
        end_ns = _horizon_ns(rig)
        longest_s = rig.embodiment.published_steps * PERIOD_S
        assert end_ns - killed_ns < (longest_s + SCHEDULING_S) * 1e9
        later = np.array([s.values for s in rig.arms if s.stamp_ns > end_ns + 5_000_000])
        assert len(later) > 10
        assert np.ptp(later, axis=0).max() == 0.0
        # The base takes a command that is at most its time-out old, and obeys it for as long.
        (base,) = (group for group in rig.embodiment.actions if group.output == 'twist')
        last_ns = stamp_ns(rig.received[base.topic][-1].header.stamp)
        assert base_ns - last_ns < 2 * 500_000_000


def _hear(rig):
    """Wait for a trajectory of the policy that was started: before, some may have been missed."""
    told = rig.mark()
    rig.until(lambda: rig.trajectories(told), 'a trajectory')


def _held(rig, topic, since):
    return any(len(message.points) == 1 for message in rig.received[topic][since:])


def _horizon_ns(rig):
    """Return when the last waypoint of the last motion that was published is due."""
    return max(
        stamp_ns(message.header.stamp) + stamp_ns(message.points[-1].time_from_start)
        for message in rig.trajectories({})
    )
