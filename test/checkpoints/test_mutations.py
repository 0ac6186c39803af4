"""Hundreds of damaged checkpoints of every layout, drawn at random: none is accepted silently.

An import of a mutant must fail, or give exactly what the whole checkpoint gives (a training key
changed), or say what is new in a note. What no file can show is at the end, with its remedy.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip('torch')

import torch
from safetensors.torch import load_file, save_file

from pizero_ros.checkpoints.checkpoint import open_checkpoint
from pizero_ros.checkpoints.choices import Choices
from pizero_ros.errors import CheckpointError, PizeroError

SEED = 20_11
REFUSALS = 520
LAYOUTS = ('openpi', 'lerobot-0.6', 'lerobot-0.4', 'lerobot-0.3')
MODEL = 'model.safetensors'
TYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.uint8)

Tensors = dict[str, torch.Tensor]
Mutation = Callable[[random.Random, Path], str]


class Whole(NamedTuple):
    """A checkpoint without a fault, and how it is imported."""

    folder: Path
    choices: Choices
    result: Any
    notes: tuple[str, ...]


@pytest.fixture(scope='module')
def importer(small, two_arms, tokenizer) -> Callable[[Path, Choices], tuple[Any, tuple[str, ...]]]:
    """Import a checkpoint for a robot; returns all that reaches a bundle, and the notes."""
    sizes = replace(small, max_tokens=48)

    def run(folder: Path, choices: Choices) -> tuple[Any, tuple[str, ...]]:
        checkpoint = open_checkpoint(folder, sizes)
        semantics, notes = checkpoint.semantics(two_arms, choices)
        weights = hashlib.sha256()
        for name in sorted(checkpoint.weights):
            weights.update(checkpoint.weights[name].load().numpy().tobytes())
        kept = (semantics.state, semantics.action)
        arrays = [getattr(each, key) for each in kept for key in ('mean', 'std', 'q01', 'q99')]
        result = (
            checkpoint.architecture,
            replace(checkpoint.inputs, tokenizer=None, tokenizer_name=''),
            weights.hexdigest(),
            semantics.normalization,
            semantics.eps,
            semantics.relative.tolist(),
            [None if each is None else each.tolist() for each in arrays],
        )
        return result, (*checkpoint.notes, *notes)

    return run


@pytest.fixture(scope='module')
def wholes(openpi, lerobot_06, lerobot_04, lerobot_03, tokenizer, importer) -> dict[str, Whole]:
    from pizero_ros.checkpoints.choices import parse_gripper

    said = Choices(
        actions='relative',
        normalization='zscore',
        adapt='none',
        grippers=(parse_gripper('as-is'),),
        tokenizer=tokenizer,
    )
    folders = dict(zip(LAYOUTS, (openpi, lerobot_06, lerobot_04, lerobot_03), strict=True))
    wholes = {}
    for layout, folder in folders.items():
        choices = said if layout == 'openpi' else Choices()
        wholes[layout] = Whole(folder, choices, *importer(folder, choices))
    return wholes


def alter_tensors(
    path: Path, random: random.Random, change: Callable[[random.Random, Tensors], str]
) -> str:
    tensors = load_file(path)
    what = change(random, tensors)
    path.unlink()  # The file is a link to the whole checkpoint's.
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return what


def model(change: Callable[[random.Random, Tensors], str]) -> Mutation:
    return lambda random, folder: alter_tensors(folder / MODEL, random, change)


def delete(random: random.Random, tensors: Tensors) -> str:
    name = random.choice(sorted(tensors))
    del tensors[name]
    return name


def rename(random: random.Random, tensors: Tensors) -> str:
    name = random.choice(sorted(tensors))
    other = random.choice([each for each in sorted(tensors) if each != name])
    if random.random() < 0.3 and tensors[other].shape != tensors[name].shape:
        tensors[name], tensors[other] = tensors[other], tensors[name]
        return f'{name} <-> {other}'
    new = random.choice(
        [
            f'{name}_1',
            f'model.{name}',
            name.replace('layers.0', 'layers.9'),
            name.replace('model.', '', 1),
            name.replace('weight', 'weights').replace('bias', 'biases'),
        ]
    )
    if new in tensors:
        new = f'{name}.x'
    tensors[new] = tensors.pop(name)
    return f'{name} -> {new}'


def transpose(random: random.Random, tensors: Tensors) -> str:
    turned = {name: tensor.transpose(0, -1) for name, tensor in tensors.items() if tensor.ndim > 1}
    fit = sorted(name for name, tensor in turned.items() if tensor.shape != tensors[name].shape)
    name = random.choice(fit)
    tensors[name] = turned[name]
    return name


def retype(random: random.Random, tensors: Tensors) -> str:
    name = random.choice(sorted(tensors))
    dtype = random.choice(TYPES)
    tensors[name] = tensors[name].to(dtype)
    return f'{name} {dtype}'


def spoil(random: random.Random, tensors: Tensors) -> str:
    read = sorted(name for name in tensors if 'lm_head' not in name)
    name = random.choice(read)
    tensors[name] = tensors[name].clone()
    value = random.choice([float('nan'), float('inf'), float('-inf')])
    tensors[name].view(-1)[random.randrange(tensors[name].numel())] = value
    return f'{name} {value}'


def add(random: random.Random, tensors: Tensors) -> str:
    name = random.choice(sorted(tensors))
    tensors[f'{name}_copy'] = tensors[name].clone()
    return name


def truncate(random: random.Random, folder: Path) -> str:
    path = random.choice(sorted(folder.glob('*.safetensors')))
    content = path.read_bytes()
    length = random.randrange(len(content))
    path.unlink()
    path.write_bytes(content[:length])
    return f'{path.name} {length}'


def lengthen(random: random.Random, folder: Path) -> str:
    path = random.choice(sorted(folder.glob('*.safetensors')))
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + random.randbytes(random.randint(1, 100)))
    return path.name


def relabel(random: random.Random, folder: Path) -> str:
    """Call the bytes of a tensor another type, in the header alone."""
    path = folder / MODEL
    content = path.read_bytes()
    (length,) = struct.unpack('<Q', content[:8])
    header = json.loads(content[8 : 8 + length])
    name = random.choice(sorted(key for key in header if key != '__metadata__'))
    header[name]['dtype'] = random.choice(['I32', 'U32'])
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    path.unlink()
    path.write_bytes(struct.pack('<Q', len(text)) + text + content[8 + length :])
    return name


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the paths of every value in a JSON document."""
    children: Any = ()
    if isinstance(node, dict):
        children = node.items()
    elif isinstance(node, list):
        children = enumerate(node)
    below = [each for key, value in children for each in places(value, (*path, key))]
    return [*([path] if path else []), *below]


