import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
import time
from pizero_ros.nodes.signals import stop_on_signals
stop = stop_on_signals()
print('ready', flush=True)
until = time.monotonic() + 1.0
while time.monotonic() < until:
    stop.wait(0.0)
print('stopped' if stop.wait(5.0) else 'running', flush=True)
time.sleep(30.0)
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_point_of_a_wait_ends_it(number):
    with subprocess.Popen(
        [sys.executable, '-c', CODE], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == 'ready\n'
            deadline = time.monotonic() + 20.0
            while not select.select([process.stdout], [], [], 0.0002)[0]:
                assert time.monotonic() < deadline, 'blocked'
                process.send_signal(number)
            assert process.stdout.readline() == 'stopped\n'
        finally:
            process.kill()
