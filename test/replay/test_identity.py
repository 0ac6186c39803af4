"""Keys of jobs: another key for anything that another result may come from."""

from __future__ import annotations

import os
import shutil

import pytest
from bags import demonstration, write

from pizero_ros.replay import identity
from pizero_ros.replay.identity import job_key

SAID = {'settings': {'seeds': [0], 'latency': '80ms'}, 'policy': {'label': 'a', 'sha256': '1'}}


@pytest.fixture
def bag(tmp_path):
    return write(tmp_path / 'bag', demonstration(3))


def test_key_is_the_same_for_the_same(bag, monkeypatch):
    key = job_key(bag, SAID)
    assert len(key) == 32
    monkeypatch.chdir(bag.parent)
    assert job_key(bag.relative_to(bag.parent), {key: SAID[key] for key in reversed(SAID)}) == key


def test_key_changes_with_what_the_result_depends_on(bag):
    others = [
        {**SAID, 'settings': {'seeds': [1], 'latency': '80ms'}},
        {**SAID, 'policy': {'label': 'b', 'sha256': '1'}},
        {**SAID, 'policy': {'label': 'a', 'sha256': '2'}},
        {**SAID, 'policy': None},
        {},
    ]
    keys = {job_key(bag, said) for said in (SAID, *others)}
    assert len(keys) == 6


def test_key_changes_with_the_recording(bag, tmp_path):
    key = job_key(bag, SAID)
    storage = next(bag.glob('*.db3'))
    os.utime(storage, ns=(0, storage.stat().st_mtime_ns + 1))
    touched = job_key(bag, SAID)
    times = storage.stat()
    with storage.open('ab') as stream:
        stream.write(b'0')
    os.utime(storage, ns=(0, times.st_mtime_ns))
    longer = job_key(bag, SAID)
    (bag / 'more.db3').touch()
    more = job_key(bag, SAID)
    shutil.copytree(bag, tmp_path / 'copy')
    copy = job_key(tmp_path / 'copy', SAID)
    assert len({key, touched, longer, more, copy}) == 5


def test_single_file_is_a_recording_too(bag):
    storage = next(bag.glob('*.db3'))
    assert job_key(storage, SAID) != job_key(bag, SAID)


def test_key_changes_with_the_code(bag, monkeypatch, tmp_path):
    package = tmp_path / 'package'
    for folder in ('embodiment', 'observation', 'processing', 'policy', 'control', 'replay'):
        (package / folder).mkdir(parents=True)
        (package / folder / 'part.py').write_text('pass\n')
    monkeypatch.setattr(identity, '_PACKAGE', package)
    identity.code_digest.cache_clear()
    try:
        key = job_key(bag, SAID)
        identity.code_digest.cache_clear()
        assert job_key(bag, SAID) == key
        (package / 'control/part.py').write_text('pass  # otherwise\n')
        identity.code_digest.cache_clear()
        assert job_key(bag, SAID) != key
    finally:
        identity.code_digest.cache_clear()
