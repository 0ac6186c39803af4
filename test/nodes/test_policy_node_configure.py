"""What cannot be trusted is refused at configure: one clear error, no publishers, no motion."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from pizero_ros.embodiment.load import load_embodiment

COMMANDS = ('/arm_controller/joint_trajectory', '/gripper_controller/commands')


@pytest.fixture(scope='module')
def shared(module_robot, tiny_bundle):
    """One unconfigured policy node for the module."""
    module_robot.run_policy(embodiment='sim_single_arm', bundle=str(tiny_bundle), prompt='wave')
    return module_robot


@pytest.fixture
def policy(shared, tiny_bundle):
    """The node with good parameters, unconfigured."""
    good = {
        'embodiment': 'sim_single_arm', 'bundle': str(tiny_bundle), 'scheduling': 'async',
        'provider': 'auto', 'noise': 'auto', 'executed_steps': 0, 'published_steps': 0,
        'lead_steps': -1, 'latch': [''], 'cpu_affinity': [-1],
    }  # fmt: skip
    assert shared.set_parameters(**good).successful
    yield shared
    shared.cleanup()  # Refused unless the test, or its failure, left the node configured.


@pytest.fixture
def wrong_embodiment(embodiment_file, tmp_path):
    def write(change):
        return str(embodiment_file(tmp_path, change=change, loose=False))

    return write


def assert_refused(policy, parameters, *fragments):
    """Configure, and assert its failure, what the log says, and that nothing can be sent."""
    del policy.received['/rosout'][:]
    assert policy.set_parameters(**parameters).successful
    assert not policy.configure()
    policy.until(lambda: policy.logged(*fragments), timeout_s=5.0)
    lines = [r.message.msg for r in policy.received['/rosout']]
    assert not any('Traceback' in line for line in lines)
    assert [policy.node.count_publishers(topic) for topic in COMMANDS] == [0, 0]


def test_good_parameters_configure_and_create_the_publishers(policy):
    assert policy.configure()
    policy.until(lambda: all(policy.node.count_publishers(topic) for topic in COMMANDS))
    assert policy.cleanup()
    policy.until(lambda: not any(policy.node.count_publishers(topic) for topic in COMMANDS))


def test_mistake_can_be_corrected_without_a_new_process(policy, tiny_bundle):
    assert_refused(policy, {'bundle': '/nowhere'}, '/nowhere: found nothing, expected a bundle')
    assert policy.set_parameters(bundle=str(tiny_bundle)).successful
    assert policy.configure()
    assert policy.cleanup()


@pytest.mark.parametrize(
    ('parameters', 'fragments'),
    [
        ({'bundle': ''}, ['/policy_node', 'bundle', 'nothing', '-p bundle:=']),
        ({'embodiment': ''}, ['embodiment', 'nothing', '-p embodiment:=']),
        ({'embodiment': 'sim_singel_arm'}, ['sim_singel_arm', 'sim_single_arm']),
        ({'embodiment': '/no/such.yaml'}, ['/no/such.yaml']),
        ({'embodiment': 'ur5e'}, ['embodiments', 'sim_single_arm', 'expected ur5e']),
        ({'scheduling': 'eager'}, ["'eager'", 'open_loop, async']),
        ({'provider': 'tpu'}, ["'tpu'", 'cuda']),
        ({'noise': 'pink'}, ["'pink'", 'gaussian']),
        ({'latch': ['blak']}, ["'blak'", 'black', 'max_step']),
        ({'executed_steps': 51}, ['51, 50', 'published <= 50 (the embodiment)']),
        ({'published_steps': 20}, ['25, 20']),
        ({'lead_steps': 50}, ['lead_steps: found 50, expected less than 50']),
        ({'cpu_affinity': [4095]}, ['cpu_affinity: found 4095', 'CPUs of this process']),
    ],
)
def test_wrong_parameter(policy, parameters, fragments):
    assert_refused(policy, parameters, *fragments)


def _unknown_key(content):
    content['cameras'][0]['rotation'] = 90


def _two_on_one_index(content):
    content['state'][0]['joints'][1]['index'] = 0


def _nineteen_values(content):
    content['state'][0]['joints'].append({'name': 'extra', 'index': 18})


@pytest.mark.parametrize(
    ('change', 'fragments'),
    [
        (_unknown_key, ['cameras[0].rotation', 'rotation_deg']),
        (_two_on_one_index, ['state[0].joints[1].index', '0 again', 'an index of its own']),
        (_nineteen_values, ['state[0].joints[7].index', 'found 18', '0 to 17']),
        (lambda c: c.update(rate_hz=20), ['rate_hz: found 20, expected 50', 'mistimed']),
        (lambda c: c.update(horizon=40), ['horizon: found 40, expected 50']),
        (
            lambda c: c['cameras'][2].update(slot='chest_0_rgb'),
            ['cameras: found slot chest_0_rgb, expected one of base_0_rgb'],
        ),
        (lambda c: c['cameras'][0].pop('topic'), ['cameras[0].topic']),
        (lambda c: c.update(schema=2), ['schema', 'found 2']),
    ],
)
def test_wrong_embodiment(policy, wrong_embodiment, change, fragments):
    path = wrong_embodiment(change)
    assert_refused(policy, {'embodiment': path}, path, *fragments)


def test_embodiment_of_another_name_is_not_in_the_bundle(policy, wrong_embodiment):
    path = wrong_embodiment(lambda content: content.update(name='my_arm'))
    assert load_embodiment(path).name == 'my_arm'
    assert_refused(policy, {'embodiment': path}, 'embodiments', 'sim_single_arm', 'my_arm')


def _flip(bundle):
    path = bundle / 'denoise.onnx'
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _truncate(bundle):
    path = bundle / 'observe.onnx'
    path.write_bytes(path.read_bytes()[:-1])


def _schema(bundle):
    path = bundle / 'policy.yaml'
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | {'schema': 2}))


def _chunk_policy(bundle):
    path = bundle / 'policy.yaml'
    path.write_text('schema: 1\nkind: onnx_chunk\nname: act\n')


def _unproven(bundle):
    path = bundle / 'parity.json'
    path.write_text(json.dumps({}))


@pytest.mark.parametrize(
    ('damage', 'fragments'),
    [
        (_flip, ['denoise.onnx', 'SHA-256', 'altered or damaged']),
        (_truncate, ['observe.onnx', 'bytes']),
        (lambda b: (b / 'denoise.onnx').unlink(), ['denoise.onnx', 'no such file']),
        (lambda b: (b / 'policy.yaml').unlink(), ['policy.yaml']),
        (lambda b: (b / 'notes.txt').touch(), ['notes.txt', 'does not list']),
        (_schema, ['policy.yaml', 'schema', '2', '1']),
        (_chunk_policy, ['policy.yaml', 'kind', 'a π0 bundle', 'no robot runs it']),
        (_unproven, ['parity.json']),
        (shutil.rmtree, ['a bundle folder', 'pizero export']),
    ],
)
def test_damaged_bundle(policy, tiny_copy, damage, fragments):
    damage(tiny_copy)
    assert_refused(policy, {'bundle': str(tiny_copy)}, str(tiny_copy), *fragments)


def test_unforeseen_error_is_logged_with_its_traceback(policy, monkeypatch):
    def raises(*_, **__):
        raise ArithmeticError('half a weight')

    monkeypatch.setattr('pizero_ros.nodes.loading.Policy.load', raises)
    del policy.received['/rosout'][:]
    assert not policy.configure()
    policy.until(lambda: policy.logged('on_configure failed', 'Traceback', 'half a weight'))
    monkeypatch.undo()
    assert policy.configure()
    assert policy.cleanup()
