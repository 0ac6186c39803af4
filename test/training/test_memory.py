"""What the C library does with memory that a step gives back."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_STEPS = """
import resource, sys
import numpy as np
if sys.argv[1] == 'keep':
    from pizero_ros.training.memory import keep_memory
    assert keep_memory()
def step():
    np.ones(40_000_000, np.uint8)
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another C library')
def test_what_a_step_frees_is_kept_for_the_next():
    faults = {
        how: int(subprocess.check_output([sys.executable, '-P', '-c', _STEPS, how]))
        for how in ('keep', 'give back')
    }
    # 40 MB are about 10,000 pages, or 20 where the system has huge ones.
    assert faults['keep'] < 20
    assert faults['give back'] > 5 * faults['keep'] + 50
