"""The untrained bundle is exported once for what it is made of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pizero_ros.demo import untrained
from pizero_ros.demo.untrained import untrained_bundle
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import EnvironmentFault

EXPORT = """#!/bin/sh
while [ "$1" != --out ]; do shift; done
mkdir -p "$2" && touch "$2/policy.yaml" && echo run >> "{count}"
"""


@pytest.fixture
def pizero(tmp_path: Path) -> Path:
    """Stand in for the command, which takes half a minute."""
    program = tmp_path / 'pizero'
    program.write_text(EXPORT.format(count=tmp_path / 'count'))
    program.chmod(0o755)
    return program


def make(pizero: Path, embodiment: Path | str, actions: str = 'absolute') -> Path:
    out = pizero.parent
    return untrained_bundle(
        [load_embodiment(embodiment)],
        actions,
        out=out,
        pizero=pizero,
        env=os.environ,
        log=out / 'logs' / 'export.log',
    )


@pytest.fixture(autouse=True)
def _cache_in_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrained, 'cache_dir', lambda out: out / 'bundles')


def test_second_run_exports_nothing(pizero: Path) -> None:
    first = make(pizero, 'sim_single_arm')
    assert make(pizero, 'sim_single_arm') == first
    assert (pizero.parent / 'count').read_text() == 'run\n'


def test_changed_embodiment_exports_again(pizero: Path, tmp_path: Path) -> None:
    source = Path(load_embodiment('sim_single_arm').source).read_text()
    mine = tmp_path / 'mine.yaml'
    mine.write_text(source)
    make(pizero, mine)
    mine.write_text(source.replace('executed_steps: 25', 'executed_steps: 20'))
    make(pizero, mine)
    assert (tmp_path / 'count').read_text() == 'run\nrun\n'


def test_relative_actions_are_a_bundle_of_their_own(pizero: Path) -> None:
    assert make(pizero, 'sim_single_arm') != make(pizero, 'sim_single_arm', 'relative')


def test_failed_export_says_what_it_said(pizero: Path) -> None:
    pizero.write_text('#!/bin/sh\necho no torch\nexit 2\n')
    with pytest.raises(EnvironmentFault, match='no torch'):
        make(pizero, 'sim_single_arm')
