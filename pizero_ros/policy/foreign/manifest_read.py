"""``policy.yaml`` of a chunk policy, read strictly: it is written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from pizero_ros.errors import BundleError
from pizero_ros.policy.foreign.manifest import (
    KIND,
    SCHEMA,
    Channels,
    ChunkManifest,
    ChunkOutput,
    ImageInput,
    Layout,
    NoiseInput,
    PictureResize,
    StateInput,
)
from pizero_ros.policy.foreign.vector_read import check_vector, read_vector
from pizero_ros.policy.manifest_read import FILE_NAME, SHA256
from pizero_ros.strict_yaml import read_yaml

if TYPE_CHECKING:
    from pathlib import Path

    from pizero_ros.strict_yaml import Fields

_Rgb = tuple[float, float, float]


def read_chunk_manifest(path: Path) -> ChunkManifest:
    """Read and check the manifest of a chunk policy.

    Args:
        path: Its ``policy.yaml``.

    Returns:
        The manifest; every value in it has been checked on its own and against the others.

    Raises:
        BundleError: With every mistake that was found, by line and key.
    """
    fields = read_yaml(path, BundleError)
    fields.choice('schema', (SCHEMA,))
    fields.choice('kind', (KIND,))
    fields.document.check()  # The keys below are those of this schema and kind only.
    _refuse_history(fields)
    manifest = ChunkManifest(
        name=fields.text('name'),
        embodiment=fields.text('embodiment'),
        source=fields.text('source'),
        graph=fields.text('graph'),
        files=_files(fields.mapping('files')),
        rate_hz=fields.number('rate_hz', above=0),
        horizon=fields.integer('horizon', minimum=1),
        first_step=fields.integer('first_step', minimum=0),
        images=tuple(_image(each) for each in fields.mappings('images'))
        if fields.has('images')
        else (),
        state=_state(fields.mapping('state')) if fields.has('state') else None,
        noise=_noise(fields.mapping('noise')) if fields.has('noise') else None,
        output=_output(fields.mapping('output')),
    )
    fields.document.finish()
    # Lengths and names are compared only once each value is known to be what it should be.
    _check(manifest, fields)
    fields.document.check()
    return manifest


def _refuse_history(fields: Fields) -> None:
    count = fields.integer('observation_steps', minimum=1)
    if count != 1:
        fields.report(
            'observation_steps',
            found=count,
            expected='1: a policy that looks back at earlier observations is not supported',
            remedy='Train or export it with one observation step (n_obs_steps: 1 in lerobot).',
        )


def _files(fields: Fields) -> dict[str, str]:
    names = fields.keys()
    files = {}
    for name in names:
        if not FILE_NAME.fullmatch(name):
            fields.report(name, found=repr(name), expected='the name of a file in the folder')
        files[name] = fields.text(
            name, pattern=SHA256, expected='the SHA-256 in 64 hexadecimal digits, in quotes'
        )
    return files


def _image(fields: Fields) -> ImageInput:
    size = fields.integers('size', 2)
    if any(each < 1 for each in size):
        fields.report('size', found=list(size), expected='[height, width] in pixels')
    gain, offset = _scaling(fields)
    return ImageInput(
        slot=fields.text('slot'),
        input=fields.text('input'),
        size=(size[0], size[1]) if len(size) == 2 else (1, 1),
        resize=fields.choice('resize', get_args(PictureResize)),
        layout=fields.choice('layout', get_args(Layout)),
        channels=fields.choice('channels', get_args(Channels)),
        gain=gain,
        offset=offset,
    )


def _scaling(fields: Fields) -> tuple[_Rgb, _Rgb]:
    """Read ``range``, or ``mean`` and ``std``, as factor and offset on levels in 0..1."""
    if fields.has('range'):
        for key in ('mean', 'std'):
            if fields.has(key):
                fields.skip(key)
                fields.report(key, found='range as well', expected='either range or mean and std')
        low, high = fields.interval('range')
        return (high - low,) * 3, (low,) * 3
    mean, std = fields.numbers('mean', 3), fields.numbers('std', 3)
    if any(not 0 <= each <= 1 for each in mean):
        fields.report(
            'mean',
            found=list(mean),
            expected='numbers from 0 to 1',
            remedy='They are of grey levels scaled to 0..1; divide those of 0..255 by 255.',
        )
    if any(not 0 < each <= 1 for each in std):
        fields.report('std', found=list(std), expected='numbers above 0, at most 1')
        return (1.0,) * 3, (0.0,) * 3
    if len(mean) != 3 or len(std) != 3:
        return (1.0,) * 3, (0.0,) * 3
    (m0, m1, m2), (s0, s1, s2) = mean, std
    return (1 / s0, 1 / s1, 1 / s2), (-m0 / s0, -m1 / s1, -m2 / s2)


def _state(fields: Fields) -> StateInput:
    return StateInput(fields.text('input'), read_vector(fields, 'state'))


def _noise(fields: Fields) -> NoiseInput:
    shape = fields.integers('shape')
    if not shape or any(each < 1 for each in shape):
        fields.report('shape', found=list(shape), expected='sizes of at least 1, such as [16, 7]')
    return NoiseInput(fields.text('input'), shape)


def _output(fields: Fields) -> ChunkOutput:
    return ChunkOutput(
        fields.text('name'), read_vector(fields, 'output'), fields.booleans('relative')
    )


def _check(manifest: ChunkManifest, fields: Fields) -> None:
    """Report what does not fit together."""
    if manifest.graph not in manifest.files:
        fields.report(
            'files',
            found=f'no entry for {manifest.graph}',
            expected='the SHA-256 of the graph',
            remedy=f'`sha256sum {manifest.graph}` prints it.',
        )
    if manifest.first_step >= manifest.horizon:
        fields.report(
            'first_step',
            found=manifest.first_step,
            expected=f'less than {manifest.horizon}, the rows of the output',
        )
    inputs = [each.input for each in (*manifest.images, manifest.state, manifest.noise) if each]
    if not manifest.images and manifest.state is None:
        fields.report('images', found='neither images nor state', expected='one of them')
    for name in sorted({name for name in inputs if inputs.count(name) > 1}):
        fields.report('', found=f'input {name!r} more than once', expected='each input once')
    output = manifest.output
    check_vector(output.vector, fields.document)
    if manifest.state is not None:
        check_vector(manifest.state.vector, fields.document)
    if len(output.relative) != output.vector.width:
        found, expected = len(output.relative), f'{output.vector.width}, as output.indices'
        fields.document.report('output.relative', found=f'{found} values', expected=expected)
        return
    known = () if manifest.state is None else manifest.state.vector.indices
    for column, index in enumerate(output.vector.indices):
        if output.relative[column] and index not in known:
            fields.document.report(
                f'output.relative[{column}]',
                found=f'an action relative to index {index} of the robot vector',
                expected=f'index {index} among state.indices: there is nothing else to add it to',
            )
