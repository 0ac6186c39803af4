"""Real processes that are killed, or run out of disk."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from processes import command, environment, finish, start, table
from synthetic import SMALL

from pizero_ros.checkpoints.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

RUN = ('steps=14', 'save_every=2', 'keep=2', 'validate_every=4')


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('runs') / 'undisturbed'
    done = finish(folder, *RUN)
    assert done.returncode == 0, done.stderr
    return folder


def assert_same_run(folder: Path, other: Path) -> None:
    for name in ('loss.csv', 'validation.csv'):
        rows, expected = table(folder, name), table(other, name)
        assert [row[0] for row in rows] == [row[0] for row in expected]
        for row, wanted in zip(rows, expected, strict=True):
            assert row == pytest.approx(wanted, abs=1e-6)
    for each in (folder, other):
        open_checkpoint(each / 'checkpoints/last', SMALL, actions=False)


def test_a_run_killed_again_and_again_gives_the_curve_of_one_that_was_not(undisturbed, tmp_path):
    folder = tmp_path / 'run'
    process = start(folder, *RUN)
    # Once between steps, once as soon as a checkpoint begins to be written.
    for line in process.stdout:
        if int(line) >= 5:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / 'checkpoints/last').resolve().name in ('000004', '000006')

    process = start(folder, *RUN, '--resume')
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if any((folder / 'checkpoints').glob('.0*.new')):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    with (folder / 'loss.csv').open('a') as stream:
        stream.write('13,0.5,0.0')  # what a kill in the middle of a line leaves

    done = finish(folder, *RUN, '--resume')
    assert done.returncode == 0, done.stderr
    assert_same_run(folder, undisturbed)
    left = sorted(each.name for each in (folder / 'checkpoints').iterdir())
    assert left == ['000012', '000014', 'last']


def test_a_full_disk_is_a_clear_error_and_the_last_checkpoint_is_whole(undisturbed, tmp_path):
    probe = ['unshare', '--user', '--map-root-user', '--mount', 'mount', '-t', 'tmpfs', 'x']
    mounted = tmp_path / 'disk'
    mounted.mkdir()
    try:
        subprocess.run([*probe, str(mounted)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f'no file system of its own for a test here: {error}')
    out = tmp_path / 'out'
    out.mkdir()
    size = sum(each.stat().st_size for each in (undisturbed / 'checkpoints/000014').rglob('*'))
    script = f"""
set -u
mount -t tmpfs -o size={int(3.5 * size)} disk {mounted}
{{ $TRAIN; echo $?; }} 2> {out}/first.err | tail -1 > {out}/status
readlink {mounted}/run/checkpoints/last > {out}/last
ls -A {mounted}/run/checkpoints > {out}/checkpoints
mount -o remount,size={40 * size} {mounted}
$TRAIN --resume 2> {out}/second.err > /dev/null
cp -r {mounted}/run {out}/run
"""
    # More checkpoints than fit are asked for.
    words = [word if 'keep' not in word else 'keep=9' for word in RUN]
    train = ' '.join(command(mounted / 'run', *words))
    subprocess.run(
        ['unshare', '--user', '--map-root-user', '--mount', 'bash', '-c', script],
        env={**environment(), 'TRAIN': train},
        check=True,
    )
    message = (out / 'first.err').read_text()
    assert (out / 'status').read_text().strip() == '1'
    assert 'TrainingError' in message
    assert 'No space left on device' in message
    assert '--resume' in message
    assert 'Traceback' not in message
    last = (out / 'last').read_text().strip()
    assert f'{last} is whole' in message
    assert 2 <= int(last) < 14
    assert not [name for name in (out / 'checkpoints').read_text().split() if name.endswith('new')]
    assert (out / 'second.err').read_text() == ''
    assert_same_run(out / 'run', undisturbed)
