"""``policy.yaml`` as a manifest: strict, because a wrong number in it moves metal."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, get_args

import yaml

from pizero_ros.errors import BundleError
from pizero_ros.policy.manifest import (
    PARTS,
    SCHEMA,
    CacheSpec,
    FileEntry,
    Manifest,
    Precision,
    Provenance,
    Variant,
    VariantPrecision,
    VariantProvider,
)
from pizero_ros.policy.manifest_write import FLOW_TIME, NOISE, SEAL_KEY
from pizero_ros.policy.semantics_read import check_semantics, read_semantics
from pizero_ros.processing.spec import ModelSpec, PromptSpec, ResizeRule, TokenizerKind
from pizero_ros.strict_yaml import Fields, parse_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]*')
SHA256 = re.compile(r'[0-9a-f]{64}')


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Args:
        path: The bundle's ``policy.yaml``.

    Returns:
        The manifest; every value in it has been checked on its own and against the others.

    Raises:
        BundleError: With every mistake that was found, by line and key.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except FileNotFoundError:
        raise BundleError.at(
            path,
            '',
            found='no such file',
            expected='a manifest',
            remedy='This folder is not a bundle, or its copy is incomplete.',
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError.at(path, '', found=str(error), expected='a readable file') from None
    fields = parse_yaml(text, str(path), BundleError)
    _refuse_chunk_policy(path, fields)
    _check_schema(fields)
    _check_seal(path, text)
    model_only = fields.boolean('model_only')
    model = read_model(fields.mapping('model'))
    robots = fields.mapping('embodiments')
    names = robots.keys()
    if model_only and names:
        fields.report('embodiments', found=', '.join(names), expected='none beside model_only')
    if not model_only and not names:
        fields.report('embodiments', found='none', expected='at least one, or model_only: true')
    noise = fields.mapping('noise')
    noise.choice('distribution', (NOISE,))
    noise.choice('flow_time', (FLOW_TIME,))
    files = _files(fields.mapping('files'))
    manifest = Manifest(
        model_only=model_only,
        architecture=_architecture(fields.mapping('architecture'), text),
        precision=fields.choice('precision', get_args(Precision)),
        model=model,
        cache=_cache(fields.mapping('cache')),
        embodiments={name: read_semantics(robots.mapping(name), name) for name in names},
        provenance=_provenance(fields.mapping('provenance')),
        files=files,
        variants=_variants(fields, files),
    )
    fields.document.finish()
    # Widths are compared only once each list is known to be what it should be.
    for semantics in manifest.embodiments.values():
        check_semantics(semantics, model, fields.document)
    fields.document.check()
    return manifest


def _refuse_chunk_policy(path: Path, fields: Fields) -> None:
    """Say what a folder of that kind is for, before its keys are complained about."""
    if fields.has('kind'):
        raise BundleError.at(
            path,
            'kind',
            found='a policy of another kind than π0',
            expected='a π0 bundle, whose manifest has no such key',
            remedy='If it is a chunk policy (kind: onnx_chunk), `pizero replay` evaluates it and '
            '`pizero check` examines it; no robot runs it.',
        )


def _check_schema(fields: Fields) -> None:
    """Refuse another schema before anything else is complained about."""
    schema = fields.integer('schema', minimum=1)
    fields.document.check()
    if schema != SCHEMA:
        fields.report(
            'schema',
            found=schema,
            expected=f'{SCHEMA}, the only one that this version reads',
            remedy='Export the bundle again with this version of pizero_ros.',
        )
        fields.document.check()
    fields.text(SEAL_KEY)


def _check_seal(path: Path, text: str) -> None:
    """Compare the text with its digest: one flipped digit of a statistic must not pass."""
    above, separator, last = text.rpartition(f'{SEAL_KEY}: ')
    found = last.strip().strip('\'"')
    digest = hashlib.sha256(above.encode()).hexdigest()
    if not separator or found != digest:
        raise BundleError.at(
            path,
            SEAL_KEY,
            found=found or 'nothing',
            expected=digest,
            remedy='The manifest was altered or damaged. If you edited it and mean it, put the '
            'expected value there, in quotes, as the last line; else export the bundle again.',
        )


def read_model(fields: Fields) -> ModelSpec:
    """Read sizes and input rules, reporting mistakes to their document."""
    slots = fields.texts('slots')
    if not slots or len(set(slots)) != len(slots):
        fields.report('slots', found=list(slots), expected='at least one name, each once')
    size = fields.integers('image_size', 2)
    if any(each < 1 for each in size):
        fields.report('image_size', found=list(size), expected='[height, width] in pixels')
    vocabulary = fields.integer('vocabulary', minimum=1)
    return ModelSpec(
        slots=slots,
        image_size=(size[0], size[1]) if len(size) == 2 else (1, 1),
        resize=fields.choice('resize', get_args(ResizeRule)),
        prompt=_prompt(fields.mapping('prompt'), vocabulary),
        state_dim=fields.integer('state_dim', minimum=1),
        action_dim=fields.integer('action_dim', minimum=1),
        horizon=fields.integer('horizon', minimum=1),
        steps=fields.integer('steps', minimum=1),
        vocabulary=vocabulary,
    )


def _prompt(fields: Fields, vocabulary: int) -> PromptSpec:
    longest = fields.integer('max_tokens', minimum=1)
    prompts = fields.mapping('named')
    names = prompts.keys()
    named = {}
    for text in names:
        ids = prompts.integers(text)
        if not 1 <= len(ids) <= longest:
            prompts.report(text, found=f'{len(ids)} tokens', expected=f'1 to {longest}')
        if any(not 0 <= each < vocabulary for each in ids):
            outside = [each for each in ids if not 0 <= each < vocabulary]
            prompts.report(text, found=outside, expected=f'token ids below {vocabulary}')
        named[text] = ids
    return PromptSpec(
        tokenizer=fields.choice('tokenizer', get_args(TokenizerKind)),
        max_tokens=longest,
        clean=fields.boolean('clean'),
        newline=fields.boolean('newline'),
        named=named,
        newline_as_text=fields.boolean('newline_as_text', False),
    )


def _cache(fields: Fields) -> CacheSpec:
    return CacheSpec(
        layers=fields.integer('layers', minimum=1),
        kv_heads=fields.integer('kv_heads', minimum=1),
        head_dim=fields.integer('head_dim', minimum=1),
    )


def _provenance(fields: Fields) -> Provenance:
    versions = fields.mapping('versions')
    libraries = versions.keys()
    return Provenance(
        kind=fields.text('kind'),
        source=fields.text('source'),
        seed=fields.integer('seed', minimum=0) if fields.has('seed') else None,
        created=fields.text('created'),
        versions={name: versions.text(name) for name in libraries},
    )


def _files(fields: Fields) -> dict[str, FileEntry]:
    names = fields.keys()
    files = {}
    for name in names:
        entry = fields.mapping(name)
        if not FILE_NAME.fullmatch(name):
            fields.report(name, found=repr(name), expected='the name of a file in the bundle')
        files[name] = FileEntry(
            size=entry.integer('size', minimum=0),
            sha256=entry.text('sha256', pattern=SHA256, expected='64 hexadecimal digits'),
        )
    return files


def _variants(fields: Fields, files: Mapping[str, FileEntry]) -> dict[str, Variant]:
    if not fields.has('variants'):
        return {}
    variants = fields.mapping('variants')
    read = {}
    names = variants.keys()
    for name in names:
        entry = variants.mapping(name)
        parts = entry.mapping('files')
        keys = parts.keys()
        found = {part: parts.text(part) for part in keys}
        if name not in PARTS:
            variants.report(name, found='an unknown variant', expected=' or '.join(PARTS))
        elif set(found) != set(PARTS[name]):
            entry.report('files', found=', '.join(found), expected=', '.join(PARTS[name]))
        for part, file in found.items():
            if file not in files:
                parts.report(part, found=file, expected='a file that `files` lists')
        unrolled = 'sample' in found
        read[name] = Variant(
            provider=entry.choice('provider', get_args(VariantProvider)),
            precision=entry.choice('precision', get_args(VariantPrecision)),
            files=found,
            steps=entry.integer('steps', minimum=1) if unrolled else None,
        )
    return read


def _architecture(fields: Fields, text: str) -> dict[str, Any]:
    """Read sizes whose meaning only the torch model knows: numbers, by name or in a row."""
    found = yaml.safe_load(text)['architecture'] if fields.keys() else {}
    _check_sizes(fields, found)
    return dict(found)


def _check_sizes(fields: Fields, found: Mapping[str, Any]) -> None:
    for key, value in found.items():
        if isinstance(value, dict):
            _check_sizes(fields.mapping(key), value)
        elif isinstance(value, list):
            fields.integers(key)
        else:
            fields.number(key)
