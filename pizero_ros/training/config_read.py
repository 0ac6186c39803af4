"""Reads a training configuration strictly: every mistake is named with its line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.errors import TrainingConfigError
from pizero_ros.sim.seeds import SEEDS
from pizero_ros.strict_yaml import read_yaml
from pizero_ros.training.config import (
    SCHEMA,
    DataConfig,
    GroundingConfig,
    LoraConfig,
    ModelConfig,
    OptimizerConfig,
    SourceConfig,
    TrainingConfig,
)

if TYPE_CHECKING:
    from pizero_ros.strict_yaml import Fields
    from pizero_ros.training.config import Aim, Init, StatisticsFrom

_OF_RECORDINGS = (
    'sources',
    'weight_exponent',
    'validation_share',
    'actions',
    'normalization',
    'still',
    'statistics',
)
_CACHE = '.cache/training'
_LORA_TARGETS = ('*.q_proj.weight', '*.k_proj.weight', '*.v_proj.weight', '*.o_proj.weight')


def read_config(path: str | Path) -> TrainingConfig:
    """Read and check a configuration.

    Args:
        path: The file. Paths in it are relative to the current directory, as they would be on
            the command line.

    Returns:
        The configuration.

    Raises:
        TrainingConfigError: The file cannot be read, a key is unknown, missing or wrong, or values
            do not fit together; every mistake is named with its line.
    """
    fields = read_yaml(Path(path), TrainingConfigError)
    fields.choice('schema', (SCHEMA,))
    objective: Aim = fields.choice('objective', ('flow', 'grounding'), 'flow')
    model = _model(fields.mapping('model'))
    if objective == 'flow':
        _refuse(fields, 'objective: grounding', 'grounding')
        data, grounding = _data(fields.mapping('data'), model.init), None
    else:
        _refuse(fields, 'objective: flow', 'draws', 'rtc', 'learn_repeated')
        data = _slots_and_words(fields.mapping('data', required=False))
        grounding = _grounding(fields.mapping('grounding'))
    steps = fields.integer('steps', minimum=1)
    optimizer = _optimizer(fields.mapping('optimizer', required=False), steps)
    rtc = fields.mapping('rtc', required=False)
    validation = fields.mapping('validation', required=False)
    save = fields.mapping('save', required=False)
    config = TrainingConfig(
        objective=objective,
        data=data,
        grounding=grounding,
        model=model,
        optimizer=optimizer,
        out=Path(fields.text('out')),
        steps=steps,
        batch=fields.integer('batch', 32, minimum=1),
        draws=fields.integer('draws', 1, minimum=1),
        seed=fields.integer('seed', 0, minimum=0),
        precision=fields.choice('precision', ('float32', 'bfloat16'), 'float32'),
        ema=_below_one(fields, 'ema', 0.99),
        rtc_max_delay=rtc.integer('max_delay', 0, minimum=0),
        learn_repeated=fields.boolean('learn_repeated', True),
        validate_every=validation.integer('every', 500, minimum=1),
        validate_batches=validation.integer('batches', 8, minimum=1),
        save_every=save.integer('every', 500, minimum=1),
        keep=save.integer('keep', 2, minimum=1),
        threads=fields.integer('threads', 0, minimum=0),
    )
    fields.document.finish()
    return config


def _data(fields: Fields, init: Init) -> DataConfig:
    sources = tuple(
        SourceConfig(
            path=Path(each.text('path')),
            embodiment=each.text('embodiment'),
            task=each.text('task'),
            prompt=None if each.blank('prompt') else each.text('prompt'),
            commands=each.text('commands', 'auto'),
            cameras=_texts_by_name(each.mapping('cameras', required=False)),
            names=_texts_by_name(each.mapping('names', required=False)),
        )
        for each in fields.mappings('sources')
    )
    return DataConfig(
        sources=sources,
        weight_exponent=fields.number('weight_exponent', 0.43, minimum=0.0, maximum=1.0),
        validation_share=_below_one(fields, 'validation_share', 0.05),
        actions=fields.choice('actions', ('absolute', 'relative')),
        normalization=fields.choice('normalization', ('zscore', 'quantile'), 'zscore'),
        slots=_slots(fields),
        tokenizer=_path(fields, 'tokenizer'),
        still=() if fields.blank('still') else fields.texts('still'),
        statistics=_statistics_from(fields, init),
        cache=Path(fields.text('cache', _CACHE)),
    )


def _slots_and_words(fields: Fields) -> DataConfig:
    """Read what of the data counts where no recordings are learned from."""
    _refuse(fields, 'objective: flow', *_OF_RECORDINGS)
    return DataConfig(
        sources=(),
        weight_exponent=0.0,
        validation_share=0.0,
        actions='absolute',
        normalization='zscore',
        slots=_slots(fields),
        tokenizer=_path(fields, 'tokenizer'),
        cache=Path(fields.text('cache', _CACHE)),
    )


def _grounding(fields: Fields) -> GroundingConfig:
    robots = fields.texts('robots')
    if not robots or len(set(robots)) != len(robots):
        fields.report('robots', found=list(robots), expected='simulated robots, each once')
    config = GroundingConfig(
        robots=robots,
        scenes=fields.integer('scenes', minimum=1),
        held_out=fields.integer('held_out', 200, minimum=0),
        seed=fields.integer('seed', minimum=0),
        picture=fields.integer('picture', 224, minimum=16),
        bins=fields.integer('bins', 32, minimum=2),
        keypoints=fields.number('keypoints', 0.0, minimum=0.0),
    )
    end = config.seed + config.scenes + config.held_out
    if end > SEEDS['train'].stop:
        fields.report(
            'seed',
            found=f'{config.seed}, and scenes up to {end - 1}',
            expected=f'scenes up to {SEEDS["train"].stop - 1}',
            remedy='Scenes behind these are kept for evaluation.',
        )
    return config


def _refuse(fields: Fields, where: str, *keys: str) -> None:
    """Report keys that say nothing here: whoever wrote them meant something."""
    for key in keys:
        if fields.has(key):
            fields.report(key, found='a setting', expected=f'none: it is for `{where}`')
            fields.skip(key)


def _slots(fields: Fields) -> tuple[str, ...] | None:
    slots = None if fields.blank('slots') else fields.texts('slots')
    if slots is not None and (not slots or len(set(slots)) != len(slots)):
        fields.report('slots', found=list(slots), expected='camera slots, each once')
    return slots


def _path(fields: Fields, key: str) -> Path | None:
    return None if fields.blank(key) else Path(fields.text(key))


def _statistics_from(fields: Fields, init: Init) -> StatisticsFrom:
    """Units stay what they are where a run starts from another one."""
    usual: StatisticsFrom = 'run' if init == 'run' else 'data'
    chosen: StatisticsFrom = fields.choice('statistics', ('data', 'run'), usual)
    if chosen == 'run' and init != 'run':
        fields.report('statistics', found='run', expected=f'data, where init is {init}')
    return chosen


def _texts_by_name(fields: Fields) -> tuple[tuple[str, str], ...]:
    names = fields.keys()
    return tuple((name, fields.text(name)) for name in names)


def _model(fields: Fields) -> ModelConfig:
    init: Init = fields.choice('init', ('random', 'checkpoint', 'run'))
    source = None if fields.blank('from') else Path(fields.text('from'))
    if init == 'random' and source is not None:
        fields.report(
            'from',
            found=str(source),
            expected='nothing where init is random',
            remedy='Say `init: checkpoint` or `init: run` to start from it.',
        )
    if init != 'random' and source is None:
        fields.report('from', found='nothing', expected=f'the folder of the {init}')
    freeze = () if fields.blank('freeze') else fields.texts('freeze')
    lora = None
    if not fields.blank('lora'):
        low_rank = fields.mapping('lora')
        rank = low_rank.integer('rank', 16, minimum=1)
        lora = LoraConfig(
            rank=rank,
            alpha=low_rank.number('alpha', float(rank), above=0.0),
            targets=_LORA_TARGETS if low_rank.blank('targets') else low_rank.texts('targets'),
        )
    return ModelConfig(fields.text('architecture'), init, source, freeze, lora)


def _optimizer(fields: Fields, steps: int) -> OptimizerConfig:
    rate = fields.number('learning_rate', 2.5e-5, above=0.0)
    config = OptimizerConfig(
        learning_rate=rate,
        warm_up=fields.integer('warm_up', min(1000, steps // 10), minimum=0),
        decay_to=fields.number('decay_to', rate / 10, minimum=0.0),
        decay_steps=fields.integer('decay_steps', steps, minimum=1),
        weight_decay=fields.number('weight_decay', 1e-10, minimum=0.0),
        betas=_betas(fields),
        eps=fields.number('eps', 1e-8, above=0.0),
        clip=fields.number('clip', 1.0, above=0.0),
    )
    if config.warm_up >= config.decay_steps:
        fields.report(
            'warm_up',
            found=config.warm_up,
            expected=f'fewer than decay_steps, {config.decay_steps}',
        )
    if config.decay_to > config.learning_rate:
        expected = f'at most learning_rate, {config.learning_rate:g}'
        fields.report('decay_to', found=config.decay_to, expected=expected)
    return config


def _betas(fields: Fields) -> tuple[float, float]:
    if fields.blank('betas'):
        return (0.9, 0.95)
    betas = fields.numbers('betas', 2)
    if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
        fields.report('betas', found=list(betas), expected='two numbers from 0 to below 1')
        return (0.0, 0.0)
    return (betas[0], betas[1])


def _below_one(fields: Fields, key: str, default: float) -> float:
    value = fields.number(key, default, minimum=0.0)
    if value >= 1.0:
        fields.report(key, found=value, expected='a number from 0 to below 1')
    return value
