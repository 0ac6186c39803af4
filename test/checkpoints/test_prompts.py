"""Prompts become the tokens that each family was trained with, baked into the manifest or not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch')

from pizero_ros.checkpoints.checkpoint import Checkpoint, open_checkpoint
from pizero_ros.checkpoints.choices import Choices
from pizero_ros.checkpoints.model_spec import model_spec
from pizero_ros.errors import BundleError, PromptError, UnstatedError
from pizero_ros.processing.prompt import PromptEncoder

END_TO_END = Path(__file__).resolve().parents[1] / 'data/lerobot_e2e'
TOKENIZER = END_TO_END / 'absolute/tokenizer/tokenizer.json'


@pytest.fixture
def lerobot(lerobot_06, small) -> Checkpoint:
    return open_checkpoint(lerobot_06, replace(small, max_tokens=48))


@pytest.fixture
def of_openpi(openpi, small) -> Checkpoint:
    return open_checkpoint(openpi, replace(small, max_tokens=48))


@pytest.fixture
def pieces(tokenizer):
    """The tokenizer itself, as upstream calls it."""
    sentencepiece = pytest.importorskip('sentencepiece')
    return sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))


def test_openpis_prompts_are_cleaned_and_closed_by_a_token(of_openpi, tokenizer, pieces):
    spec, file = model_spec(of_openpi, choices=Choices(tokenizer=tokenizer), prompts=['pick_up'])
    assert file == tokenizer
    assert (spec.prompt.tokenizer, spec.prompt.max_tokens) == ('sentencepiece', 48)
    expected = [*pieces.encode('pick up', add_bos=True), *pieces.encode('\n')]
    assert spec.prompt.named == {'pick_up': tuple(expected)}
    encode = PromptEncoder(spec.prompt, spec.vocabulary, file)
    assert encode(' a_cup\n').tolist() == [
        *pieces.encode('a cup', add_bos=True),
        *pieces.encode('\n'),
    ]


def test_lerobots_prompts_are_left_as_they_are_and_closed_in_the_text(
    of_openpi, tokenizer, pieces
):
    inputs = replace(of_openpi.inputs, clean=False, newline_as_text=True)
    spec, file = model_spec(
        replace(of_openpi, inputs=inputs), choices=Choices(tokenizer=tokenizer)
    )
    encode = PromptEncoder(spec.prompt, spec.vocabulary, file)
    once = pieces.encode('a_cup\n', add_bos=True)
    assert encode('a_cup').tolist() == once
    assert encode('a_cup\n').tolist() == once
    assert encode(' a_cup ').tolist() == pieces.encode(' a_cup \n', add_bos=True)
    assert encode.inverse(np.array(pieces.encode('a cup\n', add_bos=True))) == 'a cup'


def test_too_long_and_empty_prompts_are_refused_at_export(of_openpi, tokenizer):
    choices = Choices(tokenizer=tokenizer)
    with pytest.raises(PromptError, match=r'tokens, expected 1 to 48'):
        model_spec(of_openpi, choices=choices, prompts=['put the carrot on the plate ' * 3])
    with pytest.raises(PromptError, match='found nothing, expected an instruction'):
        model_spec(of_openpi, choices=choices, prompts=['  '])


def test_prompts_can_be_all_that_a_robot_needs(of_openpi, tokenizer):
    choices = Choices(tokenizer=tokenizer)
    spec, file = model_spec(
        of_openpi, choices=choices, prompts=['fold the towel'], carry_tokenizer=False
    )
    assert (file, spec.prompt.tokenizer) == (None, 'none')
    assert list(spec.prompt.named) == ['fold the towel']
    encode = PromptEncoder(spec.prompt, spec.vocabulary)
    assert tuple(encode('fold_the towel')) == spec.prompt.named['fold the towel']
    with pytest.raises(PromptError, match='expected one of'):
        encode('open the drawer')
    with pytest.raises(UnstatedError, match='--prompt'):
        model_spec(of_openpi, choices=choices, carry_tokenizer=False)


def test_tokenizer_is_asked_for_where_prompts_must_become_tokens(of_openpi, tmp_path):
    with pytest.raises(UnstatedError, match=r'only names paligemma_tokenizer\.model'):
        model_spec(of_openpi, choices=Choices())
    spec, file = model_spec(of_openpi, choices=Choices(), needs_prompts=False)
    assert (spec.prompt.tokenizer, file) == ('none', None)
    with pytest.raises(UnstatedError, match='--tokenizer'):
        model_spec(of_openpi, choices=Choices(), needs_prompts=False, prompts=['go'])
    for path in (tmp_path / 'absent.model', tmp_path / 'tokenizer.txt'):
        with pytest.raises(UnstatedError, match='--tokenizer'):
            model_spec(of_openpi, choices=Choices(tokenizer=path))


def test_tokenizer_of_a_larger_model_is_refused(of_openpi, tokenizer):
    sizes = replace(of_openpi.architecture, vocabulary=10)
    with pytest.raises(BundleError, match='vocabulary: found 10, expected at least'):
        model_spec(replace(of_openpi, architecture=sizes), choices=Choices(tokenizer=tokenizer))


def test_checkpoints_own_tokenizer_is_used(lerobot, lerobot_06):
    pytest.importorskip('tokenizers')
    spec, file = model_spec(lerobot, choices=Choices(), prompts=['pick up the cube'])
    assert file == lerobot_06 / 'tokenizer/tokenizer.json'
    assert spec.prompt.tokenizer == 'huggingface'
    assert (spec.prompt.clean, spec.prompt.newline_as_text) == (False, True)
    with np.load(END_TO_END / 'cases.npz') as cases:
        expected = tuple(cases['three_vga_cameras.tokens'].tolist())
    assert spec.prompt.named == {'pick up the cube': expected}


@pytest.mark.parametrize('saved', ['truncation', 'padding'])
def test_saved_truncation_and_padding_neither_cut_nor_fill(lerobot, tmp_path, saved):
    """transformers saves the settings of its last call into the file."""
    pytest.importorskip('tokenizers')
    content = json.loads(TOKENIZER.read_text())
    content['truncation'] = {
        'direction': 'Right',
        'max_length': 4,
        'strategy': 'LongestFirst',
        'stride': 0,
    }
    if saved == 'padding':
        content['truncation'] = None
        content['padding'] = {
            'strategy': {'Fixed': 48},
            'direction': 'Right',
            'pad_to_multiple_of': None,
            'pad_id': 0,
            'pad_type_id': 0,
            'pad_token': '<pad>',
        }
    path = tmp_path / 'tokenizer.json'
    path.write_text(json.dumps(content))
    specs = [
        model_spec(lerobot, choices=Choices(tokenizer=each), prompts=['pick up the cube'])[0]
        for each in (path, TOKENIZER)
    ]
    assert specs[0].prompt.named == specs[1].prompt.named


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'post_processor': None}, 'expected one start token in front and nothing behind'),
        ({'model': None}, r'expected a tokenizer\.json'),
    ],
)
def test_file_that_is_no_paligemma_tokenizer_is_refused(lerobot, tmp_path, change, message):
    pytest.importorskip('tokenizers')
    path = Path(shutil.copy(TOKENIZER, tmp_path / 'tokenizer.json'))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BundleError, match=message):
        model_spec(lerobot, choices=Choices(tokenizer=path))
