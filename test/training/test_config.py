from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pizero_ros.errors import TrainingConfigError
from pizero_ros.training.config import GroundingConfig
from pizero_ros.training.config_read import read_config

MINIMAL = """\
schema: 1
out: runs/a
data:
  actions: absolute
  sources:
    - {path: demos/red, embodiment: sim_single_arm, task: red cube}
model: {architecture: tiny, init: random}
steps: 30000
"""


@pytest.fixture
def read(tmp_path: Path):
    def from_text(text: str):
        path = tmp_path / 'config.yaml'
        path.write_text(text)
        return read_config(path)

    return from_text


def test_defaults_are_those_of_openpi(read):
    config = read(MINIMAL)
    optimizer = config.optimizer
    assert (optimizer.learning_rate, optimizer.decay_to) == (2.5e-5, 2.5e-6)
    assert (optimizer.warm_up, optimizer.decay_steps) == (1000, 30000)
    assert (optimizer.weight_decay, optimizer.betas, optimizer.eps) == (1e-10, (0.9, 0.95), 1e-8)
    assert (optimizer.clip, config.ema, config.batch) == (1.0, 0.99, 32)
    assert (config.rtc_max_delay, config.learn_repeated, config.precision) == (0, True, 'float32')
    assert config.draws == 1
    assert config.data.weight_exponent == 0.43
    assert config.data.sources[0].path == Path('demos/red')
    assert config.data.statistics == 'data'
    later = read(MINIMAL.replace('init: random', 'init: run, from: runs/before'))
    assert later.data.statistics == 'run'


def test_every_key_is_read(read):
    config = read("""\
schema: 1
out: runs/b
data:
  sources:
    - {path: demos/red, embodiment: sim_single_arm, task: red cube}
    - {path: demos/two, embodiment: sim_dual_arm, task: left arm, prompt: go left,
       commands: state}
  weight_exponent: 0.5
  validation_share: 0.1
  actions: relative
  normalization: quantile
  slots: [base_0_rgb, left_wrist_0_rgb]
  tokenizer: tokenizer.model
  still: [torso]
  statistics: data
  cache: cache
model:
  architecture: pi0
  init: checkpoint
  from: checkpoints/base
  freeze: ['*.vision_tower.*']
  lora: {rank: 4, alpha: 8, targets: ['*.q_proj.weight']}
steps: 100
batch: 64
draws: 4
seed: 7
precision: bfloat16
optimizer: {learning_rate: 1.0e-3, warm_up: 5, decay_to: 0, decay_steps: 80, weight_decay: 0.01,
            betas: [0.8, 0.9], eps: 1.0e-6, clip: 0.5}
ema: 0
rtc: {max_delay: 6}
learn_repeated: false
validation: {every: 10, batches: 2}
save: {every: 20, keep: 3}
threads: 2
""")
    assert [source.task for source in config.data.sources] == ['red cube', 'left arm']
    assert config.data.sources[1].prompt == 'go left'
    assert config.data.sources[1].commands == 'state'
    assert config.data.still == ('torso',)
    assert config.data.cache == Path('cache')
    assert config.data.slots == ('base_0_rgb', 'left_wrist_0_rgb')
    assert config.model.source == Path('checkpoints/base')
    assert config.model.lora is not None
    assert (config.model.lora.rank, config.model.lora.alpha) == (4, 8.0)
    assert (config.optimizer.betas, config.optimizer.decay_to) == ((0.8, 0.9), 0.0)
    assert config.draws == 4
    assert (config.keep, config.save_every, config.validate_every) == (3, 20, 10)
    assert (config.rtc_max_delay, config.learn_repeated, config.ema) == (6, False, 0.0)


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('steps: 30000', 'step: 30000', r"config.yaml:8: step: .*Did you mean 'steps'"),
        ('steps: 30000', 'steps: 0', r'steps: found 0'),
        ('steps: 30000', 'steps: 9\ndraws: 0', r'draws: found 0'),
        ('steps: 30000', 'steps: 9\ndraws: 1.5', r'draws: found 1.5'),
        ('init: random', 'init: run', r'model.from: found nothing, expected the folder'),
        (
            'actions: absolute',
            'actions: absolute\n  statistics: run',
            r'expected data, where init',
        ),
        ('init: random', 'init: random, from: x', r'model.from: found x'),
        ('actions: absolute', 'normalization: zscore', r'data.actions: found nothing'),
        ('steps: 30000', 'steps: 9\nema: 1', r'ema: found 1.0'),
        ('steps: 30000', 'steps: 9\noptimizer: {warm_up: 9}', r'warm_up: found 9'),
        ('steps: 30000', 'steps: 9\noptimizer: {betas: [0.9, 1]}', r'betas: found'),
        ('steps: 30000', 'steps: 9\noptimizer: {decay_to: 1}', r'decay_to: found 1'),
        ('steps: 30000', 'steps: 9\noptimizer: {clip: .nan}', r'clip: found'),
        ('task: red cube', 'tasks: red cube', r'sources\[0\].task: found nothing'),
        ('steps: 30000', 'steps: 9\nprecision: float16', r'float32, bfloat16'),
    ],
)
def test_mistakes_are_named_with_their_place(read, old, new, message):
    with pytest.raises(TrainingConfigError, match=message):
        read(MINIMAL.replace(old, new))


