"""A robot on a busy machine: discovered late, heard late, and still nothing is said to be missing.

It appears later than an idle graph is given up on, and begins to publish later than the time to
listen has passed.
"""

from __future__ import annotations

import os
import time

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from pizero_ros.doctor.examination import judge
from pizero_ros.doctor.probe import SETTLED_S, Probe

# Above the ephemeral ports of Linux (7400 + 250 * domain), where no other test is.
DOMAIN = 224 + os.getpid() % 9
LISTEN_S = 0.5


class LateRobot:
    """Drivers and controllers of a robot as one node, which does everything when told to."""

    def __init__(self, embodiment):
        self.embodiment = embodiment
        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.node = None
        self.publishers = []

    def appear(self):
        self.node = Node('late_robot', context=self.context)
        self.executor.add_node(self.node)
        for camera in self.embodiment.cameras:
            self.publishers.append(self.node.create_publisher(Image, camera.topic, 5))
        for source in self.embodiment.state:
            self.publishers.append(self.node.create_publisher(JointState, source.topic, 5))
        for kind, name in ((JointTrajectory, 'arm'), (Float64MultiArray, 'gripper')):
            (group,) = (each for each in self.embodiment.actions if each.name == name)
            self.node.create_subscription(kind, group.topic, lambda message: None, 5)

    def publish(self):
        for publisher in self.publishers:
            message = publisher.msg_type()
            message.header.stamp = self.node.get_clock().now().to_msg()
            publisher.publish(message)

    def spin_once(self):
        self.executor.spin_once(timeout_sec=0.0)

    def close(self):
        self.executor.shutdown()
        if self.node is not None:
            self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def robot(arm):
    robot = LateRobot(arm)
    yield robot
    robot.close()


def test_robot_that_is_discovered_and_heard_late_is_not_missing(arm, robot, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(DOMAIN))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    begun = time.monotonic()

    def appear_late(share):
        if robot.node is None and time.monotonic() > begun + 0.7 * SETTLED_S:
            robot.appear()

    def publish_late(share):
        robot.spin_once()
        if time.monotonic() > begun + 2 * LISTEN_S:
            robot.publish()

    with Probe() as probe:
        probe.discover(arm, appear_late)
        begun = time.monotonic()
        facts = probe.gather(arm, LISTEN_S, publish_late)
    missing = [
        each
        for each in judge(arm, facts)
        if each.check in ('publisher', 'messages', 'controller') and each.severity == 'error'
    ]
    assert missing == []
    assert all(each.publishers and each.timing.received for each in facts.inputs)
    assert all(listener.parameters is not None for g in facts.groups for listener in g.listeners)
    assert facts.looks.count
    assert not any(r.kind == 'missing' for r in facts.looks.reasons)
