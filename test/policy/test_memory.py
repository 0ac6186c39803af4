"""Memory that a bundle needs and the machine lacks is named, before and while it is loaded."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from pizero_ros.errors import EnvironmentFault
from pizero_ros.policy import memory

LIMITED = """
import resource, sys
from pathlib import Path
from pizero_ros.policy import memory
pages = int(Path('/proc/self/statm').read_text().split()[0])
limit = pages * resource.getpagesize() + 50_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(memory.available_bytes())
try:
    memory.require_memory(Path(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def bundle(tmp_path):
    """A folder of 80 MB of sparse weights."""
    with (tmp_path / 'observe.onnx.data').open('wb') as file:
        file.truncate(80_000_000)
    (tmp_path / 'policy.yaml').write_text('x' * 1000)
    return tmp_path


def test_only_graphs_and_their_weights_count(bundle):
    with (bundle / 'jacobian.onnx.data').open('wb') as file:
        file.truncate(5_000_000)
    assert memory.graph_bytes(bundle) == 80_000_000
    assert memory.graph_bytes(bundle, jacobian=True) == 85_000_000


def test_what_is_available_is_no_more_than_the_machine_has():
    available = memory.available_bytes()
    pages = resource.getpagesize() * int(subprocess.check_output(['getconf', '_PHYS_PAGES']))
    assert 0 < available < pages


def test_limit_of_the_process_counts_and_the_error_names_both_sizes(bundle):
    command = [sys.executable, '-c', LIMITED, str(bundle)]
    lines = subprocess.check_output(command, text=True).splitlines()
    assert 30_000_000 < int(lines[0]) <= 50_000_000
    assert lines[1].startswith(f'EnvironmentFault {bundle}: memory: found ')
    assert 'available, expected at least 80 MB for its graphs.' in lines[1]


@pytest.mark.parametrize(
    'error',
    [MemoryError(), RuntimeError('std::bad_alloc'), OSError('[E] Failed to allocate memory for')],
)
def test_lack_of_memory_while_loading_names_the_bundle(bundle, error):
    wanted = pytest.raises(EnvironmentFault, match='memory: found not enough')
    with wanted as caught, memory.naming_memory(bundle):
        raise error
    assert str(bundle) in str(caught.value)
    assert '80 MB' in str(caught.value)


def test_other_errors_pass(bundle):
    with pytest.raises(ValueError, match='something else'), memory.naming_memory(bundle):
        raise ValueError('something else')
