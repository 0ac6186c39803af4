"""Every mistake in a hand-written manifest is named, with what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pizero_ros.errors import BundleError
from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.foreign.bundle import ForeignBundle, is_foreign

ROOT = Path(__file__).resolve().parents[3]


def refused(folder, *fragments):
    with pytest.raises(BundleError) as caught:
        ForeignBundle.open(folder)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_good_folder_opens(act):
    manifest = ForeignBundle.open(act.folder).manifest
    assert manifest.name == 'act_like'
    assert set(manifest.files) == {'act.onnx', 'act.onnx.data'}
    assert manifest.images[1].shape == (56, 56, 3)
    assert manifest.images[1].gain == (3.0, 3.0, 3.0)


@pytest.mark.parametrize(
    ('change', 'fragments'),
    [
        (lambda d: d.update(schema=2), ['schema', 'found 2', 'one of 1']),
        (lambda d: d.update(kind='onnx'), ['kind', "'onnx'", 'onnx_chunk']),
        (lambda d: d.update(rate=50), ['rate: found an unknown key', "Did you mean 'rate_hz'?"]),
        (lambda d: d.pop('rate_hz'), ['rate_hz: found nothing', 'required']),
        (lambda d: d.update(rate_hz=0), ['rate_hz: found 0', 'above 0']),
        (lambda d: d.update(source=''), ['source', 'expected text']),
        (lambda d: d.update(graph='b.onnx'), ['files: found no entry for b.onnx', 'sha256sum']),
        (lambda d: d['files'].update({'a/b': 'x'}), ["found 'a/b'", '64 hexadecimal digits']),
        (lambda d: d.update(horizon='30'), ["horizon: found '30'", 'an integer']),
        (lambda d: d.update(first_step=30), ['first_step: found 30', 'less than 30']),
        (
            lambda d: d.update(observation_steps=2),
            ['observation_steps: found 2', 'not supported', 'n_obs_steps: 1'],
        ),
        (lambda d: d['images'][0].update(size=[36]), ['images[0].size', '2 integers']),
        (lambda d: d['images'][0].update(size=[36, 0]), ['images[0].size', '[36, 0]']),
        (
            lambda d: d['images'][0].update(resize='pad'),
            ["images[0].resize: found 'pad'", 'stretch_antialias', 'lerobot_left_top'],
        ),
        (lambda d: d['images'][0].update(layout='chw'), ['images[0].layout', 'nchw, nhwc']),
        (lambda d: d['images'][0].pop('channels'), ['images[0].channels: found nothing']),
        (
            lambda d: d['images'][0].update(range=[0, 1]),
            ['images[0].mean: found range as well', 'images[0].std'],
        ),
        (lambda d: d['images'][1].pop('range'), ['images[1].mean: found nothing']),
        (lambda d: d['images'][1].update(range=[1, -1]), ['images[1].range', 'lower below upper']),
        (
            lambda d: d['images'][0].update(mean=[123.7, 116.3, 103.5]),
            ['images[0].mean', '0 to 1', 'divide those of 0..255 by 255'],
        ),
        (lambda d: d['images'][0].update(std=[0.2, 0.2, 0]), ['images[0].std', 'above 0']),
        (lambda d: d['images'][0].update(std=[0.2, 0.2]), ['images[0].std', '3 numbers']),
        (lambda d: d['images'][1].update(input='top'), ["input 'top' more than once"]),
        (
            lambda d: [d.pop('images'), d.pop('state'), d['output'].update(relative=[False] * 7)],
            ['images: found neither images nor state'],
        ),
        (lambda d: d['state'].update(width=7), ['state.width: found an unknown key']),
        (lambda d: d['state'].update(normalization='min-max'), ['state.normalization', 'min_max']),
        (lambda d: d['state'].pop('eps'), ['state.eps: found nothing']),
        (lambda d: d['state'].pop('std'), ['state.std: found nothing']),
        (lambda d: d['state']['mean'].pop(), ['state: found statistics of 6 values, expected 7']),
        (
            lambda d: d['state']['std'].__setitem__(3, 0.0),
            ['state: found a spread of 0 at value 3', 'widen it on purpose'],
        ),
        (lambda d: d['output']['max'].__setitem__(1, -2), ['output: found a spread of -1 at']),
        (lambda d: d['state']['indices'].__setitem__(0, 5), ['state.indices', 'each once']),
        (lambda d: d['state']['indices'].__setitem__(0, 18), ['state.indices: found 18', '0 to']),
        (lambda d: d['output']['indices'].__setitem__(0, -1), ['output.indices', 'each once']),
        (
            lambda d: d['state']['maps'][0].update(index=7),
            ['state.maps[0].index: found 7', '0 to 6'],
        ),
        (lambda d: d['state']['maps'][0].update(scale=0), ['state.maps[0].scale', 'other than 0']),
        (
            lambda d: d['state']['maps'][0].update(kind='aloha'),
            ['state.maps[0].scale: found an unknown key'],
        ),
        (
            lambda d: d['state']['maps'].append(dict(d['state']['maps'][0])),
            ['state.maps: found [0, 0]', 'each index once'],
        ),
        (lambda d: d['output']['relative'].pop(), ['output.relative: found 6 values, expected 7']),
        (
            lambda d: d.pop('state'),
            ['output.relative[0]: found an action relative to index 2', 'among state.indices'],
        ),
        (
            lambda d: d.update(noise={'input': 'noise', 'shape': [16, 0]}),
            ['noise.shape: found [16, 0]'],
        ),
        (lambda d: d.pop('output'), ['output: found nothing']),
    ],
)
def test_mistake_is_named(act_copy, edit, change, fragments):
    edit(act_copy, change)
    refused(act_copy, str(act_copy / 'policy.yaml'), *fragments)


def test_every_mistake_is_named_at_once(act_copy, edit):
    edit(act_copy, lambda d: d.update(rate_hz=-1, horizon=0))
    refused(act_copy, '2 mistakes', 'rate_hz', 'horizon')


def test_one_flipped_byte_of_the_weights_is_found(act_copy):
    path = act_copy / 'act.onnx.data'
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    refused(act_copy, 'act.onnx.data: found SHA-256', 'altered or damaged')


def test_file_that_is_missing_and_one_that_is_left_over_are_found(act_copy, edit):
    (act_copy / 'act.onnx.data').unlink()
    refused(act_copy, 'act.onnx.data: found no such file')
    edit(act_copy, lambda d: d['files'].pop('act.onnx.data'))
    (act_copy / 'act.onnx.data').touch()
    refused(act_copy, 'act.onnx.data: found a file that the manifest does not list', 'hashed')


def test_bundle_reader_refuses_a_chunk_policy_and_says_what_it_is_for(act):
    with pytest.raises(BundleError, match=r'policy.yaml: kind: .*`pizero replay` evaluates it'):
        Bundle.open(act.folder)


def test_pi0_bundle_is_not_taken_for_a_chunk_policy(tiny_bundle, act, tmp_path):
    assert is_foreign(act.folder)
    assert not is_foreign(tiny_bundle)
    assert not is_foreign(tmp_path)
    assert Bundle.open(tiny_bundle).manifest.model.horizon == 50
    with pytest.raises(BundleError, match=r'kind: found nothing, expected one of onnx_chunk'):
        ForeignBundle.open(tiny_bundle)


def test_manifest_that_is_no_yaml_is_an_error(act_copy):
    (act_copy / 'policy.yaml').write_text('kind: [')
    with pytest.raises(BundleError, match='one YAML document'):
        is_foreign(act_copy)


def test_example_in_the_documentation_is_read_as_it_stands(tmp_path):
    text = (ROOT / 'docs' / 'chunk_policies.md').read_text(encoding='utf-8')
    example = text.split('```yaml\n')[1].split('```')[0]
    graph = yaml.safe_load(example)['graph']
    (tmp_path / graph).write_bytes(b'')
    (tmp_path / 'policy.yaml').write_text(example)
    refused(tmp_path, f'{graph}: found SHA-256')
