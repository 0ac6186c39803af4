"""The ablations of the demo policy differ from it in what they leave out, and in nothing else."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pizero_ros.training.config_read import read_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def tool():
    path = ROOT / 'tools/ablate_demo.py'
    specification = importlib.util.spec_from_file_location('ablate_demo', path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def configured(tool, tmp_path):
    """Return a stage as the demo policy has it and as an ablation has it, in one folder."""

    def read(name, stage):
        path = tmp_path / f'{name}_{stage}.yaml'
        folder = Path('out/ablate-demo', name)
        path.write_text(yaml.safe_dump(tool.configured(stage, folder, tool.ABLATIONS[name])))
        demo = read_config(ROOT / f'config/training/demo_{stage}.yaml')
        return replace(demo, out=folder / stage), read_config(path)

    return read


def test_without_grounding_everything_learns_from_random_weights(configured):
    demo, first = configured('no_grounding', 'pretrain')
    assert (first.model.init, first.model.source, first.model.freeze) == ('random', None, ())
    # A run that learned to see has no statistics either: both take them from the same data.
    assert (first.data.statistics, demo.data.statistics) == ('data', 'run')
    assert replace(first, model=demo.model, data=demo.data) == demo
    assert replace(first.data, statistics='run') == demo.data
    demo, second = configured('no_grounding', 'posttrain')
    assert second.model.source == first.out
    assert replace(second, model=demo.model) == demo
    assert replace(second.model, source=demo.model.source, freeze=demo.model.freeze) == demo.model


def test_without_imperfect_demonstrations_the_same_policy_learns_as_long(configured):
    demo, first = configured('curated_only', 'pretrain')
    curated = tuple(source for source in demo.data.sources if source.task == 'curated')
    assert (len(curated), len(demo.data.sources)) == (3, 6)
    assert first == replace(demo, data=replace(demo.data, sources=curated))
    demo, second = configured('curated_only', 'posttrain')
    assert second == replace(demo, model=replace(demo.model, source=first.out))


def test_a_stage_begun_before_its_weights_were_made_is_not_gone_on_with(
    tool, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(tool, 'pizero', lambda *words: asked.append(words))
    config = yaml.safe_load((ROOT / 'config/training/demo_posttrain.yaml').read_text())
    monkeypatch.setattr(tool, 'configured', lambda *_: config)
    config['out'] = str(tmp_path / 'posttrain')
    config['model']['from'] = str(tmp_path / 'pretrain')
    run = tmp_path / 'posttrain/run.json'
    weights = tmp_path / 'pretrain/checkpoints/last/model.safetensors'
    for time, path in enumerate((weights, run)):
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (time, time))
    tool.train('posttrain', tmp_path, tool.without_imperfect)
    assert asked == [('train', tmp_path / 'posttrain.yaml', '--resume')]
    os.utime(weights, (2, 2))
    with pytest.raises(SystemExit, match=r'was begun before .*pretrain.*remove it'):
        tool.train('posttrain', tmp_path, tool.without_imperfect)
