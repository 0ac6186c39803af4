"""The optional third graph: written, proven, loaded when asked for, and equal to torch."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BundleError
from pizero_ros.export import streaming
from pizero_ros.export.bundle import write_bundle
from pizero_ros.export.graphs import export_graphs
from pizero_ros.export.jacobian import pull_back
from pizero_ros.export.parity import prove
from pizero_ros.export.random_bundle import random_model_spec
from pizero_ros.export.streaming import StreamedWeights
from pizero_ros.model.architecture import read_architecture
from pizero_ros.model.pi0 import Conditioning, Pi0
from pizero_ros.policy.bundle import Bundle, read_parity
from pizero_ros.policy.guidance import RealTimeChunking
from pizero_ros.policy.predictor import ChunkPredictor
from pizero_ros.policy.runtime import Policy
from pizero_ros.processing.model_inputs import ModelInputs


@pytest.fixture(scope='module')
def model(mini_architecture):
    return Pi0.random(read_architecture(mini_architecture), 3)


@pytest.fixture(scope='module')
def bundle(model, tmp_path_factory):
    return write_bundle(
        model,
        random_model_spec(model.architecture, ('base_0_rgb', 'left_wrist_0_rgb'), prompts=['go']),
        tmp_path_factory.mktemp('jacobian') / 'mini',
        semantics={},
        kind='random',
        source='mini',
        seed=3,
        jacobian=True,
    )


def test_the_graph_is_listed_and_proven(bundle):
    assert 'jacobian.onnx' in bundle.manifest.files
    assert bundle.parity['graphs'].keys() == {'observe.onnx', 'denoise.onnx', 'jacobian.onnx'}
    assert bundle.parity['max_abs_error']['correction'] < 1e-5
    assert bundle.parity['scale']['correction'] > 1.0


def test_a_policy_too_large_for_memory_has_it_too(model, tmp_path, monkeypatch):
    """Weights in data files, each read once per use and never all, torch layer by layer."""
    monkeypatch.setattr(streaming, 'MEMORY_LIMIT', 0)
    weights = StreamedWeights.of(model)
    assert not weights.fits_memory
    export_graphs(weights, tmp_path, inside=0, jacobian=True)
    assert (tmp_path / 'jacobian.onnx.data').is_file()
    proof = prove(weights, tmp_path, seed=7, steps=2, slots=2)
    assert proof['max_abs_error']['correction'] < 1e-5


def test_a_proof_that_is_silent_about_it_is_refused(bundle, tmp_path):
    proof = json.loads((bundle.path / 'parity.json').read_text())
    del proof['max_abs_error']['correction']
    path = tmp_path / 'parity.json'
    path.write_text(json.dumps(proof))
    read_parity(path)
    with pytest.raises(BundleError, match=r'max_abs_error.correction: found nan'):
        read_parity(path, ('correction',))


@pytest.mark.parametrize(('cameras', 'tokens'), [(2, 5), (1, 2)])
def test_the_runtime_pulls_back_as_torch_does(model, bundle, cameras, tokens):
    """At every step of a sample, at its x_t and t, and for errors that change."""
    generator = np.random.default_rng(cameras)
    inputs = ModelInputs(
        images=generator.uniform(-1, 1, (cameras, 3, 28, 28)).astype(np.float32),
        tokens=generator.integers(0, 300, tokens),
        state=generator.standard_normal(18, dtype=np.float32),
    )
    noise = generator.standard_normal((50, 18), dtype=np.float32)
    policy = Policy.load(Bundle.open(bundle.path), 'cpu', threads=1, jacobian=True)
    assert len(policy.warm_up(cameras, tokens)) > 3
    arrays = (inputs.images, inputs.tokens, inputs.state)
    with torch.no_grad():
        cache = model.observe(Conditioning(*(torch.from_numpy(array)[None] for array in arrays)))
    largest, moved = [], []

    def compare(x_t, velocity, t):
        error = generator.standard_normal(x_t.shape, dtype=np.float32)
        found = policy.graphs.pull_back(error)
        given = (torch.from_numpy(array.copy())[None] for array in (x_t, t, error))
        with torch.no_grad():
            expected = pull_back(model, cache, *given)[0].numpy()
        largest.append(np.abs(found - expected).max())
        moved.append(np.abs(found - error).max())

    policy.infer(inputs, noise, hook=compare)
    assert len(largest) == 10
    assert max(largest) < 1e-5
    assert max(moved) > 0.1


def test_it_is_not_loaded_unless_asked_for(bundle):
    policy = Policy.load(Bundle.open(bundle.path), 'cpu', threads=1)
    assert not policy.graphs.differentiated
    with pytest.raises(ValueError, match='without the graph of the Jacobian'):
        policy.graphs.pull_back(np.zeros((50, 18), np.float32))


def test_a_bundle_without_it_is_refused_where_it_is_needed(tiny_bundle):
    bundle = Bundle.open(tiny_bundle)
    with pytest.raises(BundleError, match=r'jacobian.onnx: found no such file.*--jacobian'):
        Policy.load(bundle, 'cpu', jacobian=True)
    policy = Policy.load(bundle, 'cpu', threads=1)
    with pytest.raises(ValueError, match='loaded without its graph'):
        ChunkPredictor(
            policy, load_embodiment('sim_single_arm'), chunking=RealTimeChunking('jacobian')
        )
