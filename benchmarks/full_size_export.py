"""Exports a full-size π0 and runs it on the CPU, with time and peak memory of every step.

    python benchmarks/full_size_export.py --work /tmp/full

writes a random checkpoint in openpi's layout, exports it through the importer and runs the bundle;
each step is a process of its own under GNU time. It takes about 25 GB of disk in ``--work``, which
must not exist and is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from pizero_ros.checkpoints.names import EMBEDDING, EXPERT_LM_HEAD, LM_HEAD
from pizero_ros.checkpoints.sizes import expected_shapes
from pizero_ros.model.architecture import Architecture, architecture_path, read_architecture

if TYPE_CHECKING:
    from collections.abc import Callable

GNU_TIME = '/usr/bin/time'
_SEED = 3
_BLOCK = 1 << 24
"""Values drawn in one go."""
_RESIDUAL_WRITERS = ('o_proj', 'out_proj', 'down_proj', 'fc2')
_LAYER_NORMS = ('layer_norm1.weight', 'layer_norm2.weight', 'post_layernorm.weight')
_TOKENS = 48


def main() -> int:
    """Run every step, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('step', nargs='?', choices=[*STEPS, 'all'], default='all')
    parser.add_argument('--work', type=Path, required=True, help='folder for all files')
    parser.add_argument('--architecture', default='pi0', help='name or file (default: pi0)')
    parser.add_argument('--keep', action='store_true', help='do not remove the folder')
    parser.add_argument('--json', type=Path, help='also write the figures there')
    arguments = parser.parse_args()
    if arguments.step != 'all':
        STEPS[arguments.step](arguments)
        return 0
    if not Path(GNU_TIME).exists():
        parser.error(f'{GNU_TIME} is missing: install the package `time`')
    arguments.work.mkdir(parents=True)
    try:
        figures = {step: _measured(step, arguments) for step in STEPS}
    finally:
        if not arguments.keep:
            shutil.rmtree(arguments.work)
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json is not None:
        arguments.json.write_text(f'{text}\n', encoding='utf-8')
    return 0


def generate(arguments: argparse.Namespace) -> None:
    """Write a checkpoint of random bfloat16 weights as openpi's converter lays it out."""
    sizes = _sizes(arguments)
    shapes = dict(expected_shapes(sizes))
    # The table is tied to the head, and only the head is in the file; the expert's is never used.
    shapes[LM_HEAD] = shapes.pop(EMBEDDING)
    shapes[EXPERT_LM_HEAD] = (sizes.vocabulary, sizes.expert.width)
    folder = _checkpoint(arguments)
    folder.mkdir(parents=True)
    header: dict[str, Any] = {'__metadata__': {EMBEDDING: LM_HEAD, 'format': 'pt'}}
    end = 0
    for name, shape in sorted(shapes.items()):
        start, end = end, end + 2 * int(np.prod(shape))
        header[name] = {'dtype': 'BF16', 'shape': list(shape), 'data_offsets': [start, end]}
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with (folder / 'model.safetensors').open('wb') as file, _progress() as bar:
        task = bar.add_task('weights', total=end)
        file.write(len(text).to_bytes(8, 'little') + text)
        for name, shape in sorted(shapes.items()):
            for block in _random(name, shape, sizes):
                file.write(block.view(torch.uint16).numpy().data)
                bar.advance(task, 2 * block.numel())
    config = {
        'action_dim': sizes.action_dim,
        'action_horizon': sizes.horizon,
        'paligemma_variant': 'gemma_2b',
        'action_expert_variant': 'gemma_300m',
        'precision': 'bfloat16',
    }
    (folder / 'config.json').write_text(json.dumps(config), encoding='utf-8')
    _report(arguments, 'generate', {'bytes': end, 'tensors': len(shapes)})


def export(arguments: argparse.Namespace) -> None:
    """Import the checkpoint and export it, as a user does: ``pizero export --checkpoint``."""
    from pizero_ros.cli.main import main as pizero

    told = arguments.work / 'told.json'
    words = ['export', '--checkpoint', str(_checkpoint(arguments)), '--model-only']
    if arguments.architecture != 'pi0':
        words += ['--architecture', arguments.architecture]
    code = pizero([*words, '--out', str(_bundle(arguments)), '--json', str(told)])
    if code:
        raise SystemExit(code)
    figures = json.loads(told.read_text())
    bundle = _bundle(arguments)
    files = {path.name: path.stat().st_size for path in sorted(bundle.iterdir())}
    proof = json.loads((bundle / 'parity.json').read_text())
    wanted = {key: figures[key] for key in ('bytes', 'seconds', 'phases_s', 'max_abs_error')}
    _report(arguments, 'export', {**wanted, 'scale': proof['scale'], 'files': files})


