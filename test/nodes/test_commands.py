"""Commands on their way to the controllers: a process that ends waits for them, alone."""

import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2')

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from pizero_ros.control.commands import TrajectoryCommand
from pizero_ros.demo.installation import free_domain
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.nodes.acknowledgement import unacknowledged
from pizero_ros.nodes.commands import CommandPublishers

CONTROLLER = """
import sys
import rclpy
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

rclpy.init(domain_id=int(sys.argv[1]))
node = Node('controller')
node.create_subscription(JointTrajectory, sys.argv[2], lambda _: None, 10)
print('there', flush=True)
rclpy.spin(node)
"""


@pytest.fixture
def domain():
    return free_domain()


@pytest.fixture
def node(domain):
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node = Node('policy', context=context, use_global_arguments=False)
    yield node
    node.destroy_node()
    context.try_shutdown()


def test_other_threads_go_on_while_a_controller_does_not_answer(node, domain):
    """rclpy waits for an acknowledgement under the interpreter's lock."""
    robot = load_embodiment('ur5e')
    group = next(each for each in robot.actions if each.output == 'joint_trajectory')
    names = tuple(joint.name for joint in group.joints)
    commands = CommandPublishers(node, robot, goal_failed=print, goal_unsent=print)
    assert commands.flush(5.0)  # nobody is there, so nobody has to answer
    late = node.create_publisher(JointTrajectory, group.topic, 10)
    unheard = node.create_publisher(JointTrajectory, 'nobody', 10)
    controller = subprocess.Popen(
        [sys.executable, '-c', CONTROLLER, str(domain), group.topic],
        stdout=subprocess.PIPE,
        text=True,
    )
    turns, ended = [], threading.Event()

    def take_turns():
        while not ended.wait(0.01):
            turns.append(1)

    try:
        assert controller.stdout.readline() == 'there\n'
        while not node.count_subscribers(group.topic):
            ended.wait(0.05)
        ended.wait(1.0)  # both sides know each other
        controller.send_signal(signal.SIGSTOP)
        positions = np.zeros((1, len(names)))
        times = np.array([20_000_000], np.int64)
        late.publish(JointTrajectory())
        unheard.publish(JointTrajectory())
        commands.publish([TrajectoryCommand(group.name, 0, names, positions, None, times)])
        threading.Thread(target=take_turns, daemon=True).start()
        assert not commands.flush(1.0)
        assert len(turns) > 5
        stop = threading.Event()
        stop.set()
        assert unacknowledged({'arm': late, 'nobody': unheard}, 60.0, stop) == ['arm']
        controller.send_signal(signal.SIGCONT)
        assert commands.flush(20.0)
    finally:
        ended.set()
        controller.send_signal(signal.SIGCONT)
        controller.kill()
        controller.wait()
        controller.stdout.close()
        commands.destroy()
