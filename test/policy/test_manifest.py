from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pizero_ros.errors import BundleError
from pizero_ros.policy.manifest_read import read_manifest
from pizero_ros.policy.manifest_write import manifest_text
from pizero_ros.processing.spec import GripperMap, Statistics

if TYPE_CHECKING:
    from pathlib import Path


def robot(document):
    return document['embodiments']['sim_single_arm']


def test_manifest_reads_back_equal(tiny_bundle, tmp_path):
    manifest = read_manifest(tiny_bundle / 'policy.yaml')
    semantics = replace(
        manifest.embodiments['sim_single_arm'],
        normalization='quantile',
        state=Statistics(None, None, np.full(7, -0.1), np.full(7, 1 / 3)),
        action=Statistics(None, None, np.full(7, -1e-7), np.full(7, 1e300)),
        relative=np.array([True] * 6 + [False]),
        signs=np.array([1, -1, 1, 1, 1, 1, 1.0]),
        state_grippers=(GripperMap(6, 'aloha'),),
        action_grippers=(GripperMap(6, 'linear', -25.0, 1.0),),
    )
    prompt = replace(manifest.model.prompt, named={'yes': (2, 3), 'stapele Blöcke: 1': (4,)})
    changed = replace(
        manifest,
        embodiments={'sim_single_arm': semantics},
        model=replace(manifest.model, prompt=prompt),
        provenance=replace(manifest.provenance, seed=None),
    )
    path = tmp_path / 'policy.yaml'
    path.write_text(manifest_text(changed), encoding='utf-8')
    found = read_manifest(path)
    assert manifest_text(found) == manifest_text(changed)
    assert found.model == changed.model
    assert found.provenance == changed.provenance
    assert found.architecture == changed.architecture
    back = found.embodiments['sim_single_arm']
    np.testing.assert_array_equal(back.state.q99, semantics.state.q99)
    np.testing.assert_array_equal(back.action.q99, semantics.action.q99)
    np.testing.assert_array_equal(back.relative, semantics.relative)
    np.testing.assert_array_equal(back.signs, semantics.signs)
    assert back.state.mean is None
    assert back.action_grippers == semantics.action_grippers


