"""The sizes of a π0 model, read strictly from YAML or from a reduced model's ``size.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pizero_ros.errors import ArchitectureError
from pizero_ros.resources import config_dir
from pizero_ros.strict_yaml import read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable

    from pizero_ros.strict_yaml import Fields

_SCHEMA = 1
_PATCH = 14
_MIN_PERIOD = 0.004
_MAX_PERIOD = 4.0

GEMMA_TUPLE_ORDER = 'width,depth,mlp_dim,num_heads,num_kv_heads,head_dim'
"""What the six numbers of ``vlm`` and ``exp`` mean in a ``size.json``."""


@dataclass(frozen=True)
class StemSizes:
    """Convolutions of 3 x 3 with ``channels`` outputs each, and ``keypoints`` found by them.

    Attributes:
        halved: Convolutions that halve the picture: the first ones. The others look around.
        octaves: Waves that tell a place have periods from the picture's side down to an eighth.
        place: Numbers by which a token knows its place: for each axis where, and its waves; and
            how sure that is.
    """

    channels: tuple[int, ...]
    keypoints: int

    halved: ClassVar[int] = 2
    octaves: ClassVar[int] = 4
    place: ClassVar[int] = 2 * (1 + 2 * octaves) + 1


@dataclass(frozen=True)
class VisionSizes:
    """Image tower: square images of ``image_size`` pixels.

    SigLIP's cuts them into ``patch`` pixel patches. With a ``stem`` keypoints take the place of
    the patches, ``patch`` is 0, and everything behind them is the same.
    """

    image_size: int
    patch: int
    width: int
    depth: int
    mlp: int
    heads: int
    stem: StemSizes | None = None

    @property
    def tokens(self) -> int:
        """Tokens that one camera becomes."""
        if self.stem is not None:
            return self.stem.keypoints
        return (self.image_size // self.patch) ** 2


@dataclass(frozen=True)
class GemmaSizes:
    """One Gemma stack; ``heads`` query heads share ``kv_heads`` key/value heads."""

    width: int
    depth: int
    mlp: int
    heads: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class Architecture:
    """Every size of a π0 model.

    Attributes:
        vision: The image tower.
        vlm: The Gemma stack that reads images and prompt.
        expert: The Gemma stack that reads state and actions; shares attention with ``vlm``.
        vocabulary: Rows of the token embedding.
        max_tokens: Longest prompt in tokens, pads included.
        state_dim: Width of the padded state.
        action_dim: Width of the padded action.
        horizon: Actions per chunk.
        min_period: Shortest period of the time embedding, in units of flow time.
        max_period: Longest period of the time embedding.
    """

    vision: VisionSizes
    vlm: GemmaSizes
    expert: GemmaSizes
    vocabulary: int
    max_tokens: int
    state_dim: int
    action_dim: int
    horizon: int
    min_period: float = _MIN_PERIOD
    max_period: float = _MAX_PERIOD

    def as_mapping(self) -> dict[str, Any]:
        """Give the sizes as plain values, in the layout that ``read_architecture`` reads."""
        sizes = {'schema': _SCHEMA, **asdict(self)}
        stem = self.vision.stem
        if stem is None:
            del sizes['vision']['stem']
        else:
            del sizes['vision']['patch']
            sizes['vision']['stem']['channels'] = list(stem.channels)
        return sizes


def architecture_path(name_or_path: str | Path) -> Path:
    """Find an architecture file.

    Args:
        name_or_path: Name of a shipped architecture (``tiny``, ``pi0_small``, ``pi0``) or a path.

    Returns:
        The file's path.

    Raises:
        ArchitectureError: Neither a shipped name nor an existing file.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = config_dir() / 'architectures'
    named = shipped / f'{name_or_path}.yaml'
    if named.is_file():
        return named
    names = ', '.join(sorted(p.stem for p in shipped.glob('*.yaml')))
    raise ArchitectureError.at(
        name_or_path, '', found='no such file', expected=f'a path or one of: {names}'
    )


def read_architecture(path: str | Path) -> Architecture:
    """Read and check one architecture file.

    Args:
        path: YAML of schema 1, or the ``size.json`` of a reduced reference model.

    Returns:
        The checked sizes.

    Raises:
        ArchitectureError: The file cannot be read, a key is unknown, missing or of the wrong
            type, or the sizes do not fit together; every mistake is named with its line.
    """
    # YAML contains JSON, so one reader serves both layouts.
    data = read_yaml(Path(path), ArchitectureError)
    reduced = data.has('vit')
    sizes = _reduced(data) if reduced else _full(data)
    # Sizes are weighed against each other only once each of them is known to be a size.
    data.document.finish()
    _report_misfits(sizes, _JSON_KEYS.get if reduced else None, data)
    data.document.check()
    return sizes