WORDS = (
    *('IDENTITY', 'MEAN_STD', 'QUANTILES', 'MIN_MAX', 'VISUAL', 'STATE', 'ACTION'),
    *('float32', 'bfloat16', 'gemma_2b', 'gemma_300m', 'tokenizer', 'task', 'left', 'gripper'),
)


def another(random: random.Random, value: Any) -> Any:
    """Return a value unlike this one; more often than not one that could stand there."""
    if random.random() < 0.25:
        return random.choice(
            [each for each in (None, 'x', 7, -1, 0.5, [1], {'x': 1}) if each != value]
        )
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice(
            [value + 1, value + 2, 2 * value + 2, abs(value - 1) + 2 * (value == 1)]
        )
    if isinstance(value, float):
        return value * random.choice([0.5, 2.0, 10.0])
    if isinstance(value, str):
        return random.choice([each for each in (*WORDS, f'{value}x') if each != value])
    if isinstance(value, list):
        others = [value[::-1], value[:-1], [*value, *value[:1]], sorted(value, key=str)]
        return random.choice([each for each in others if each != value] or [[1]])
    if isinstance(value, dict):
        items = list(value.items())
        return dict(random.choice([items[::-1], items[:-1], items[1:], [*items[1:], *items[:1]]]))
    return random.choice([1, 'x', ['x'], False])