MISTAKES = {
    'unknown key': (lambda d: d.update(speed=2), 'speed: found an unknown key'),
    'unknown model key': (
        lambda d: d['model'].update(image_sise=[1, 1]),
        r'model.image_sise: found an unknown key.*Did you mean',
    ),
    'missing key': (lambda d: d['model'].pop('steps'), r'model.steps: found nothing'),
    'missing robot key': (
        lambda d: robot(d).pop('rate_hz'),
        r'embodiments.sim_single_arm.rate_hz: found nothing',
    ),
    'wrong type': (lambda d: d['model'].update(horizon='50'), r"model.horizon: found '50'"),
    'no schema': (lambda d: d.pop('schema'), 'schema: found nothing'),
    'no robots': (lambda d: d.update(embodiments={}), 'embodiments: found none'),
    'robots in a model-only bundle': (
        lambda d: d.update(model_only=True),
        'found sim_single_arm, .* expected none beside model_only',
    ),
    'statistics not finite': (
        lambda d: robot(d)['action']['mean'].__setitem__(2, float('nan')),
        r'action.mean\[2\]: found .nan',
    ),
    'infinite std': (
        lambda d: robot(d)['state']['std'].__setitem__(0, float('inf')),
        r'state.std\[0\]: found .inf',
    ),
    'zero std': (
        lambda d: robot(d)['state']['std'].__setitem__(3, 0.0),
        r'state.std\[3\]: found 0.0, expected a number above 0',
    ),
    'negative std': (
        lambda d: robot(d)['action']['std'].__setitem__(1, -0.1),
        r'action.std\[1\]: found -0.1',
    ),
    'quantiles swapped': (
        lambda d: robot(d)['action']['q99'].__setitem__(1, -9.0),
        r'action.q99\[1\]: found -9.0, expected more than q01\[1\]',
    ),
    'width differs': (
        lambda d: robot(d)['action']['std'].pop(),
        r'action.std: found 6 values, expected 7',
    ),
    'wider than the model': (
        lambda d: d['model'].update(state_dim=6),
        r'state: found 7 values, expected at most 6',
    ),
    'mask of another width': (
        lambda d: robot(d)['relative'].pop(),
        r'relative: found 6 values, expected 7',
    ),
    'statistics of the mode absent': (
        lambda d: robot(d)['state'].pop('mean'),
        r'state.mean: found nothing',
    ),
    'signs': (
        lambda d: robot(d).update(signs=[1, 2, 1, 1, 1, 1, 1]),
        'signs: found .* each 1 or -1',
    ),
    'gripper index': (
        lambda d: robot(d).update(
            state_grippers=[{'index': 7, 'kind': 'linear', 'scale': 1.0, 'offset': 0.0}]
        ),
        r'state_grippers\[0\].index: found 7',
    ),
    'gripper scale': (
        lambda d: robot(d).update(
            action_grippers=[{'index': 6, 'kind': 'linear', 'scale': 0.0, 'offset': 0.0}]
        ),
        r'action_grippers\[0\].scale: found 0',
    ),
    'horizon': (lambda d: robot(d).update(horizon=10), 'horizon: found 10, expected 50'),
    'rate': (lambda d: robot(d).update(rate_hz=0), 'rate_hz: found 0'),
    'normalization': (
        lambda d: robot(d).update(normalization='minmax'),
        "normalization: found 'minmax'",
    ),
    'slot twice': (
        lambda d: d['model'].update(slots=['base_0_rgb', 'base_0_rgb']),
        'slots: found .* each once',
    ),
    'image size': (lambda d: d['model'].update(image_size=[112]), 'image_size: found'),
    'token outside the vocabulary': (
        lambda d: d['model']['prompt']['named'].update(bad=[2, 320]),
        r'named.bad: found \[320\], expected token ids below 320',
    ),
    'prompt too long': (
        lambda d: d['model']['prompt']['named'].update(bad=[2] * 65),
        'named.bad: found 65 tokens, expected 1 to 64',
    ),
    'precision': (lambda d: d.update(precision='int4'), "precision: found 'int4'"),
    'noise': (lambda d: d['noise'].update(flow_time='noise_at_0'), 'flow_time: found'),
    'path as file name': (
        lambda d: d['files'].update({'../x': {'size': 1, 'sha256': '0' * 64}}),
        'the name of a file in the bundle',
    ),
    'digest': (
        lambda d: d['files']['observe.onnx'].update(sha256='abc'),
        'expected 64 hexadecimal digits',
    ),
    'architecture': (
        lambda d: d['architecture']['vlm'].update(width='wide'),
        "architecture.vlm.width: found 'wide'",
    ),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_each_mistake_has_its_own_error(tiny_bundle, tmp_path, edit_manifest, mistake):
    change, message = MISTAKES[mistake]
    path = tmp_path / 'policy.yaml'
    path.write_text((tiny_bundle / 'policy.yaml').read_text())
    edit_manifest(tmp_path, change)
    with pytest.raises(BundleError, match=message) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


def test_every_mistake_is_named_in_one_run(tiny_bundle, tmp_path, edit_manifest):
    def change(document):
        document['speed'] = 2
        document['model']['steps'] = 0

    (tmp_path / 'policy.yaml').write_text((tiny_bundle / 'policy.yaml').read_text())
    edit_manifest(tmp_path, change)
    with pytest.raises(BundleError, match=r'(?s)2 mistakes.*model\.steps.*speed'):
        read_manifest(tmp_path / 'policy.yaml')


def test_text_that_is_no_yaml_is_refused(tmp_path: Path):
    path = tmp_path / 'policy.yaml'
    path.write_text('model: [1, 2\n')
    with pytest.raises(BundleError, match='expected one YAML document'):
        read_manifest(path)


def test_semantics_do_not_share_arrays_between_robots(tiny_bundle):
    manifest = read_manifest(tiny_bundle / 'policy.yaml')
    assert len({id(each.state.mean) for each in manifest.embodiments.values()}) == 3