def run(arguments: argparse.Namespace) -> None:
    """Load the bundle as the robot does and compute one chunk from three views."""
    from pizero_ros.policy.bundle import Bundle
    from pizero_ros.policy.runtime import Policy
    from pizero_ros.processing.model_inputs import ModelInputs

    start = time.perf_counter()
    bundle = Bundle.open(_bundle(arguments))
    opened = time.perf_counter()
    policy = Policy.load(bundle, 'cpu')
    loaded = time.perf_counter()
    model = bundle.manifest.model
    random = np.random.default_rng(_SEED)
    images = random.uniform(-1, 1, (len(model.slots), 3, *model.image_size))
    inputs = ModelInputs(
        images=images.astype(np.float32),
        tokens=random.integers(0, model.vocabulary, min(_TOKENS, model.prompt.max_tokens)),
        state=random.standard_normal(model.state_dim).astype(np.float32),
    )
    noise = random.standard_normal((model.horizon, model.action_dim)).astype(np.float32)
    results = [policy.infer(inputs, noise, steps=10) for _ in range(2)]
    assert np.array_equal(results[0].actions, results[1].actions)
    assert np.isfinite(results[0].actions).all()
    figures = {
        'check_s': round(opened - start, 1),
        'load_s': round(loaded - opened, 1),
        'views': len(images),
        'tokens': len(inputs.tokens),
        'first': _durations(results[0].durations_s),
        'second': _durations(results[1].durations_s),
    }
    _report(arguments, 'run', figures)


STEPS: dict[str, Callable[[argparse.Namespace], None]] = {
    'generate': generate,
    'export': export,
    'run': run,
}


def _measured(step: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one step in a process of its own under GNU time."""
    log = arguments.work / f'{step}.time'
    command = [sys.executable, __file__, step, '--work', str(arguments.work)]
    command += ['--architecture', arguments.architecture]
    subprocess.run([GNU_TIME, '-v', '-o', log, *command], check=True)
    text = log.read_text()
    peak = re.search(r'Maximum resident set size \(kbytes\): (\d+)', text)
    wall = re.search(r'Elapsed \(wall clock\) time .*: ((?:\d+:)?\d+:[\d.]+)', text)
    assert peak
    assert wall
    figures = json.loads((arguments.work / f'{step}.json').read_text())
    return {'wall': wall[1], 'peak_gib': round(int(peak[1]) / 2**20, 2), **figures}


def _random(name: str, shape: tuple[int, ...], sizes: Architecture) -> Any:
    """Draw one tensor in blocks; scaled so that activations stay near 1 through all layers."""
    generator = torch.Generator().manual_seed((_SEED << 32) + zlib.crc32(name.encode()))
    fan_in = int(np.prod(shape[1:]))
    depth = sizes.vision.depth if 'vision_tower' in name else sizes.vlm.depth
    centre, spread = 0.0, fan_in**-0.5
    if any(f'{writer}.weight' in name for writer in _RESIDUAL_WRITERS):
        spread *= (2 * depth) ** -0.5
    if len(shape) == 1:
        # LayerNorms hold their scale, Gemma's norms their scale minus one.
        centre, spread = float(name.endswith(_LAYER_NORMS)), 0.05
    total = int(np.prod(shape))
    for start in range(0, total, _BLOCK):
        size = min(_BLOCK, total - start)
        block = torch.empty(size).normal_(centre, spread, generator=generator)
        yield block.to(torch.bfloat16)


def _durations(seconds: Any) -> dict[str, float]:
    return {f'{name}_s': round(value, 2) for name, value in seconds.items()}


def _report(arguments: argparse.Namespace, step: str, figures: dict[str, Any]) -> None:
    (arguments.work / f'{step}.json').write_text(json.dumps(figures), encoding='utf-8')


def _sizes(arguments: argparse.Namespace) -> Architecture:
    return read_architecture(architecture_path(arguments.architecture))


def _checkpoint(arguments: argparse.Namespace) -> Path:
    folder: Path = arguments.work / 'checkpoint'
    return folder


def _bundle(arguments: argparse.Namespace) -> Path:
    folder: Path = arguments.work / 'bundle'
    return folder


def _progress() -> Progress:
    columns = (TextColumn('{task.description}'), BarColumn(), DownloadColumn())
    return Progress(*columns, TimeRemainingColumn())


if __name__ == '__main__':
    os.environ.setdefault('PYTHONUNBUFFERED', '1')
    sys.exit(main())
