"""Whatever ends a motion of the base, the last twist that it hears is zero."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from lifecycle_msgs.msg import Transition
from pizero_ros.msg import PolicyStatus
from std_msgs.msg import Float64

from pizero_ros.embodiment.load import load_embodiment

HOLDING, FAULT = PolicyStatus.STATE_HOLDING, PolicyStatus.STATE_FAULT
JOINTS = '/joint_states'
SPEED = '/speed'
START_NS = 1_700_000_000_000_000_000


def as_message(message, **keys):
    """A change of an embodiment: its base takes this type."""

    def change(content):
        (base,) = [group for group in content['actions'] if group['group'] == 'base']
        base['message'] = message
        content.update(keys)

    return change


def speeds(message):
    twist = getattr(message, 'twist', message)
    return [
        *(getattr(twist.linear, a) for a in 'xyz'),
        *(getattr(twist.angular, a) for a in 'xyz'),
    ]


def drives(robot):
    """Wait until the base has been driving for a while."""
    heard = robot.of('base')
    robot.until(lambda: sum(any(speeds(r.message)) for r in heard[-5:]) == 5)


def is_stopped(robot):
    """Wait for a zero, and for ten control periods in which nothing else comes."""
    heard = robot.of('base')
    robot.until(lambda: heard and not any(speeds(heard[-1].message)))
    told, period_s = len(heard), 1 / robot.embodiment.rate_hz
    time.sleep(10 * period_s)
    return [speeds(r.message) for r in heard[told:]]


@pytest.fixture(params=['twist', 'twist_stamped'])
def driving(request, start):
    """Give a robot whose base drives."""
    robot = start('sim_mobile', as_message(request.param))
    drives(robot)
    return robot


def test_deactivate_and_cleanup(driving):
    assert driving.deactivate()
    assert is_stopped(driving) == []
    assert driving.cleanup()
    assert is_stopped(driving) == []


def test_shutdown(driving):
    assert driving.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert is_stopped(driving) == []


def test_disable(driving):
    driving.enable(False)
    assert is_stopped(driving) == []
    driving.enable(True)
    drives(driving)


def test_refused_observation(driving):
    driving.positions['left_joint_3'] = float('nan')
    driving.wait_for_state(HOLDING, 'left_joint_3')
    later = is_stopped(driving)
    # It is streamed on: a controller may take silence for a stop only after its time-out.
    assert later
    assert not any(map(any, later))
    driving.heal()
    drives(driving)


def test_stale_sensor(driving):
    driving.muted.add(JOINTS)
    driving.wait_for_state(HOLDING, JOINTS)
    assert not any(map(any, is_stopped(driving)))


def test_fault_of_inference(driving, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError('out of memory')

    monkeypatch.setattr(driving.policy._predictor.policy, 'infer', broken)
    driving.wait_for_state(FAULT)
    assert is_stopped(driving) == []


def test_starvation(start):
    slow = ['latency=3.0', 'latency_after=3', 'latency_count=1']
    robot = start('sim_mobile', as_message('twist_stamped'), fault_injection=slow)
    robot.wait_for_state(HOLDING, 'published horizon ran out')
    assert not any(map(any, is_stopped(robot)))
    drives(robot)


def test_inference_that_does_not_return(start):
    slow = ['latency=3.0', 'latency_after=3', 'latency_count=1']
    robot = start('sim_mobile', as_message('twist'), fault_injection=slow, inference_timeout_s=0.3)
    robot.wait_for_state(HOLDING, 'inference has not returned')
    assert not any(map(any, is_stopped(robot)))


def test_clock_that_jumps_back(robot, start):
    robot.set_time(START_NS)
    robot.run_clock(0.01)
    start('sim_mobile', as_message('twist'), use_sim_time=True)
    drives(robot)
    heard = robot.of('base')
    seen = len(heard)
    robot.time_ns = START_NS - 100_000_000_000
    robot.until(lambda: any(not any(speeds(r.message)) for r in heard[seen:]))
    drives(robot)


def test_controllers_that_are_paused(robot, start):
    percent = [100.0]
    publisher = robot.node.create_publisher(Float64, SPEED, 10)
    robot._every(0.01, lambda: publisher.publish(Float64(data=percent[0])))
    source = {'topic': SPEED, 'message': 'float64', 'unit': 'percent'}
    start('sim_mobile', as_message('twist_stamped', speed_scaling=source))
    drives(robot)
    percent[0] = 0.0
    robot.wait_for_state(HOLDING, 'the controllers stand still')
    assert not any(map(any, is_stopped(robot)))
    percent[0] = 100.0
    drives(robot)


@pytest.fixture
def process(robot, tmp_path):
    """Start a policy process; end it if a failed test left it behind."""
    started = []

    def begin(**parameters):
        command = [sys.executable, '-m', 'pizero_ros.nodes.policy_node', '--ros-args']
        for name, value in parameters.items():
            command += ['-p', f'{name}:={value}']
        # Not in the root of the sources, whose pizero_ros has no messages.
        environment = os.environ | {'ROS_DOMAIN_ID': str(robot.context.get_domain_id())}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment))
        return started[-1]

    yield begin
    for each in started:
        if each.poll() is None:
            each.kill()
        each.wait()


@pytest.mark.parametrize(
    ('number', 'message'), [(signal.SIGINT, 'twist'), (signal.SIGTERM, 'twist_stamped')]
)
def test_signal(robot, process, embodiment_file, tiny_bundle, tmp_path, number, message):
    path = embodiment_file(tmp_path, 'sim_mobile', as_message(message))
    robot.wear(load_embodiment(str(path)))
    policy = process(
        embodiment=path, bundle=tiny_bundle, prompt='wave', noise='continuous', autostart='true'
    )
    drives(robot)
    policy.send_signal(number)
    robot.until(lambda: policy.poll() is not None)
    assert policy.returncode == 0
    assert is_stopped(robot) == []
