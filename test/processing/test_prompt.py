from __future__ import annotations

import io

import numpy as np
import pytest

from pizero_ros.errors import BundleError, PromptError
from pizero_ros.processing.prompt import PromptEncoder, clean
from pizero_ros.processing.spec import PromptSpec


def spec(tokenizer='bytes', max_tokens=48, clean=True, newline=True, named=None):
    return PromptSpec(tokenizer, max_tokens, clean, newline, named or {})


@pytest.fixture(scope='module')
def sentencepiece_model(tmp_path_factory):
    """Train a small SentencePiece model with PaliGemma's special ids and a newline token."""
    sentencepiece = pytest.importorskip('sentencepiece')
    path = tmp_path_factory.mktemp('tokenizer') / 'tokenizer.model'
    text = ['put the carrot on the plate', 'fold the towel', 'open the drawer', 'pick up a cup']
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text * 20),
        model_writer=written,
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        user_defined_symbols=['\n'],
        normalization_rule_name='identity',
        minloglevel=2,
    )
    path.write_bytes(written.getvalue())
    return path


def test_bytes_are_shifted_past_the_special_tokens():
    tokens = PromptEncoder(spec(), 260)('Hi')
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [2, ord('H') + 4, ord('i') + 4, 3]
    assert PromptEncoder(spec(newline=False), 260)('Hi').tolist() == [2, 76, 109]


def test_cleaning_is_openpis():
    assert clean('  pick_up\nthe cup ') == 'pick up the cup'
    encode = PromptEncoder(spec(), 260)
    assert np.array_equal(encode(' pick_up the cup\n'), encode('pick up the cup'))
    raw = PromptEncoder(spec(clean=False), 260)
    assert raw('a\nb').tolist() == [2, 101, 14, 102, 3]


@pytest.mark.parametrize('text', ['fold the towel', 'räume den Tisch auf', '\u7b2c\u4e00'])
def test_inverse_returns_the_prompt(text):
    encode = PromptEncoder(spec(), 260)
    assert encode.inverse(encode(text)) == text


def test_tokens_of_the_last_prompt_are_kept():
    encode = PromptEncoder(spec(), 260)
    first = encode('fold')
    assert encode('fold') is first
    assert encode('unfold') is not first
    with pytest.raises(ValueError, match='read-only'):
        first[0] = 5


def test_a_prompt_that_is_too_long_is_refused_and_not_cut():
    encode = PromptEncoder(spec(max_tokens=10), 260)
    assert len(encode('12345678')) == 10
    with pytest.raises(PromptError, match='found 11 tokens, expected 1 to 10'):
        encode('123456789')
    assert len(encode('12345678')) == 10


@pytest.mark.parametrize('text', ['', '   ', '\n', '_'])
def test_no_instruction_is_refused(text):
    with pytest.raises(PromptError, match='expected an instruction'):
        PromptEncoder(spec(), 260)(text)


def test_named_prompts_need_no_tokenizer():
    encode = PromptEncoder(spec('none', named={'fold the towel': (2, 50, 7, 108)}), 300)
    assert encode('fold the towel').tolist() == [2, 50, 7, 108]
    assert encode(' fold_the towel ').tolist() == [2, 50, 7, 108]
    assert encode.inverse(np.array([2, 50, 7, 108])) == 'fold the towel'


def test_unknown_named_prompt_lists_the_known_ones():
    encode = PromptEncoder(spec('none', named={'fold': (2, 5), 'open': (2, 6)}), 300)
    with pytest.raises(PromptError, match="found 'close', expected one of 'fold', 'open'"):
        encode('close')
    with pytest.raises(PromptError, match='expected the tokens of one of'):
        encode.inverse(np.array([9]))


def test_named_prompt_goes_before_the_tokenizer():
    encode = PromptEncoder(spec(named={'fold': (2, 250)}), 260)
    assert encode('fold').tolist() == [2, 250]
    assert encode('folds').tolist() == [2, *(ord(c) + 4 for c in 'folds'), 3]


@pytest.mark.parametrize(
    ('rules', 'vocabulary', 'message'),
    [
        (spec('none'), 300, 'found no prompts and no tokenizer'),
        (spec(), 259, 'vocabulary: found 259, expected at least 260'),
        (spec('none', named={'a': (2, 300)}), 300, r"named\['a'\]: found token 300"),
        (spec('none', named={'a': ()}), 300, r"named\['a'\]: found 0 tokens"),
        (spec('none', 3, named={'a': (1, 2, 3, 4)}), 300, 'found 4 tokens, expected 1 to 3'),
        (spec('sentencepiece'), 300, 'expected tokenizer.model'),
    ],
)
def test_rules_that_cannot_work_are_refused_at_once(rules, vocabulary, message):
    with pytest.raises(BundleError, match=message):
        PromptEncoder(rules, vocabulary)


def test_sentencepiece_is_bos_text_newline(sentencepiece_model):
    import sentencepiece

    reference = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_model))
    size = reference.get_piece_size()
    encode = PromptEncoder(spec('sentencepiece'), size, sentencepiece_model)
    expected = [2, *reference.encode('fold the towel'), *reference.encode('\n')]
    assert encode('fold_the towel\n').tolist() == expected
    assert encode.inverse(encode('fold the towel')) == 'fold the towel'


def test_sentencepiece_larger_than_the_model_is_refused(sentencepiece_model):
    with pytest.raises(BundleError, match=r'vocabulary: found 10, expected at least \d\d'):
        PromptEncoder(spec('sentencepiece'), 10, sentencepiece_model)


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path):
    pytest.importorskip('sentencepiece')
    path = tmp_path / 'tokenizer.model'
    path.write_bytes(b'not a model')
    with pytest.raises(BundleError, match='expected a SentencePiece model'):
        PromptEncoder(spec('sentencepiece'), 300, path)
