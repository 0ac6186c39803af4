"""An export of weights that are read one at a time goes on where it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest

import pizero_ros
from pizero_ros.errors import BundleError, ExportError
from pizero_ros.export import bundle, streaming
from pizero_ros.export.random_bundle import random_model_spec
from pizero_ros.export.streaming import StreamedWeights
from pizero_ros.model.architecture import read_architecture
from pizero_ros.model.pi0 import Pi0
from pizero_ros.policy.bundle import Bundle

_EXPORT = """\
    import os, signal, sys
    from pizero_ros.export import bundle, streaming
    from pizero_ros.export.random_bundle import random_model_spec
    from pizero_ros.export.streaming import StreamedWeights
    from pizero_ros.model.architecture import read_architecture
    from pizero_ros.model.pi0 import Pi0

    streaming.MEMORY_LIMIT = 0
    sizes = read_architecture(sys.argv[1])
    tensors = Pi0.random(sizes, 0).state_dict()

    def tell(phase):
        if phase.startswith(sys.argv[3]):
            os.kill(os.getpid(), int(sys.argv[4]))

    bundle.write_bundle(
        StreamedWeights(sizes, tensors.__getitem__, lambda: 'those of seed 0'),
        random_model_spec(sizes, ['base_0_rgb']), sys.argv[2],
        semantics={}, kind='random', source='test', on_phase=tell,
    )
"""


def interrupt(architecture: Path, out: Path, phase: str, number: signal.Signals) -> Path:
    """Export in a process that is ended when ``phase`` begins; return what it leaves."""
    ended = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(_EXPORT), architecture, out, phase, str(number)],
        env={**os.environ, 'PYTHONPATH': str(Path(pizero_ros.__file__).parents[1])},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -number, ended.stderr.decode()
    (left,) = out.parent.iterdir()
    for folder in (out, left, left / 'bundle'):
        with pytest.raises(BundleError):
            Bundle.open(folder)
    return left


@pytest.fixture(scope='module')
def killed(mini_architecture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which an export to ``bundle`` was killed after its proof; not to be changed."""
    folder = tmp_path_factory.mktemp('killed')
    interrupt(mini_architecture, folder / 'bundle', 'writing', signal.SIGKILL)
    return folder


@pytest.fixture
def left(killed: Path, tmp_path: Path) -> Path:
    """Return the same folder, to be used."""
    subprocess.run(['cp', '-a', f'{killed}/.', tmp_path], check=True)
    (found,) = tmp_path.iterdir()
    return found


class Again:
    """The second export, which sees its phases."""

    def __init__(self, architecture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streaming, 'MEMORY_LIMIT', 0)
        self._sizes = read_architecture(architecture)
        self._tensors = Pi0.random(self._sizes, 0).state_dict()
        self.phases: list[str] = []
        self.stop_at = ''

    def __call__(self, out: Path, identity: str = 'those of seed 0', **rules: int) -> Bundle:
        weights = StreamedWeights(self._sizes, self._tensors.__getitem__, lambda: identity)
        return bundle.write_bundle(
            weights,
            random_model_spec(self._sizes, ['base_0_rgb'], **rules),
            out,
            semantics={},
            kind='random',
            source='test',
            on_phase=self._tell,
        )

    def _tell(self, phase: str) -> None:
        self.phases.append(phase)
        if phase == self.stop_at:
            raise KeyboardInterrupt


@pytest.fixture
def again(mini_architecture: Path, monkeypatch: pytest.MonkeyPatch) -> Again:
    return Again(mini_architecture, monkeypatch)


def test_graphs_and_proof_of_a_killed_export_are_taken_over(left: Path, again: Again) -> None:
    made = again(left.parent / 'bundle')
    assert f'going on with what an interrupted export left: {left}' in again.phases
    assert not any(phase.startswith(('exporting', 'proving')) for phase in again.phases)
    assert Bundle.open(made.path).parity == made.parity
    assert list(left.parent.iterdir()) == [made.path]


def test_variants_that_a_killed_export_left_half_written_are_removed(
    left: Path, again: Again
) -> None:
    (left / 'bundle' / 'observe.cuda.onnx').write_bytes(b'half')
    twin = left / 'bundle' / '.twin.x'
    twin.mkdir()
    (twin / 'observe.cuda.onnx.data').write_bytes(b'half')
    made = again(left.parent / 'bundle')
    assert 'exporting graphs' not in again.phases
    names = {path.name for path in made.path.iterdir()}
    assert names == {*made.manifest.files, 'policy.yaml'}
    assert 'observe.cuda.onnx' not in names


def test_a_proof_of_other_steps_is_made_anew_on_the_same_graphs(left: Path, again: Again) -> None:
    made = again(left.parent / 'bundle', steps=3)
    assert 'exporting graphs' not in again.phases
    assert 'proving parity' in again.phases
    assert made.parity['steps'] == 3


def test_graphs_that_have_changed_since_are_proven_anew_and_refused(
    left: Path, again: Again
) -> None:
    path = left / 'bundle/denoise.onnx'
    graph = onnx.load(path)
    weights = max(graph.graph.initializer, key=lambda each: len(each.raw_data))
    weights.raw_data = (np.frombuffer(weights.raw_data, np.float32) * 1.1).tobytes()
    onnx.save(graph, path)
    with pytest.raises(ExportError, match='parity'):
        again(left.parent / 'bundle')
    assert not list(left.parent.iterdir())


def test_what_was_left_of_other_weights_is_removed(
    left: Path, again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(bundle, 'export_graphs', interrupted)
    with pytest.raises(InterruptedError):
        again(left.parent / 'bundle', identity='others')
    assert f'removing what a killed export left: {left}' in again.phases
    assert not list(left.parent.iterdir())


def test_an_export_that_is_interrupted_keeps_its_graphs(tmp_path: Path, again: Again) -> None:
    """Ctrl-C is an exception, on which everything else is cleaned up."""
    again.stop_at = 'proving parity'
    with pytest.raises(KeyboardInterrupt):
        again(tmp_path / 'bundle')
    (left,) = tmp_path.iterdir()
    assert (left / 'bundle/observe.onnx').is_file()
