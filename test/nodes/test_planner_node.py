"""The planner node over real DDS: beside the real policy node, and as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import rclpy
import yaml
from ament_index_python.packages import get_package_prefix
from diagnostic_msgs.msg import DiagnosticArray
from pizero_ros.msg import PolicyStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from vlm_server import VlmServer, answer

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.nodes.planner_node import PlannerNode
from pizero_ros.policy.manifest_read import read_manifest
from pizero_ros.policy.manifest_write import manifest_text

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RED, BLUE = 'touch the red cube', 'touch the blue cube'
BOTH = f'{RED}, then {BLUE}'
KEY = 'sk-very-secret-0123'
CODE = """
import json, sys
from pizero_ros.nodes.planner_node import main
code = main()
print(json.dumps(sorted(sys.modules)))
sys.exit(code)
"""
NOT_ON_A_ROBOT = {'torch', 'onnx', 'mujoco', 'matplotlib', 'rosbags', 'jinja2', 'rich'}


class Planning:
    """The robot's side of a planner node: what it says, and what it is told."""

    def __init__(self, robot):
        self.robot = robot
        self._plans = robot.listen(String, '/planner_node/plan', LATCHED)
        self._prompts = robot.listen(String, '/policy_node/prompt', LATCHED)
        self._diagnostics = robot.listen(DiagnosticArray, '/diagnostics')
        self._publishers = {}

    @property
    def plan(self):
        return json.loads(self._plans[-1].message.data) if self._plans else {'state': None}

    @property
    def prompts(self):
        return [each.message.data for each in self._prompts]

    @property
    def done(self):
        return [(each['prompt'], each['outcome']) for each in self.plan['finished']]

    @property
    def level(self):
        statuses = [s for r in self._diagnostics for s in r.message.status]
        return [s.level for s in statuses if s.name == 'planner_node: plan'][-1]

    def say(self, topic, text, qos=10):
        publisher = self._publishers.get(topic)
        if publisher is None:
            publisher = self.robot.node.create_publisher(String, f'/planner_node/{topic}', qos)
            self._publishers[topic] = publisher
        if qos != LATCHED:
            self.robot.until(publisher.get_subscription_count)
        publisher.publish(String(data=text))

    def wait(self, **wanted):
        def reached():
            plan = self.plan
            return all(plan.get(key) == value for key, value in wanted.items())

        try:
            self.robot.until(reached)
        except AssertionError:
            pytest.fail(f'waited for {wanted} in vain: {self.plan}')
        return self.plan


@pytest.fixture
def planning(robot):
    return Planning(robot)


@pytest.fixture
def script(tmp_path):
    """Writes a script of one task with two subtasks."""

    def write(**subtask):
        subtasks = [{'prompt': prompt, **subtask} for prompt in (RED, BLUE)]
        tasks = [{'instruction': BOTH, 'subtasks': subtasks}]
        path = tmp_path / 'script.yaml'
        path.write_text(yaml.safe_dump({'schema': 1, 'prompts': [RED, BLUE], 'tasks': tasks}))
        return str(path)

    return write


@pytest.fixture
def run(robot):
    """Starts planner nodes in threads, each a DDS participant of its own."""
    running = []

    def start(**parameters):
        context, ended = Context(), threading.Event()
        rclpy.init(context=context, domain_id=robot.context.get_domain_id())
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = PlannerNode(context=context, parameter_overrides=overrides)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)

        def spin():
            while not ended.is_set():
                executor.spin_once(timeout_sec=0.05)
            node.finish(executor)

        thread = threading.Thread(target=spin, daemon=True)
        thread.start()
        running.append((context, ended, node, executor, thread))
        return node

    yield start
    for context, ended, node, executor, thread in running:
        ended.set()
        thread.join()
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)


