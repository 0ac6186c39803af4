from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pizero_ros.errors import BundleError
from pizero_ros.policy.bundle import Bundle

ROOT = Path(__file__).resolve().parents[2]


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_intact_bundle_opens_and_reports_every_byte(tiny_bundle):
    counts = []
    bundle = Bundle.open(tiny_bundle, counts.append)
    assert sum(counts) == sum(entry.size for entry in bundle.manifest.files.values())
    assert bundle.parity['max_abs_error']['velocity'] < 1e-4
    assert bundle.semantics('sim_dual_arm').embodiment == 'sim_dual_arm'
    assert bundle.manifest.untrained


def test_opening_creates_no_session_and_imports_neither_torch_nor_onnxruntime(tiny_bundle):
    code = (
        'import sys; from pizero_ros.policy.bundle import Bundle; Bundle.open(sys.argv[1]);'
        "print([m for m in ('torch', 'onnxruntime', 'rclpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, '-c', code, tiny_bundle],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize('name', ['observe.onnx', 'denoise.onnx', 'parity.json'])
def test_one_flipped_byte_is_found(tiny_copy, name):
    flip(tiny_copy / name, (tiny_copy / name).stat().st_size // 2)
    with pytest.raises(BundleError, match=f'{name}: found SHA-256 .* altered or damaged'):
        Bundle.open(tiny_copy)


def test_one_flipped_digit_of_a_statistic_is_found(tiny_copy):
    path = tiny_copy / 'policy.yaml'
    text = path.read_text()
    assert '-0.4' in text
    path.write_text(text.replace('-0.4', '-0.5', 1))
    with pytest.raises(BundleError, match=r'sha256_of_the_lines_above: found .* altered'):
        Bundle.open(tiny_copy)


def test_missing_seal_is_an_error(tiny_copy):
    path = tiny_copy / 'policy.yaml'
    path.write_text(''.join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(BundleError, match='sha256_of_the_lines_above'):
        Bundle.open(tiny_copy)


@pytest.mark.parametrize('name', ['observe.onnx', 'parity.json'])
def test_missing_file_is_named(tiny_copy, name):
    (tiny_copy / name).unlink()
    with pytest.raises(BundleError, match=f'{name}: found no such file'):
        Bundle.open(tiny_copy)


def test_missing_manifest_is_named(tiny_copy):
    (tiny_copy / 'policy.yaml').unlink()
    with pytest.raises(BundleError, match=r'policy.yaml: found no such file'):
        Bundle.open(tiny_copy)


def test_truncated_file_is_found_by_its_size(tiny_copy):
    path = tiny_copy / 'observe.onnx'
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BundleError, match=r'observe.onnx: found \d+ bytes, expected \d+ bytes'):
        Bundle.open(tiny_copy)


def test_file_that_the_manifest_does_not_list_is_an_error(tiny_copy):
    (tiny_copy / 'extra.onnx').write_bytes(b'')
    with pytest.raises(BundleError, match=r'extra.onnx: found a file that the manifest does not'):
        Bundle.open(tiny_copy)


def test_required_file_that_is_not_listed_is_an_error(tiny_copy, edit_manifest):
    edit_manifest(tiny_copy, lambda document: document['files'].pop('parity.json'))
    with pytest.raises(BundleError, match=r'no entry for parity.json'):
        Bundle.open(tiny_copy)


def test_sentencepiece_needs_its_model_file(tiny_copy, edit_manifest):
    edit_manifest(
        tiny_copy, lambda document: document['model']['prompt'].update(tokenizer='sentencepiece')
    )
    with pytest.raises(BundleError, match=r'no entry for tokenizer.model'):
        Bundle.open(tiny_copy)


def test_other_schema_is_named_before_anything_else(tiny_copy):
    path = tiny_copy / 'policy.yaml'
    path.write_text(path.read_text().replace('schema: 1', 'schema: 2', 1))
    with pytest.raises(
        BundleError, match=r'schema: found 2, expected 1, the only one .* Export the bundle again'
    ):
        Bundle.open(tiny_copy)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'max_abs_error': {'velocity': 2e-4, 'sample': 0.0}}, 'velocity: found 0.0002'),
        ({'max_abs_error': {'velocity': 0.0, 'sample': float('nan')}}, 'sample: found nan'),
        ({'max_abs_error': {'velocity': 0.0}}, 'sample: found nan'),
        ({'tolerance': None}, 'expected a parity proof'),
    ],
)
def test_bundle_without_parity_is_refused(tiny_copy, relist, change, message):
    path = tiny_copy / 'parity.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    relist(tiny_copy, 'parity.json')
    with pytest.raises(BundleError, match=message):
        Bundle.open(tiny_copy)


def test_proof_that_was_made_for_other_graphs_is_refused(tiny_copy, relist):
    path = tiny_copy / 'parity.json'
    proof = json.loads(path.read_text())
    assert sorted(proof['graphs']) == ['denoise.onnx', 'observe.onnx']
    proof['graphs']['denoise.onnx'] = proof['graphs']['observe.onnx']
    path.write_text(json.dumps(proof))
    relist(tiny_copy, 'parity.json')
    with pytest.raises(BundleError, match=r'found a proof for other files \(denoise\.onnx\)'):
        Bundle.open(tiny_copy)


def test_proof_that_names_no_graphs_is_refused(tiny_copy, relist):
    path = tiny_copy / 'parity.json'
    proof = json.loads(path.read_text())
    del proof['graphs']
    path.write_text(json.dumps(proof))
    relist(tiny_copy, 'parity.json')
    with pytest.raises(
        BundleError, match=r'parity\.json: graphs: found a proof that does not say'
    ):
        Bundle.open(tiny_copy)


def test_nothing_and_a_file_are_no_bundles(tmp_path):
    with pytest.raises(BundleError, match='found nothing, expected a bundle folder'):
        Bundle.open(tmp_path / 'absent')
    (tmp_path / 'file').write_text('')
    with pytest.raises(BundleError, match='found a file, expected a bundle folder'):
        Bundle.open(tmp_path / 'file')