def edit_json(random: random.Random, path: Path) -> str:
    content = json.loads(path.read_text())
    *above, key = random.choice(places(content))
    parent = content
    for each in above:
        parent = parent[each]
    how = random.choice([*['change'] * 6, 'delete', 'add', 'twice'])
    if how == 'change':
        parent[key] = another(random, parent[key])
    elif how == 'delete':
        del parent[key]
    elif how == 'add' and isinstance(parent, dict):
        parent['something_new'] = random.choice([1, 'x', True])
    text = json.dumps(content, indent=2)
    if how == 'twice' or (how == 'add' and not isinstance(parent, dict)):
        first = text.index('"')
        name = text[first : text.index(':', first)]
        text = text.replace('{', f'{{{name}: 1, ', 1)
    path.unlink()
    path.write_text(text)
    return f'{path.name} {how} {".".join(map(str, (*above, key)))}'


def config(random: random.Random, folder: Path) -> str:
    return edit_json(random, folder / 'config.json')


def processor(random: random.Random, folder: Path) -> str:
    files = sorted(folder.glob('policy_*processor.json'))
    return edit_json(random, random.choice(files) if files else folder / 'config.json')


def swap_statistics(random: random.Random, folder: Path) -> str:
    """Swap, drop, resize or spoil statistics wherever the layout keeps them."""
    stats = sorted(folder.glob('assets/*/norm_stats.json'))
    if stats:
        return spoil_norm_stats(random, stats[0])
    files = sorted(folder.glob('policy_*.safetensors'))
    if not files:
        return alter_tensors(folder / MODEL, random, spoil_buffers)
    both = random.random() < 0.5
    state = random.getstate()
    what = ''
    for path in files if both else [random.choice(files)]:
        if both:
            random.setstate(state)
        what = alter_tensors(path, random, spoil_both if both else spoil_one)
    return f'{"both" if both else "one"}: {what}'


def spoil_one(random: random.Random, tensors: Tensors) -> str:
    """Alter the statistics of one processor; the other one's contradict them."""
    name = random.choice([f'action.{key}' for key in ('mean', 'std', 'min', 'q01', 'q99')])
    how = random.choice(['value', 'drop', 'vectors', 'order', 'pair'])
    if how == 'value':
        tensors[name] = tensors[name] * 1.01 + 1e-4
    elif how == 'drop':
        del tensors[name]
    elif how == 'order':
        tensors[name] = tensors[name].flip(0)
    elif how == 'pair':
        other = 'action.max'
        tensors[name], tensors[other] = tensors[other], tensors[name]
    else:
        other = name.replace('action', 'observation.state')
        tensors[name], tensors[other] = tensors[other], tensors[name]
    return f'{how} {name}'


def spoil_both(random: random.Random, tensors: Tensors) -> str:
    """Alter statistics as both processors have them: only their own sense can tell."""
    vector = random.choice(['action', 'observation.state'])
    how = random.choice(['mean-std', 'quantiles', 'bounds', 'nan', 'negative', 'still', 'width'])
    pairs = {'mean-std': ('mean', 'std'), 'quantiles': ('q01', 'q99'), 'bounds': ('min', 'max')}
    if how in pairs:
        first, second = (f'{vector}.{key}' for key in pairs[how])
        tensors[first], tensors[second] = tensors[second], tensors[first]
        return f'{how} {vector}'
    index = random.randrange(14)
    if how == 'nan':
        tensors[f'{vector}.mean'][index] = float('nan')
    elif how == 'negative':
        tensors[f'{vector}.std'][index] *= -1
    elif how == 'still':
        tensors[f'{vector}.std'][index] = 0
    else:
        for name in [name for name in tensors if name.startswith(vector)]:
            tensors[name] = tensors[name][:-1] if tensors[name].numel() > 1 else tensors[name]
    return f'{how} {vector}[{index}]'


def spoil_buffers(random: random.Random, tensors: Tensors) -> str:
    """Alter the statistics inside an old model file."""
    names = sorted(name for name in tensors if '.buffer_' in name)
    name = random.choice(names)
    how = random.choice(['nan', 'infinite', 'negative', 'copy', 'drop', 'width'])
    tensors[name] = tensors[name].clone()
    if how == 'nan':
        tensors[name][2] = float('nan')
    elif how == 'infinite':
        tensors[name].fill_(float('inf'))
    elif how == 'negative':
        name = name.replace('mean', 'std')
        tensors[name] = -tensors[name]
    elif how == 'copy':
        name = 'normalize_targets.buffer_action.std'
        tensors[name] = tensors[name] * 1.1
    elif how == 'drop':
        del tensors[name]
    else:
        tensors[name] = tensors[name][:-1]
    return f'{how} {name}'


