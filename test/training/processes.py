"""Starts training processes for tests and reads what they left."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SCRIPT = HERE / 'train_synthetic.py'


def command(folder: Path, *words: str, processes: int = 1) -> list[str]:
    torchrun = ['-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={processes}']
    several = torchrun if processes > 1 else []
    return [sys.executable, *several, str(SCRIPT), str(folder), *words]


def environment() -> dict[str, str]:
    paths = os.pathsep.join([str(HERE), *sys.path])
    return {**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'}


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder, *words), env=environment(), stdout=subprocess.PIPE, text=True
    )


def finish(folder: Path, *words: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *words, processes=processes),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def table(folder: Path, name: str = 'loss.csv') -> list[list[float]]:
    with (folder / name).open() as stream:
        return [[float(value) for value in row] for row in list(csv.reader(stream))[1:]]