def _full(data: Fields) -> Architecture:
    """Take the YAML layout."""
    data.choice('schema', (_SCHEMA,))
    vision = data.mapping('vision')
    return Architecture(
        vision=VisionSizes(
            image_size=_size(vision, 'image_size'),
            patch=0 if vision.has('stem') else _size(vision, 'patch'),
            width=_size(vision, 'width'),
            # Keypoints may go to the VLM as they are.
            depth=vision.integer('depth', minimum=0 if vision.has('stem') else 1),
            mlp=_size(vision, 'mlp'),
            heads=_size(vision, 'heads'),
            stem=_stem(vision.mapping('stem')) if vision.has('stem') else None,
        ),
        vlm=_gemma(data.mapping('vlm')),
        expert=_gemma(data.mapping('expert')),
        vocabulary=_size(data, 'vocabulary'),
        max_tokens=_size(data, 'max_tokens'),
        state_dim=_size(data, 'state_dim'),
        action_dim=_size(data, 'action_dim'),
        horizon=_size(data, 'horizon'),
        min_period=data.number('min_period', above=0.0),
        max_period=data.number('max_period', above=0.0),
    )


def _reduced(data: Fields) -> Architecture:
    """Take the layout of ``size.json``."""
    data.choice('order_of_gemma_tuple', (GEMMA_TUPLE_ORDER,), GEMMA_TUPLE_ORDER)
    # These describe the test data that lies beside the file, not the model.
    for key in ('rsdim', 'radim', 'inputs_seed', 'weights_seed'):
        data.integer(key, 0)
    for key in ('image_layout', 'time'):
        data.text(key, '')
    vit = data.mapping('vit')
    return Architecture(
        vision=VisionSizes(
            image_size=_size(data, 'img'),
            patch=_PATCH,
            width=_size(vit, 'hidden_size'),
            depth=_size(vit, 'num_hidden_layers'),
            mlp=_size(vit, 'intermediate_size'),
            heads=_size(vit, 'num_attention_heads'),
        ),
        vlm=_gemma_tuple(data, 'vlm'),
        expert=_gemma_tuple(data, 'exp'),
        vocabulary=_size(data, 'vocab'),
        max_tokens=_size(data, 'ntok'),
        state_dim=_size(data, 'sdim'),
        action_dim=_size(data, 'adim'),
        horizon=_size(data, 'chunk'),
    )


def _size(data: Fields, key: str) -> int:
    return data.integer(key, minimum=1)


def _stem(data: Fields) -> StemSizes:
    channels = data.integers('channels')
    if len(channels) < StemSizes.halved or any(number < 1 for number in channels):
        expected = f'{StemSizes.halved} or more integers of at least 1'
        data.report('channels', found=list(channels), expected=expected)
    return StemSizes(channels, _size(data, 'keypoints'))


def _gemma(data: Fields) -> GemmaSizes:
    return GemmaSizes(
        width=_size(data, 'width'),
        depth=_size(data, 'depth'),
        mlp=_size(data, 'mlp'),
        heads=_size(data, 'heads'),
        kv_heads=_size(data, 'kv_heads'),
        head_dim=_size(data, 'head_dim'),
    )


def _gemma_tuple(data: Fields, key: str) -> GemmaSizes:
    numbers = data.integers(key, 6)
    if any(number < 1 for number in numbers):
        data.report(key, found=list(numbers), expected='integers of at least 1')
    return GemmaSizes(*numbers) if len(numbers) == 6 else GemmaSizes(1, 1, 1, 1, 1, 1)


_JSON_KEYS = {
    'vision.image_size': 'img',
    'vision.width': 'vit.hidden_size',
    'vlm.heads': 'vlm',
    'vlm.head_dim': 'vlm',
    'expert.width': 'exp',
    'expert.depth': 'exp',
    'expert.heads': 'exp',
    'expert.kv_heads': 'exp',
    'expert.head_dim': 'exp',
}


def _report_misfits(
    sizes: Architecture, rename: Callable[[str], str | None] | None, data: Fields
) -> None:
    """Report sizes that are each possible and together make no model."""

    def report(key: str, found: object, expected: str) -> None:
        data.report((rename and rename(key)) or key, found=found, expected=expected)

    vision, vlm, expert = sizes.vision, sizes.vlm, sizes.expert
    if vision.patch and vision.image_size % vision.patch:
        report('vision.image_size', vision.image_size, f'a multiple of the patch, {vision.patch}')
    if vision.width % vision.heads:
        report('vision.width', vision.width, f'a multiple of the number of heads, {vision.heads}')
    for key in ('depth', 'heads', 'kv_heads', 'head_dim'):
        mine, other = getattr(expert, key), getattr(vlm, key)
        if mine != other:
            expected = f'{other} as in vlm.{key}: the two stacks share attention'
            report(f'expert.{key}', f'{key} {mine}', expected)
    if vlm.heads % vlm.kv_heads:
        report('vlm.heads', vlm.heads, f'a multiple of vlm.kv_heads, {vlm.kv_heads}')
    if vlm.head_dim % 2:
        report('vlm.head_dim', vlm.head_dim, 'an even number: rotary positions turn halves')
    if expert.width % 2:
        report('expert.width', expert.width, 'an even number: sines and cosines of flow time')
    if sizes.max_period <= sizes.min_period:
        report('max_period', sizes.max_period, f'more than min_period, {sizes.min_period}')
