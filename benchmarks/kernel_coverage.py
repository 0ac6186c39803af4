"""Which of a bundle's operators have CUDA kernels, and which attention kernels are chosen.

    python benchmarks/kernel_coverage.py BUNDLE --check

Needs onnxruntime-gpu and a bundle with the variant ``cuda``; on a machine without a GPU also a C
compiler, for the device is then one that only says that it is there (compute capability 9.0):
ONNX Runtime places the nodes, checks their inputs, chooses and "launches" its kernels, and
captures its graphs as it would on a real one. ``--check`` exits with 1 if a node has no kernel of
the provider or an attention is not a flash kernel.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from stand_in_device import build, has_driver

from pizero_ros.errors import EnvironmentFault, PizeroError
from pizero_ros.policy.bundle import Bundle
from pizero_ros.policy.providers import available_providers, onnxruntime
from pizero_ros.policy.runtime import Policy
from pizero_ros.policy.variants import choose_variant
from pizero_ros.processing.model_inputs import ModelInputs

_PROVIDER = 'CUDAExecutionProvider'
_RECORD = 'session.record_ep_graph_assignment_info'
_TELL_KERNELS = 'ORT_ENABLE_ATTENTION_KERNEL_DEBUG_INFO'
_CHOSEN = re.compile(r'Operator=(\w+) .*?DataType=(\w+) SdpaKernel=(\w+)')
_FLASH = ('FLASH_ATTENTION', 'CUDNN_FLASH_ATTENTION', 'XQA')
_PLACED = 'placed: '

console = Console(highlight=False, width=110)


def main() -> int:
    """Print both tables; 2 where there is nothing to look at."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('bundle', type=Path)
    parser.add_argument('--variant', default='cuda')
    parser.add_argument('--check', action='store_true', help='exit with 1 if a kernel is missing')
    parser.add_argument('--inside', action='store_true', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        if arguments.inside:
            _look(arguments.bundle, arguments.variant)
            return 0
        return _report(arguments)
    except PizeroError as error:
        console.print(str(error), style='red')
        return 2


def _report(arguments: argparse.Namespace) -> int:
    """Have a process of its own look, in which CUDA's libraries are what we say, and judge."""
    if 'cuda' not in available_providers():
        raise EnvironmentFault.at(
            'ONNX Runtime',
            'provider cuda',
            found='a build for the CPU',
            expected='onnxruntime-gpu',
            remedy='Install the extra `gpu` into an environment of its own; no GPU is needed.',
        )
    choose_variant(Bundle.open(arguments.bundle), arguments.variant)
    with tempfile.TemporaryDirectory(prefix='pizero_device.') as folder:
        environment = os.environ | {_TELL_KERNELS: '1'}
        if not has_driver():
            console.print('no driver: a device that only says that it is there')
            capi = Path(str(onnxruntime().__file__)).parent / 'capi'
            build(capi / 'libonnxruntime_providers_cuda.so', Path(folder))
            environment['LD_LIBRARY_PATH'] = folder
        words = [sys.executable, __file__, str(arguments.bundle), '--inside']
        words += ['--variant', arguments.variant]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()[-12:]
        raise EnvironmentFault.at(
            arguments.bundle, 'run', found='\n'.join(said), expected='graphs that run'
        )
    (line,) = (each for each in done.stdout.splitlines() if each.startswith(_PLACED))
    placed = [tuple(row) for row in json.loads(line.removeprefix(_PLACED))]
    chosen = Counter(match.groups() for match in _CHOSEN.finditer(done.stdout))
    _print('nodes', ('graph', 'operator', 'nodes', 'provider'), placed)
    runs = [(*key, count) for key, count in sorted(chosen.items())]
    _print('attention', ('operator', 'type', 'kernel', 'launches'), runs)
    elsewhere = [row for row in placed if row[-1] != _PROVIDER]
    slow = [key for key in chosen if key[2] not in _FLASH]
    whole = bool(chosen) and not elsewhere and not slow
    console.print('all kernels are there' if whole else f'missing: {elsewhere or slow or "all"}')
    return 1 if arguments.check and not whole else 0


def _look(path: Path, name: str) -> None:
    """Place the nodes of all graphs and run them, as the policy process would."""
    bundle = Bundle.open(path)
    runtime = onnxruntime()
    if has_driver():
        runtime.preload_dlls()
    placed = []
    for part, file in choose_variant(bundle, name).files.items():
        options = runtime.SessionOptions()
        options.add_session_config_entry(_RECORD, '1')
        session = runtime.InferenceSession(
            str(bundle.path / file), options, providers=[_PROVIDER], enable_fallback=0
        )
        counts = Counter(
            (f'{node.domain}::{node.op_type}'.removeprefix('::'), group.ep_name)
            for group in session.get_provider_graph_assignment_info()
            for node in group.get_nodes()
        )
        placed += [(part, operator, n, where) for (operator, where), n in sorted(counts.items())]
    policy = Policy.load(bundle, 'cuda', variant=name)
    inputs, noise = _inputs(bundle)
    for steps in (None, None, None, bundle.manifest.model.steps + 1):
        policy.infer(inputs, noise, steps=steps)
    print(f'\n{_PLACED}{json.dumps(placed)}', flush=True)


def _inputs(bundle: Bundle) -> tuple[ModelInputs, Any]:
    """Make blank inputs: all cameras and the longest prompt."""
    model = bundle.manifest.model
    inputs = ModelInputs(
        images=np.zeros((len(model.slots), 3, *model.image_size), np.float32),
        tokens=np.zeros(model.prompt.max_tokens, np.int64),
        state=np.zeros(model.state_dim, np.float32),
    )
    return inputs, np.zeros((model.horizon, model.action_dim), np.float32)


def _print(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    table = Table(title=title, title_justify='left')
    for column in columns:
        numbers = column in ('nodes', 'launches')
        table.add_column(column, justify='right' if numbers else 'left')
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)


if __name__ == '__main__':
    sys.exit(main())