GROUNDING = """\
schema: 1
out: runs/see
objective: grounding
grounding: {robots: [sim_single_arm], scenes: 100, seed: 7}
model: {architecture: tiny, init: random}
steps: 9
"""


def test_scenes_to_look_at_are_read(read):
    config = read(GROUNDING)
    assert config.objective == 'grounding'
    assert config.grounding == GroundingConfig(('sim_single_arm',), 100, 200, 7, 224, 32)
    assert (config.data.sources, config.data.cache) == ((), Path('.cache/training'))
    full = read(
        GROUNDING.replace('seed: 7', 'seed: 7, held_out: 3, picture: 96, bins: 20')
        + 'data: {slots: [a, b], tokenizer: t.json, cache: c}\n'
    )
    assert full.grounding == GroundingConfig(('sim_single_arm',), 100, 3, 7, 96, 20)
    assert full.data.slots == ('a', 'b')
    assert (full.data.tokenizer, full.data.cache) == (Path('t.json'), Path('c'))
    assert full.identity() != config.identity()
    assert json.loads(json.dumps(full.identity())) == full.identity()
    assert read(MINIMAL).objective == 'flow'
    assert read(MINIMAL).grounding is None


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        ('data: {sources: []}', r'data.sources: found a setting, expected none: .*`objective: fl'),
        ('data: {actions: absolute}', r'data.actions: found a setting, expected none'),
        ('data: {slot: [a]}', r"data.slot: .*Did you mean 'slots'"),
        ('draws: 2', r'draws: found a setting, expected none: it is for `objective: flow`'),
        ('rtc: {max_delay: 2}', r'rtc: found a setting'),
        ('learn_repeated: true', r'learn_repeated: found a setting'),
        ('seed: 999900', r'grounding.seed: found 999900, and scenes up to 1000199'),
        ('bins: 1', r'grounding.bins: found 1'),
        ('robots: []', r'grounding.robots: found \[\]'),
        ('robots: [a, a]', r"grounding.robots: found \['a', 'a'\]"),
        ('scenes: 0', r'grounding.scenes: found 0'),
        ('held_out: -1', r'grounding.held_out: found -1'),
        ('cube: red', r'grounding.cube: found an unknown key'),
        ('objective: see', r"objective: found 'see', expected one of flow, grounding"),
        ('objective: flow', r'grounding: found a setting, expected none: it is for `objective: g'),
        ('grounding: null', r'grounding: found nothing'),
    ],
)
def test_mistakes_about_scenes_are_named(read, more, message):
    key, _, value = more.partition(': ')
    values = yaml.safe_load(GROUNDING)
    inside = ('robots', 'scenes', 'held_out', 'seed', 'picture', 'bins', 'cube')
    (values['grounding'] if key in inside else values)[key] = yaml.safe_load(value)
    with pytest.raises(TrainingConfigError, match=message):
        read(yaml.safe_dump(values))


def test_identity_is_json_and_leaves_out_where_things_are_saved(read):
    config = read(MINIMAL)
    assert json.loads(json.dumps(config.identity())) == config.identity()
    moved = read(MINIMAL.replace('runs/a', 'runs/b') + 'save: {every: 3, keep: 9}\n')
    assert moved.identity() == config.identity()
    assert read(MINIMAL + 'seed: 1\n').identity() != config.identity()
    assert read(MINIMAL + 'draws: 2\n').identity() != config.identity()
