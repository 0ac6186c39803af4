"""The strict YAML reader on its own: types, lines and files that are not YAML."""

from __future__ import annotations

import pytest

from pizero_ros.errors import BundleError
from pizero_ros.strict_yaml import parse_yaml, read_yaml


def fields(text):
    return parse_yaml(text, 'policy.yaml', BundleError)


def failure(reader):
    with pytest.raises(BundleError) as caught:
        reader.document.finish()
    return str(caught.value)


def test_every_type_is_read_and_nothing_is_left_over():
    reader = fields(
        'text: abc\nint: -3\nfloat: 1e-6\nflag: true\nnumbers: [1, .5, -2.5E+3]\nints: [1, 2]\n'
        'words: [a, "1"]\nflags: [true, false]\npair: [0, 1]\n'
        'inner: {a: 1, b: 2}\nlist: [{x: 1}, {x: 2}]\n'
    )
    assert reader.text('text') == 'abc'
    assert reader.integer('int') == -3
    assert reader.number('float') == 1e-6
    assert reader.boolean('flag') is True
    assert reader.numbers('numbers', 3) == (1.0, 0.5, -2500.0)
    assert reader.integers('ints') == (1, 2)
    assert reader.texts('words') == ('a', '1')
    assert reader.booleans('flags') == (True, False)
    assert reader.interval('pair') == (0.0, 1.0)
    inner = reader.mapping('inner')
    assert {key: inner.integer(key) for key in inner.keys()} == {'a': 1, 'b': 2}  # noqa: SIM118
    assert [item.integer('x') for item in reader.mappings('list')] == [1, 2]
    reader.document.finish()


@pytest.mark.parametrize(
    'spelling', ['1:30', '0x10', '1_000', '010', '0o10', '1e999', '.nan', "'1'"]
)
def test_numbers_that_yaml_versions_read_differently_are_mistakes(spelling):
    reader = fields(f'a: {spelling}')
    reader.number('a')
    assert 'policy.yaml:1: a: found' in failure(reader)


@pytest.mark.parametrize('spelling', ['yes', 'on', 'True', '1', "'true'"])
def test_only_true_and_false_are_booleans(spelling):
    reader = fields(f'a: {spelling}')
    reader.boolean('a')
    assert 'expected true or false' in failure(reader)


def test_word_that_yaml_takes_for_a_boolean_is_no_text():
    reader = fields('message: off')
    reader.text('message')
    assert 'policy.yaml:1: message: found off, expected text' in failure(reader)


def test_item_of_a_list_is_named_with_its_line():
    reader = fields('mean:\n  - 1\n  - x\n')
    reader.numbers('mean')
    assert "policy.yaml:3: mean[1]: found 'x', expected a list of numbers" in failure(reader)


def test_list_of_another_length_is_a_mistake():
    reader = fields('mean: [1, 2]')
    reader.numbers('mean', 3)
    assert 'mean: found [1, 2], expected a list of 3 numbers' in failure(reader)


def test_missing_mapping_is_reported_once_and_not_for_each_key_in_it():
    reader = fields('a: 1')
    reader.integer('a')
    reader.mapping('model').integer('width')
    message = failure(reader)
    assert message.count('found') == 1
    assert 'model: found nothing, expected a mapping' in message


def test_required_key_of_an_optional_mapping_is_still_required():
    reader = fields('a: 1')
    reader.integer('a')
    reader.mapping('model', required=False).integer('width')
    assert 'model.width: found nothing' in failure(reader)


def test_key_that_is_not_text_is_a_mistake():
    reader = fields('prompts:\n  on: 1\n')
    reader.mapping('prompts')
    assert 'policy.yaml:2: prompts: found key on, expected a key that is text' in failure(reader)


def test_python_object_is_never_constructed(tmp_path):
    trap = tmp_path / 'trap'
    reader = fields(f'name: !!python/object/apply:os.mkdir ["{trap}"]')
    reader.text('name')
    assert 'policy.yaml:1: name: found' in failure(reader)
    assert not trap.exists()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'a: [1, 2', 'policy.yaml:1: found'),
        (b'a: 1\n\tb: 2', 'policy.yaml:2: found'),
        (b'a: 1\n---\nb: 2', 'expected one YAML document'),
        (b'', 'found nothing, expected a mapping at the top level'),
        (b'- 1', 'found [1], expected a mapping at the top level'),
        (b'\xff\xfe\x00', 'expected UTF-8 text'),
        (b'a: *unknown', 'policy.yaml:1: found'),
        (b'a: \x07', 'expected one YAML document'),
        (b'[' * 5000, 'expected one YAML document'),
    ],
)
def test_file_that_is_not_a_mapping_in_yaml_is_named(tmp_path, content, message):
    path = tmp_path / 'policy.yaml'
    path.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        read_yaml(path, BundleError)
    assert str(tmp_path) in str(caught.value)
    assert message in str(caught.value)


def test_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(BundleError, match='expected a readable file'):
        read_yaml(tmp_path, BundleError)
