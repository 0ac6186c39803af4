"""What a bundle says about itself: the frozen values behind ``policy.yaml`` (schema 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.processing.spec import ModelSpec, RobotSemantics, TokenizerKind

SCHEMA = 1
MANIFEST_FILE = 'policy.yaml'
PARITY_FILE = 'parity.json'
TOKENIZER_FILES: Mapping[TokenizerKind, str] = {
    'sentencepiece': 'tokenizer.model',
    'huggingface': 'tokenizer.json',
}
"""Kind of tokenizer → its file in the bundle; the other kinds need none."""
OBSERVE_FILE = 'observe.onnx'
DENOISE_FILE = 'denoise.onnx'
JACOBIAN_FILE = 'jacobian.onnx'
"""Optional: guidance by the true Jacobian, for real-time chunking."""
REQUIRED_FILES = (OBSERVE_FILE, DENOISE_FILE, PARITY_FILE)
CANONICAL_SLOTS = ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')
"""The published π0's camera slots in the order it was trained on (pi0.md section 1.5)."""

Precision = Literal['float32', 'bfloat16', 'float16']
VariantPrecision = Literal['float32', 'bfloat16', 'float16', 'int8', 'float8']
VariantProvider = Literal['cpu', 'cuda', 'tensorrt']

REFERENCE = 'cpu'
"""Name of the graphs that every bundle has: float32, standard operators, held against torch."""
_WHOLE = ('observe', 'denoise')
_UNROLLED = (*_WHOLE, 'sample')
PARTS: Mapping[str, tuple[str, ...]] = {
    'cpu_int8': _WHOLE,
    'cpu_split': ('vision', 'prefix', 'denoise'),
    'cuda': _UNROLLED,
    'tensorrt': _UNROLLED,
}
"""Variant → the graphs that it is made of."""


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 (hexadecimal) of one file of the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True)
class CacheSpec:
    """The key/value cache between the graphs: ``layers`` times [1, kv_heads, P, head_dim]."""

    layers: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class Provenance:
    """Where the weights came from.

    Attributes:
        kind: ``random``, or the format of the checkpoint.
        source: Architecture file or checkpoint folder, as it was named.
        seed: Seed of random weights, None for a checkpoint.
        created: Date and time of the export, ISO 8601, UTC.
        versions: Library → version at export.
    """

    kind: str
    source: str
    seed: int | None
    created: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Variant:
    """The same policy in other graphs.

    Attributes:
        provider: What it was made for.
        precision: Of its weights; inputs, outputs, ``x_t`` and ``t`` are float32 all the same.
        files: Part (``observe``, ``denoise``, ``sample``, ``vision``, ``prefix``) → its graph.
        steps: Euler steps of ``sample``, None where there is none.
    """

    provider: VariantProvider
    precision: VariantPrecision
    files: Mapping[str, str]
    steps: int | None = None


@dataclass(frozen=True)
class Manifest:
    """Everything a robot must know about a policy.

    Attributes:
        model_only: No action semantics: the bundle runs in model space and moves no robot.
        architecture: Sizes of the torch model, in the layout of an architecture file.
        precision: Of the weights inside the graphs; their inputs and outputs are float32.
        model: Sizes and input rules that all embodiments share.
        cache: The tensors between the two graphs.
        embodiments: Name → semantics; empty exactly where ``model_only``.
        provenance: Where the weights came from.
        files: Name → size and digest of every file but the manifest.
        variants: Name → graphs besides the reference.
    """

    model_only: bool
    architecture: Mapping[str, Any]
    precision: Precision
    model: ModelSpec
    cache: CacheSpec
    embodiments: Mapping[str, RobotSemantics]
    provenance: Provenance
    files: Mapping[str, FileEntry]
    variants: Mapping[str, Variant] = field(default_factory=dict)

    @property
    def tokens_per_view(self) -> int:
        """Tokens that one camera becomes."""
        vision = self.architecture['vision']
        if 'stem' in vision:
            return int(vision['stem']['keypoints'])
        return int((vision['image_size'] // vision['patch']) ** 2)

    def graph_files(self, variant: Variant) -> dict[str, FileEntry]:
        """Return the graphs of a variant and the files of their weights, sorted by name."""
        graphs = set(variant.files.values())
        named = sorted(name for name in self.files if name.removesuffix('.data') in graphs)
        return {name: self.files[name] for name in named}

    @property
    def untrained(self) -> bool:
        """Whether the weights are random, so that nothing sensible can be expected."""
        return self.provenance.kind == 'random'