def spoil_norm_stats(random: random.Random, path: Path) -> str:
    """Alter openpi's only copy: what is left is the sense in the numbers themselves."""
    content = json.loads(path.read_text())
    stats = content['norm_stats']
    vector = random.choice(['state', 'actions'])
    mine = stats[vector]
    how = random.choice(
        ['mean-std', 'quantiles', 'vectors', 'nan', 'negative', 'still', 'width', 'drop', 'key']
    )
    if how == 'mean-std':
        mine['mean'], mine['std'] = mine['std'], mine['mean']
    elif how == 'quantiles':
        mine['q01'], mine['q99'] = mine['q99'], mine['q01']
    elif how == 'vectors':
        stats['state'], stats['actions'] = stats['actions'], stats['state']
    elif how == 'nan':
        mine['std'][random.randrange(14)] = float('nan')
    elif how in ('negative', 'still'):
        mine['std'][random.randrange(14)] *= -1 if how == 'negative' else 0
    elif how == 'width':
        stats[vector] = {key: values[:-1] for key, values in mine.items()}
    elif how == 'drop':
        del mine[random.choice(['mean', 'std'])]
    else:
        stats['something_new'] = mine
    path.unlink()
    path.write_text(json.dumps(content))
    return f'{how} {vector}'


KINDS: dict[str, Mutation] = {
    'delete': model(delete),
    'rename': model(rename),
    'transpose': model(transpose),
    'retype': model(retype),
    'relabel': relabel,
    'not finite': model(spoil),
    'add': model(add),
    'truncate': truncate,
    'lengthen': lengthen,
    'configuration': config,
    'processor': processor,
    'statistics': swap_statistics,
}
MAY_CHANGE_NOTHING = ('configuration', 'processor')


def test_no_mutation_is_accepted_silently(wholes, importer, tmp_path, record_property):
    generator = random.Random(SEED)
    refused: Counter[str] = Counter()
    told: Counter[str] = Counter()
    unchanged: Counter[str] = Counter()
    accepted = []
    draw = 0
    while sum(refused.values()) < REFUSALS:
        kind, layout = list(KINDS)[draw % len(KINDS)], generator.choice(LAYOUTS)
        draw += 1
        whole = wholes[layout]
        folder = tmp_path / 'mutant'
        shutil.copytree(whole.folder, folder, copy_function=os.link)
        what = KINDS[kind](generator, folder)
        try:
            result, notes = importer(folder, whole.choices)
        except PizeroError:
            refused[kind] += 1
        else:
            if result == whole.result and kind in MAY_CHANGE_NOTHING:
                unchanged[kind] += 1
            elif set(notes) - set(whole.notes):
                told[kind] += 1
            else:
                accepted.append(f'{layout}: {kind}: {what}')
        shutil.rmtree(folder)
    for name, counts in (('refused', refused), ('unchanged', unchanged), ('told', told)):
        record_property(name, dict(counts))
        print(name, dict(counts))
    assert accepted == []
    assert set(refused) == set(KINDS)


def test_whole_checkpoints_are_left_as_they_were(wholes, importer):
    for whole in wholes.values():
        assert importer(whole.folder, whole.choices) == (whole.result, whole.notes)


@pytest.mark.parametrize('how', ['transposed', 'exchanged'])
def test_what_only_a_digest_can_see(openpi, small, tmp_path, how):
    """A square matrix and its transpose are alike in every header."""
    folder = Path(shutil.copytree(openpi, tmp_path / 'ckpt'))
    digest = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
    assert open_checkpoint(folder, small, sha256=digest.upper()).family == 'openpi'
    tensors = load_file(folder / MODEL)
    attention = next(name for name in tensors if 'vision' in name and 'q_proj.weight' in name)
    if how == 'transposed':
        tensors[attention] = tensors[attention].T.contiguous()
    else:
        other = attention.replace('q_proj', 'k_proj')
        tensors[attention], tensors[other] = copy.copy(tensors[other]), tensors[attention]
    save_file(tensors, folder / MODEL)
    open_checkpoint(folder, small)
    with pytest.raises(CheckpointError, match=f'SHA-256: found .*, expected {digest}'):
        open_checkpoint(folder, small, sha256=digest)