@pytest.fixture
def process(robot, tmp_path):
    """Starts planner nodes as processes; kills those that a failed test left."""
    processes = []
    program = Path(get_package_prefix('pizero_ros'), 'lib', 'pizero_ros', 'planner_node')

    def start(*, code='', **parameters):
        command = [sys.executable, '-c', code] if code else [str(program)]
        command.append('--ros-args')
        for key, value in parameters.items():
            command += ['-p', f'{key}:={value}']
        domain = str(robot.context.get_domain_id())
        child = subprocess.Popen(
            command, env=os.environ | {'ROS_DOMAIN_ID': domain, 'A_KEY': KEY}, cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(child)
        return child

    yield start
    for child in processes:
        if child.poll() is None:
            child.kill()
        child.communicate()


@pytest.fixture
def server():
    server = VlmServer()
    yield server
    server.close()


def vlm(server, script, **parameters):
    return {
        'planner': 'vlm', 'script': script(limit_s=60, until='verdict'), 'vlm_url': server.url,
        'embodiment': 'sim_single_arm', 'vlm_model': 'a-model', 'look_period_s': 0.1,
        'vlm_key_variable': 'A_KEY', **parameters,
    }  # fmt: skip


def test_script_leads_the_policy_from_prompt_to_prompt_and_leaves_it_holding(
    planning, start, script, run
):
    robot = start(prompt='')
    planning.say('instruction', BOTH.upper(), LATCHED)  # before the planner is there
    run(script=script(limit_s=60, until='time', seconds=1.0))
    plan = planning.wait(state='done', prompt='')
    assert planning.done == [(RED, 'succeeded'), (BLUE, 'succeeded')]
    assert all(each['elapsed_s'] >= 1.0 for each in plan['finished'])
    followed = [chunk.prompt for chunk in robot.chunks if chunk.sent]
    assert list(dict.fromkeys(followed)) == [RED, BLUE]
    robot.wait_for_state(PolicyStatus.STATE_HOLDING, 'an instruction')
    robot.until(lambda: len(robot.of('arm')[-1].message.points) == 1)
    assert planning.plan['switched_off'] is False


def test_policy_that_does_not_heed_the_empty_prompt_is_switched_off(
    planning, robot, tiny_copy, embodiment_file, tmp_path, script, run
):
    path = tiny_copy / 'policy.yaml'
    manifest = read_manifest(path)
    named = {**manifest.model.prompt.named, '': (3, 5)}
    prompt = replace(manifest.model.prompt, named=named)
    model = replace(manifest.model, prompt=prompt)
    path.write_text(manifest_text(replace(manifest, model=model)))
    robot.start(embodiment_file(tmp_path), tiny_copy, prompt='')
    assert robot.activate()
    robot.wait_for_state(PolicyStatus.STATE_RUNNING)
    run(script=script(limit_s=60, until='verdict'))
    planning.say('instruction', BOTH)
    planning.wait(prompt=RED)
    planning.say('verdict', f'failed: {RED}')
    planning.wait(state='failed', switched_off=True)
    robot.wait_for_state(PolicyStatus.STATE_DRY_RUN)
    robot.until(lambda: len(robot.of('arm')[-1].message.points) == 1)
    assert planning.level == b'\2'


def test_verdicts_end_subtasks_and_a_limit_stops(planning, script, run):
    run(script=script(limit_s=1.5, until='verdict'))
    planning.say('instruction', BOTH)
    planning.wait(state='running', prompt=RED)
    planning.say('verdict', f'succeeded: {BLUE}')
    planning.say('verdict', f'succeeded: {RED}')
    planning.wait(state='running', prompt=BLUE)
    plan = planning.wait(state='failed', prompt='')
    assert planning.done == [(RED, 'succeeded'), (BLUE, 'failed')]
    assert 'has reached its limit, 1.5 s' in plan['reason']
    assert plan['counts'] == {'verdicts on another subtask': 1}
    assert plan['policy']['state'] == 'silent'
    assert planning.prompts == ['', RED, BLUE, '']
    planning.robot.until(lambda: planning.level == b'\2')


def test_unknown_instruction_moves_nothing_and_an_empty_one_stops(planning, script, run):
    run(script=script(limit_s=60, until='verdict'))
    planning.say('instruction', f'{RED}, then blue')
    plan = planning.wait(state='failed')
    assert f'Did you mean {BOTH!r}?' in plan['reason']
    planning.say('instruction', BOTH)
    planning.wait(state='running', prompt=RED)
    planning.say('instruction', '')
    planning.wait(state='stopped', prompt='')
    assert set(planning.prompts) == {'', RED}


def test_person_gives_the_steps(planning, script, run):
    run(planner='human', script=script(limit_s=60, until='verdict'), subtask_limit_s=50.0)
    planning.say('human', RED)
    planning.wait(state='running', prompt=RED, limit_s=50.0)
    planning.say('human', 'touch the read cube')
    plan = planning.wait(counts={'no answer': 1, 'unknown prompts refused': 1})
    assert (plan['prompt'], 'Did you mean' in plan['reason']) == (RED, True)
    planning.say('human', BLUE)
    planning.wait(state='running', prompt=BLUE)
    planning.say('human', 'stop')
    planning.wait(state='failed', reason='stopped by a person')
    planning.say('human', RED)
    planning.wait(state='running', prompt=RED)
    planning.say('human', 'done')
    planning.wait(state='done', prompt='')
    # Every plan begins with a hold, whatever the policy has been told since by others.
    assert planning.prompts == ['', RED, BLUE, '', '', RED, '']


def test_model_sees_the_cameras_and_only_known_prompts_reach_the_policy(
    robot, planning, server, script, run, monkeypatch
):
    monkeypatch.setenv('A_KEY', KEY)
    going_on = answer(status='continue', subtask=None, reason='not yet')
    server.behave(
        answer(status='next', subtask=RED, reason='first'),
        {'kind': 'status', 'code': 500},
        {'kind': 'raw', 'body': 'nonsense'},
        answer(status='next', subtask='fold the towel', reason='why not'),
        going_on,
        answer(status='next', subtask=BLUE, reason='then'),
        going_on,
        answer(status='done', subtask=None, reason='both touched'),
        key=KEY,
    )
    robot.wear(load_embodiment('sim_single_arm'))
    run(**vlm(server, script))
    planning.say('instruction', 'touch red and blue')
    plan = planning.wait(state='done', reason='both touched')
    assert planning.prompts == ['', RED, BLUE, '']
    assert planning.done == [(RED, 'succeeded'), (BLUE, 'succeeded')]
    expected = {
        'retries': 1, 'HTTP 500': 1, 'malformed answers refused': 1, 'unknown subtasks refused': 1,
    }  # fmt: skip
    assert plan['counts'].items() >= expected.items()
    images = [
        part['image_url']['url']
        for part in server.requests[0]['body']['messages'][1]['content']
        if part['type'] == 'image_url'
    ]
    assert len(images) == len(robot.embodiment.cameras) == 3
    assert all(url.startswith('data:image/jpeg;base64,') for url in images)


def test_without_pictures_the_model_is_not_asked(planning, server, script, run, monkeypatch):
    monkeypatch.setenv('A_KEY', KEY)
    run(**vlm(server, script, planning_limit_s=1.0))
    planning.say('instruction', 'touch red')
    plan = planning.wait(state='failed')
    assert 'found no picture' in plan['reason']
    assert server.requests == []
    assert set(planning.prompts) <= {''}


def test_without_answers_the_subtask_goes_on_to_its_limit_and_the_policy_is_stopped(
    robot, planning, server, script, run, monkeypatch
):
    monkeypatch.setenv('A_KEY', KEY)
    server.behave(
        answer(status='next', subtask=RED, reason='first'), {'kind': 'drip', 'part': 'body'}
    )
    robot.wear(load_embodiment('sim_single_arm'))
    parameters = vlm(server, script, vlm_timeout_s=0.2, vlm_attempts=1, subtask_limit_s=1.5)
    run(**parameters)
    planning.say('instruction', 'touch red')
    plan = planning.wait(state='failed', prompt='')
    assert planning.done == [(RED, 'failed')]
    assert plan['finished'][0]['elapsed_s'] >= 1.5
    assert plan['counts']['time-outs'] >= 1


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_the_policy_and_ends_with_0_while_the_model_is_asked(
    robot, planning, server, script, process, number
):
    server.behave(
        answer(status='next', subtask=RED, reason='first'),
        answer(status='done', subtask=None, reason='') | {'seconds': 30.0},
        key=KEY,
    )
    robot.wear(load_embodiment('sim_single_arm'))
    node = process(code=CODE, **vlm(server, script))
    planning.say('instruction', 'touch red')
    planning.wait(state='running', prompt=RED)
    robot.until(lambda: len(server.requests) == 2)
    node.send_signal(number)
    robot.until(lambda: node.poll() is not None)
    output, log = node.communicate()
    assert node.returncode == 0, log
    robot.until(lambda: planning.prompts[-1] == '')
    assert planning.wait(state='stopped')['reason'] == 'the planner was ended'
    assert 'Traceback' not in log
    assert KEY not in log + output
    modules = {name.partition('.')[0] for name in json.loads(output.splitlines()[-1])}
    assert modules & NOT_ON_A_ROBOT == set()


def test_instruction_of_the_start_waits_for_the_policy_and_the_end_for_its_hold(
    planning, start, script, process
):
    robot = start(prompt='', active=False)
    node = process(script=script(limit_s=60, until='verdict'), instruction=BOTH)
    planning.wait(state='idle', policy={'state': 'inactive', 'prompt': '', 'reason': ''})
    assert robot.activate()
    robot.wait_for_state(PolicyStatus.STATE_RUNNING)
    robot.until(lambda: any(chunk.prompt == RED and chunk.sent for chunk in robot.chunks))
    node.send_signal(signal.SIGINT)
    robot.until(lambda: node.poll() is not None)
    assert node.returncode == 0
    robot.wait_for_state(PolicyStatus.STATE_HOLDING, 'an instruction')
    robot.until(lambda: len(robot.of('arm')[-1].message.points) == 1)


@pytest.mark.parametrize(
    ('parameters', 'reason'),
    [
        ({}, 'script: found nothing'),
        ({'planner': 'llm'}, "planner: found 'llm', expected one of script, human, vlm"),
        ({'script': 'sim_mobil'}, "Did you mean 'sim_mobile'?"),
        ({'planner': 'vlm', 'script': 'sim_mobile'}, 'vlm_url: found nothing'),
        ({'vlm_url': 'http://host/v1', 'script': 'sim_mobile'}, 'vlm_model: found nothing'),
        ({'planner': 'human', 'vlm_url': 'http://host/v1', 'vlm_model': 'm',
          'embodiment': 'franka'}, 'expected none with planner human'),
        ({'planner': 'vlm', 'script': 'sim_mobile', 'vlm_url': 'host:80', 'vlm_model': 'm',
          'embodiment': 'sim_mobile'}, "vlm_url: found 'host:80'"),
        ({'planner': 'vlm', 'script': 'sim_mobile', 'vlm_url': 'http://host/v1', 'vlm_model': 'm',
          'embodiment': 'sim_mobil'}, "Did you mean 'sim_mobile'?"),
        ({'planner': 'vlm', 'script': 'sim_mobile', 'vlm_url': 'http://host/v1', 'vlm_model': 'm',
          'embodiment': 'sim_mobile', 'vlm_key_variable': 'NO_KEY'},
         'NO_KEY, which is not set'),
        ({'planner': 'vlm', 'script': 'sim_mobile', 'vlm_url': 'http://host/v1', 'vlm_model': 'm',
          'embodiment': 'sim_mobile', 'vlm_options': "'{\"stream\": true}'"},
         'vlm_options: found'),
        ({'script': 'sim_mobile', 'subtask_limit_s': '0.0'}, 'subtask_limit_s'),
    ],
)  # fmt: skip
def test_planner_that_cannot_plan_says_why(robot, process, parameters, reason):
    node = process(**parameters)
    _, log = node.communicate(timeout=30)
    assert node.returncode == 1
    assert reason in log
    assert 'Traceback' not in log
    assert KEY not in log
