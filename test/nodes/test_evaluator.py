"""Closed-loop evaluation over real nodes: trials, faults, conditions, and going on with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_prefix
from PIL import Image
from pizero_ros.msg import PolicyStatus
from std_msgs.msg import String

from pizero_ros.cli.evaluate_run import Runner
from pizero_ros.cli.main import main
from pizero_ros.demo.installation import environment, executables, free_domain
from pizero_ros.demo.processes import Processes, ros_arguments
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import EvaluationError
from pizero_ros.evaluation.journal import Order
from pizero_ros.evaluation.trial import Trial
from pizero_ros.nodes.evaluator_session import EvaluatorSession
from pizero_ros.nodes.policy_account import Account
from pizero_ros.nodes.sim_scene import LATCHED
from pizero_ros.resources import shipped_policy
from pizero_ros.sim.tasks.task import task_named

pytest.importorskip('mujoco', reason='the simulation extra is not installed')

PIZERO = Path(get_package_prefix('pizero_ros'), 'lib', 'pizero_ros', 'pizero')
ARM = load_embodiment('sim_single_arm')
SEED = 1_000_000
ORDER = Order(seed=SEED, width=48, speed=1.0, executed_steps=0, noise_seed=0)


@pytest.fixture(autouse=True)
def local(monkeypatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


def lines(out):
    return [json.loads(line) for line in (out / 'trials.jsonl').read_text().splitlines()]


def test_policy_and_baseline_are_run_and_gone_on_with(tiny_bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('pizero_ros.sim.tasks.task.STEP_LIMIT_S', 2.0)
    words = ['evaluate', '--policy', f'random-weights={tiny_bundle}', '--baseline', 'hold']
    words += ['--embodiment', 'sim_single_arm', '--task', 'touch_red', '--size', '48']
    words += ['--speed', '1', '--out', str(tmp_path / 'out')]
    assert main([*words, '--trials', '1', '--json', str(tmp_path / 'result.json')]) == 0
    policy, hold = before = lines(tmp_path / 'out')
    assert (policy['policy'], hold['policy']) == ('random-weights', 'hold')
    for each in before:
        assert (each['seed'], each['ended'], each['success']) == (SEED, 'time', False)
        assert 2.0 <= each['elapsed_s'] < 3.0
    # Pictures that are all the same become one.
    for each, least in ((policy, 8), (hold, 1)):
        with Image.open(tmp_path / 'out' / each['video']) as film:
            assert film.n_frames >= least
    # The robot was told what to do, and was moved by the policy only.
    assert policy['prompt'] == 'touch the red cube'
    assert policy['counters']['chunks_received'] >= 1
    assert hold['progress'] < 0.01
    result = json.loads((tmp_path / 'result.json').read_text())
    assert [each['policy'] for each in result['timing']] == ['random-weights', 'hold']
    assert (tmp_path / 'out' / 'report.html').is_file()

    assert main([*words, '--trials', '2']) == 0
    after = lines(tmp_path / 'out')
    assert after[:2] == before
    assert sorted(each['seed'] for each in after[2:]) == [SEED + 1] * 2
    capsys.readouterr()
    assert main([*words, '--noise-seed', '1']) == 2
    assert 'noise_seed' in capsys.readouterr().err


def test_the_shipped_policy_does_what_it_is_told(tmp_path):
    words = ['evaluate', '--bundle', str(shipped_policy()), '--embodiment', 'sim_single_arm']
    words += ['--task', 'touch_red', '--task', 'hover_blue', '--trials', '1', '--no-gif']
    # Scenes that were never looked at: neither in training nor among those of its scores.
    assert main([*words, '--seed', '1900000', '--speed', '1', '--out', str(tmp_path)]) == 0
    for each in lines(tmp_path):
        assert each['success'], each
        assert each['followed']


def wrapped(folder, **arguments):
    """Return programs of which the policy node gets further arguments, or is another program."""
    for name, path in executables().items():
        (folder / name).symlink_to(path)
    policy = folder / 'policy_node'
    real = policy.resolve()
    policy.unlink()
    policy.write_text(arguments['script'].format(real=real))
    policy.chmod(0o755)
    return {'sim_robot': folder / 'sim_robot'}


def run(folder, programs, bundle, count):
    records = []
    runner = Runner(folder, ORDER, programs, environment(), False, lambda _: None, records.append)
    task = task_named(ARM, 'touch_red')
    trials = [Trial(ARM.name, 'ours', 'flat', task, k, SEED + k) for k in range(count)]
    return runner, trials, records


def test_a_fault_of_the_policy_is_a_failure_with_its_reason_and_the_next_trial_goes_on(
    tiny_bundle, tmp_path, monkeypatch
):
    monkeypatch.setattr('pizero_ros.sim.tasks.task.STEP_LIMIT_S', 4.0)
    script = '#!/bin/sh\nexec {real} "$@" -p "fault_injection:=[raise_after=2]"\n'
    programs = wrapped(tmp_path, script=script)
    runner, trials, records = run(tmp_path / 'out', programs, tiny_bundle, 2)
    runner.run(ARM, tiny_bundle, trials)
    fault, after = records
    assert (fault['ended'], fault['success']) == ('fault', False)
    assert 'inject' in fault['reason']
    assert fault['elapsed_s'] < 4.0
    assert fault['counters']['chunks_received'] == 2
    # The fault is injected once, and gone with the next activation.
    assert (after['ended'], after['reason']) == ('time', '')
    assert after['counters']['chunks_received'] >= 2


def test_a_trial_in_which_the_policy_dies_is_a_failure_and_the_policy_is_started_again(
    tiny_bundle, tmp_path, monkeypatch
):
    monkeypatch.setattr('pizero_ros.sim.tasks.task.STEP_LIMIT_S', 4.0)
    pid = tmp_path / 'pid'
    programs = wrapped(tmp_path, script=f'#!/bin/sh\necho $$ > {pid}\nexec {{real}} "$@"\n')
    runner, trials, records = run(tmp_path / 'out', programs, tiny_bundle, 2)
    log = tmp_path / 'out' / 'logs' / 'sim_single_arm.ours.policy_node.log'

    def kill():
        while not (log.exists() and 'active on' in log.read_text()):
            time.sleep(0.05)
        os.kill(int(pid.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    runner.run(ARM, tiny_bundle, trials)
    killer.join()
    crash, after = records
    assert (crash['ended'], crash['success'], crash['seed']) == ('crash', False, SEED)
    assert 'policy_node: found that it ended by itself with status -9' in crash['reason']
    assert (after['ended'], after['seed']) == ('time', SEED + 1)
    assert after['counters']['chunks_received'] >= 1


def test_a_node_that_ends_at_once_ends_the_evaluation_with_its_log(tiny_bundle, tmp_path):
    programs = wrapped(tmp_path, script='#!/bin/sh\necho no library; exit 3\n')
    runner, trials, records = run(tmp_path / 'out', programs, tiny_bundle, 1)
    with pytest.raises(Exception, match=r'policy_node: .*status 3.*no library'):
        runner.run(ARM, tiny_bundle, trials)
    assert records == []


def test_a_policy_that_cannot_be_configured_is_named(tiny_bundle, tmp_path):
    programs = wrapped(tmp_path, script='#!/bin/sh\nexec {real} "$@" -p bundle:=/nowhere\n')
    runner, trials, _ = run(tmp_path / 'out', programs, tiny_bundle, 1)
    with pytest.raises(EvaluationError, match='could not be configured'):
        runner.run(ARM, tiny_bundle, trials)


class Demonstrated(EvaluatorSession):
    """Trials that an expert does, who knows nothing of the evaluation."""

    def _tell_first(self, trial):
        steps = trial.task.steps
        told = {'task': trial.task.name, 'kind': 'curated', 'episode': self.truth.episode}
        told['instructions'] = [step.instruction for step in steps]
        self.assignments.publish(String(data=json.dumps(told)))


def test_steps_that_an_expert_does_are_seen_told_and_judged(tmp_path):
    task = task_named(ARM, 'hover_red_then_touch_blue')
    domain = free_domain()
    parameters = {'width': 48, 'height': 48, 'publish_clock': True, 'paced': True, 'speed': 3.0}
    with Processes({**environment(), 'ROS_DOMAIN_ID': str(domain)}, tmp_path) as processes:
        for name in ('sim_robot', 'expert_node'):
            program = executables()['sim_robot'].with_name(name)
            given = parameters if name == 'sim_robot' else {}
            words = ros_arguments({'embodiment': ARM.source, **given})
            processes.start(name, [program, *words], name)
        with Demonstrated(ARM, domain, processes.check, policy=False, speed=3.0) as session:
            node = session.node
            session.assignments = node.create_publisher(String, '/expert_node/assignment', LATCHED)
            heard = []
            for topic in ('/policy_node/prompt', '/planner_node/verdict'):
                node.create_subscription(String, topic, lambda m: heard.append(m.data), 10)
            session.prepare(60.0)
            session.until(session.assignments.get_subscription_count, 'expert', 60.0)
            outcomes = {
                condition: session.run(Trial(ARM.name, 'expert', condition, task, 0, SEED))
                for condition in ('human', 'planner')
            }
    assert heard == [
        'touch the blue cube',
        'succeeded: hover over the red cube',
        'succeeded: touch the blue cube',
    ]
    for outcome in outcomes.values():
        assert outcome.ended == 'success'
        assert outcome.score.followed
        assert outcome.score.progress == 1.0
        # It goes on for half a second, so that one sees it.
        assert outcome.score.elapsed_s - outcome.score.done_s >= 0.5
        assert len(outcome.film) >= 6 * outcome.score.elapsed_s


def test_the_end_of_an_evaluation_ends_its_nodes_and_keeps_the_trials(tmp_path):
    command = [PIZERO, 'evaluate', '--baseline', 'hold', '--embodiment', 'sim_single_arm']
    command += ['--task', 'touch_red', '--size', '48', '--speed', '1', '--out', tmp_path / 'out']
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        # Without a terminal, a line for each trial.
        first = process.stderr.readline()
        nodes = children(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert '1000000: time' in first
    assert len(lines(tmp_path / 'out')) == 1
    assert (tmp_path / 'out' / 'report.html').is_file()
    assert nodes
    assert not any(Path(f'/proc/{pid}').exists() for pid in nodes)


def children(pid):
    found = []
    for path in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(')')[2].split()[1]) == pid:
                found.append(path.parent.name)
    return found


def status(state, reason='', prompt='touch it', **fields):
    return PolicyStatus(state=state, reason=reason, prompt=prompt, **fields)


def test_account_begins_with_the_activation_and_keeps_each_kind_of_hold_once():
    account = Account()
    account.take(status(PolicyStatus.STATE_FAULT, 'of the trial before'))
    account.take(status(PolicyStatus.STATE_INACTIVE))
    assert (account.active, account.fault, account.plain()) == (False, '', {})
    holding = PolicyStatus.STATE_HOLDING
    first = status(holding, 'no chunk yet', stream_missing=[3, 4])
    first.intervention_names, first.intervention_counts = ['arm.velocity'], [2]
    account.take(first)
    assert account.active
    for age in (0.21, 0.35):
        account.take(status(holding, f'camera: {age} s old, limit 0.2 s'))
    account.take(status(holding, 'prompt: found nothing', prompt=''))
    last = status(PolicyStatus.STATE_INACTIVE, stream_missing=[5, 4], starvations=2)
    last.latency_phases, last.latency_p50_ms = ['stamp_to_command'], [41.23]
    last.latency_p95_ms = [80.0]
    last.intervention_names, last.intervention_counts = ['arm.max_step', 'arm.velocity'], [0, 7]
    account.take(last)
    found = account.plain()
    assert not account.active
    assert found['holds'] == ['camera: 0.21 s old, limit 0.2 s']
    assert found['messages_missing'] == 2
    assert found['counters']['starvations'] == 2
    assert found['latency_ms'] == {'p50': 41.2, 'p95': 80.0}
    assert found['interventions'] == {'arm.velocity': 5}
