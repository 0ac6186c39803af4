"""What a chunk policy's folder says about itself: the frozen values behind ``policy.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.processing.spec import GripperMap, NormalizationMode, Statistics

KIND = 'onnx_chunk'
"""Value of ``kind`` in ``policy.yaml``; the manifest of a π0 bundle has no such key."""
SCHEMA = 1

PictureResize = Literal[
    'none', 'stretch', 'stretch_antialias', 'antialias', 'lerobot', 'lerobot_left_top'
]
"""``none``: the camera must have the size. ``stretch``: bilinear, the aspect ratio lost;
``stretch_antialias`` as Pillow and torchvision do it. The others keep it, on black
(``ResizeWithPad``)."""
Layout = Literal['nchw', 'nhwc']
Channels = Literal['rgb', 'bgr']
VectorMode = Literal['zscore', 'quantile', 'min_max', 'identity']


@dataclass(frozen=True)
class ImageInput:
    """One image input of the graph, and the camera slot that feeds it.

    Attributes:
        slot: Camera slot of the embodiment.
        input: Name in the graph.
        size: Height and width in pixels.
        resize: How a picture gets that size.
        layout: Order of the axes.
        channels: Order of the colours.
        gain: Factor of each channel, in the graph's order, on grey levels scaled to 0..1.
        offset: Added to each channel after that.
    """

    slot: str
    input: str
    size: tuple[int, int]
    resize: PictureResize
    layout: Layout
    channels: Channels
    gain: tuple[float, float, float]
    offset: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one picture, without batch."""
        height, width = self.size
        return (3, height, width) if self.layout == 'nchw' else (height, width, 3)


@dataclass(frozen=True, eq=False)
class PolicyVector:
    """What the values of the policy's state or actions are.

    Attributes:
        key: ``state`` or ``output``: where in the manifest it stands.
        indices: Index in the robot vector of each value.
        normalization: Formula; ``min_max`` has become ``quantile``, whose formula it is.
        eps: Added to the divisor.
        statistics: In policy units.
        maps: Values whose unit or sign is not the robot's; ``index`` counts the policy's values.
    """

    key: str
    indices: tuple[int, ...]
    normalization: NormalizationMode
    eps: float
    statistics: Statistics
    maps: tuple[GripperMap, ...]

    @property
    def width(self) -> int:
        """Number of values."""
        return len(self.indices)


@dataclass(frozen=True)
class StateInput:
    """The state input of the graph: its name, and its values."""

    input: str
    vector: PolicyVector


@dataclass(frozen=True)
class NoiseInput:
    """The input that takes standard normal noise: its name and shape, the last axis is values."""

    input: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ChunkOutput:
    """The output that holds the chunk.

    Attributes:
        name: In the graph.
        vector: Its values.
        relative: One per value: relative to the state at the observation, for the whole chunk.
    """

    name: str
    vector: PolicyVector
    relative: tuple[bool, ...]


@dataclass(frozen=True)
class ChunkManifest:
    """Everything that an evaluation must know about a chunk policy.

    Attributes:
        name: What reports call it.
        embodiment: The robot whose vector its indices mean.
        source: Where it came from, in words.
        graph: File name of the graph.
        files: Name → SHA-256 (hexadecimal) of every file but the manifest.
        rate_hz: Action rate that it was trained at.
        horizon: Rows of its output.
        first_step: Row that belongs to the observation's own time; rows before it are dropped.
        images: Its image inputs, possibly none.
        state: Its state input, None without one.
        noise: Its noise input, None without one.
        output: Its chunk.
    """

    name: str
    embodiment: str
    source: str
    graph: str
    files: Mapping[str, str]
    rate_hz: float
    horizon: int
    first_step: int
    images: tuple[ImageInput, ...]
    state: StateInput | None
    noise: NoiseInput | None
    output: ChunkOutput
