"""Reports for tests: the robot of ``episodes``, and what ``report.json`` would say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from episodes import make_episode

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.replay.comparison import compare
from pizero_ros.replay.report.writing import write_report
from pizero_ros.replay.summary import summarise

ROBOT = """
schema: 1
name: test_robot
description: the robot of the episodes
rate_hz: 20
horizon: 10
executed_steps: 5
cameras:
  - {slot: base_0_rgb, topic: /front/image_raw, rate_hz: 20}
  - {slot: left_wrist_0_rgb, topic: /wrist/image_raw, rate_hz: 20}
state:
  - topic: /joint_states
    interface: joint_state
    rate_hz: 100
    joints:
      - {name: shoulder, index: 0, range: [-3, 3]}
      - {name: elbow, index: 1, range: [-3, 3]}
      - {name: finger, index: 2, range: [-0.01, 0.05]}
actions:
  - group: arm
    output: joint_trajectory
    topic: /arm_controller/joint_trajectory
    joints:
      - {name: shoulder, index: 0, position: [-2, 2], velocity: 3, max_step: 0.5}
      - {name: elbow, index: 1, position: [-1, 1], velocity: 3, max_step: 0.5}
  - group: gripper
    output: gripper
    topic: /gripper_controller/commands
    message: float64_multi_array
    deadband: 0.001
    joints:
      - {name: finger, index: 2, position: [0, 0.04], unit: m, velocity: 0.1, max_step: 0.04}
  - group: base
    output: twist
    topic: /cmd_vel
    message: twist_stamped
    frame_id: base_link
    joints:
      - {name: linear.x, index: 3, velocity: 0.5, max_step: 0.5}
      - {name: angular.z, index: 4, velocity: 1, max_step: 1}
neutral: {shoulder: 0, elbow: 0, finger: 0.02}
"""


def robot(folder):
    """Load the robot whose action joints are ``episodes.COLUMNS``."""
    path = folder / 'test_robot.yaml'
    path.write_text(ROBOT)
    return load_embodiment(path)


def entry(episode):
    """What ``report.json`` says about an episode."""
    return {
        'bag': episode.bag,
        'policy': episode.policy,
        'key': f'{episode.name}-{episode.policy}',
        'seconds': (episode.end_ns - episode.start_ns) * 1e-9,
        'prompt': episode.prompt,
        'action_source': episode.action_source,
        'summary': summarise(episode),
        'timing': {},
    }


def content(entries, failed=()):
    """What ``report.json`` says in all."""
    return {
        'schema': 1,
        'command': 'pizero replay bags --bundle tiny',
        'created': '2026-01-01T12:00:00+00:00',
        'versions': {'python': '3.11.2'},
        'settings': {'modes': ['open_loop', 'deployed'], 'seeds': [0, 1], 'latency': '100ms'},
        'embodiment': {'name': 'test_robot', 'source': 'test_robot.yaml', 'sha256': 'ab'},
        'policies': [
            {'label': label, 'path': f'bundles/{label}', 'sha256': 'cd', 'kind': 'random'}
            for label in dict.fromkeys(each['policy'] for each in entries)
        ],
        'episodes': entries,
        'failed': list(failed),
        'comparison': compare((each, each['summary']) for each in entries),
        'timing': {'engine': 'processes'},
    }


def pictures(_path, robot, moments_ns):
    """Grey pictures for every camera and moment."""
    grey = np.full((48, 64, 3), 128, np.uint8)
    return {at_ns: {camera.slot: grey for camera in robot.cameras} for at_ns in moments_ns}


def report(out, episodes, *, failed=(), look=pictures):
    """Write the report of episodes; return what ``write_report`` returns."""
    entries = [entry(each) for each in episodes]
    loaders = [
        (each['key'], lambda episode=episode: episode)
        for each, episode in zip(entries, episodes, strict=True)
    ]
    return write_report(out, content(entries, failed), loaders, robot(out), pictures=look)


def two_policies(bags=2):
    """Episodes of two policies on some recordings; ``worse-2`` errs four times as much.

    The baseline ``linear`` was not evaluated as deployed.
    """
    episodes = [
        make_episode(f'/bags/episode_{n}', policy, error=error, steps=80 + 20 * n)
        for n in range(bags)
        for policy, error in (('good', 0.02), ('worse-2', 0.08))
    ]
    return [
        replace(each, deployed={k: v for k, v in each.deployed.items() if k != 'linear'})
        for each in episodes
    ]
