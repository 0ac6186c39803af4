"""Which kernels ran: ONNX Runtime's own profile, its word on attention, and nsys's trace."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ATTENTION_OPERATORS = ('Attention', 'GroupQueryAttention', 'MultiHeadAttention', 'Softmax')
"""An unfused graph has ``Softmax``, and none of the others."""
ATTENTION_KERNELS = re.compile(r'flash|fmha|attention|softmax', re.IGNORECASE)
_SAID = re.compile(r'SdpaKernel=(\w+)')
_TELL_KERNEL = 'ORT_ENABLE_ATTENTION_KERNEL_DEBUG_INFO'
"""Environment variable at which ONNX Runtime prints the attention kernel that it chooses."""
_SECONDS = 900.0


def profile(command: Sequence[str]) -> dict[str, Any]:
    """Run inferences under ONNX Runtime's profiler, and under nsys where it is installed.

    Args:
        command: Arguments of ``gpu.py`` that say what to run.

    Returns:
        ``operators``: name → how often it ran and where; ``sdpa_kernels``: what ONNX Runtime says
        it chose; ``nsys``: what its trace shows, or why there is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = [sys.executable, str(Path(__file__).with_name('gpu.py')), *command]
        output = _run([*script, '--profiled', folder], {_TELL_KERNEL: '1'})
        found: dict[str, Any] = {
            'operators': operators(_events(Path(folder))),
            'sdpa_kernels': dict(Counter(_SAID.findall(output))),
        }
        nsys = shutil.which('nsys')
        if nsys is None:
            return {**found, 'nsys': 'not installed'}
        trace = Path(folder) / 'trace'
        # Kernels of a replayed CUDA graph are only seen one by one if they are asked for so.
        options = ['--trace=cuda', '--cuda-graph-trace=node', '--force-overwrite=true']
        _run([nsys, 'profile', *options, '-o', str(trace), *script, '--traced'], {})
        report = ['--report', 'cuda_gpu_kern_sum', '--format', 'csv', '--force-export=true']
        text = _run([nsys, 'stats', *report, f'{trace}.nsys-rep'], {})
        return {**found, 'nsys': kernels(text)}


def operators(events: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Count the operators of an ONNX Runtime profile.

    Args:
        events: Its events.

    Returns:
        Operator → provider → how often it ran.
    """
    counts: dict[str, Counter[str]] = {}
    for event in events:
        details = event.get('args', {})
        if event.get('cat') == 'Node' and event['name'].endswith('_kernel_time'):
            counts.setdefault(details['op_name'], Counter())[details['provider']] += 1
    return {name: dict(each) for name, each in sorted(counts.items())}


def kernels(text: str) -> dict[str, dict[str, float]]:
    """Read the table of kernels that ``nsys stats`` prints as CSV.

    Args:
        text: Its output; what stands above the table is skipped.

    Returns:
        Kernel → ``instances`` and ``total_ms``, the longest first.
    """
    lines = text.splitlines()
    head = next((k for k, line in enumerate(lines) if line.startswith('Time (%)')), None)
    if head is None:
        msg = f'nsys stats printed no table of kernels: {text[-500:]}'
        raise RuntimeError(msg)
    rows = csv.DictReader(io.StringIO('\n'.join(lines[head:])))
    return {
        row['Name']: {
            'instances': int(row['Instances']),
            'total_ms': float(row['Total Time (ns)']) / 1e6,
        }
        for row in rows
        if row.get('Name')
    }


def lines(found: Mapping[str, Any]) -> Iterable[str]:
    """Say what was found about attention, for people."""
    ran = found['operators']
    for name in ATTENTION_OPERATORS:
        if name in ran:
            where = ', '.join(f'{count} on {provider}' for provider, count in ran[name].items())
            yield f'operator {name}: {where}'
    elsewhere = sorted(name for name, where in ran.items() if len(where) > 1)
    if elsewhere:
        yield f'operators on more than one provider: {", ".join(elsewhere)}'
    said = found['sdpa_kernels']
    names = ', '.join(f'{name} ({count} times)' for name, count in said.items())
    yield f'attention kernels that ONNX Runtime says it chose: {names or "it said nothing"}'
    if isinstance(found['nsys'], str):
        yield f'nsys: {found["nsys"]}'
        return
    for name, row in found['nsys'].items():
        if ATTENTION_KERNELS.search(name):
            yield f'nsys: {row["instances"]:.0f} x {name[:90]}, {row["total_ms"]:.2f} ms in all'


def record_profiles(folder: Path) -> None:
    """Make every session that is opened from now on write a profile when it ends."""
    import onnxruntime

    plain = onnxruntime.SessionOptions

    def recording() -> Any:
        options = plain()
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / 'profile')
        return options

    onnxruntime.SessionOptions = recording


def _events(folder: Path) -> Iterable[Mapping[str, Any]]:
    for path in folder.glob('profile*.json'):
        yield from json.loads(path.read_text(encoding='utf-8'))


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return what a command printed, or raise with it."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        msg = f'{" ".join(command[:3])} …: exit {done.returncode}: {done.stdout[-2000:]}'
        raise RuntimeError(msg)
    return done.stdout
