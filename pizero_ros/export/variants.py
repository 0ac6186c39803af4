"""The same policy in other graphs, each with a proof of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim

from pizero_ros.errors import ExportError
from pizero_ros.export import float8
from pizero_ros.export.attentions import GroupQuery, Plain
from pizero_ros.export.fused import FusedDenoise, FusedObserve
from pizero_ros.export.graphs import DENOISE, OBSERVE, OPSET, PREFIX, cache_names, trace
from pizero_ros.export.parity import SAMPLE_TOLERANCE, VELOCITY_TOLERANCE, prove
from pizero_ros.export.proven_graphs import FusedGraphs, ReferenceGraphs
from pizero_ros.export.quantized import quantize
from pizero_ros.export.streaming import MEMORY_LIMIT, StreamedWeights
from pizero_ros.export.streaming_initializers import attach_weights, write_graph
from pizero_ros.export.streaming_models import without_weights
from pizero_ros.export.unrolled import unroll
from pizero_ros.model.pi0 import Cache, Conditioning, Pi0
from pizero_ros.policy.manifest import PARTS, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pizero_ros.export.proven_graphs import ProvenGraphs
    from pizero_ros.model.architecture import Architecture
    from pizero_ros.policy.manifest import VariantPrecision, VariantProvider

INT8_VELOCITY_TOLERANCE = 0.25
INT8_SAMPLE_TOLERANCE = 0.1
"""Stated bounds of 8-bit weights, in normalised units: a tenth of a standard deviation."""
HALF_VELOCITY_TOLERANCE = 0.1
HALF_SAMPLE_TOLERANCE = 0.05
"""Stated bounds of 16-bit graphs, in normalised units (pi0.md section 1.10: 0.03 to 0.08)."""
FLOAT8_VELOCITY_TOLERANCE = 0.25
FLOAT8_SAMPLE_TOLERANCE = 0.1
"""Stated bounds of 8-bit floats, in normalised units: those of 8-bit integers."""
FUSED_TOLERANCE = 1e-5
"""Of the fused graphs in float32, relative to the largest value that is compared."""

_HEAD_DIM_UNIT = 16
_DTYPES = {
    'float32': torch.float32,
    'bfloat16': torch.bfloat16,
    'float16': torch.float16,
    'float8': torch.float16,
}
"""Precision → type of the values between the operators."""
_BOUNDS = {
    'float16': (HALF_VELOCITY_TOLERANCE, HALF_SAMPLE_TOLERANCE),
    'float8': (FLOAT8_VELOCITY_TOLERANCE, FLOAT8_SAMPLE_TOLERANCE),
}
"""Precision that the CPU provider can run → bounds of velocity and sample."""


class Made(NamedTuple):
    """A variant in the bundle's folder, and its proof."""

    variant: Variant
    proof: dict[str, Any]


class _Maker(NamedTuple):
    """What all variants are made from."""

    policy: Pi0 | StreamedWeights
    folder: Path
    seed: int
    steps: int
    slots: int

    def prove(
        self,
        folder: Path,
        graphs: ProvenGraphs,
        velocity_tolerance: float = VELOCITY_TOLERANCE,
        sample_tolerance: float = SAMPLE_TOLERANCE,
    ) -> dict[str, Any]:
        """Hold graphs in ``folder`` against the policy."""
        return prove(
            self.policy,
            folder,
            self.seed,
            self.steps,
            self.slots,
            velocity_tolerance=velocity_tolerance,
            sample_tolerance=sample_tolerance,
            graphs=graphs,
        )


def make_variants(
    policy: Pi0 | StreamedWeights,
    folder: Path,
    names: Collection[str],
    *,
    precision: VariantPrecision,
    seed: int,
    steps: int,
    slots: int,
    on_phase: Callable[[str], object],
) -> dict[str, Made]:
    """Write variants beside the reference graphs, and prove each.

    Args:
        policy: The policy or its weights.
        folder: Where the reference graphs are.
        names: Which ones (``PARTS``).
        precision: Of the weights of ``cuda`` and ``tensorrt``.
        seed: Seed of the proofs' inputs.
        steps: Euler steps of the unrolled graphs.
        slots: Camera slots.
        on_phase: Told what is going on.

    Returns:
        Name → variant and proof.

    Raises:
        ExportError: A variant cannot be made or misses its bound.
    """
    maker = _Maker(policy, folder, seed, steps, slots)
    made = {}
    for name in names:
        on_phase(f'variant {name}')
        if name == 'cpu_int8':
            made[name] = _int8(maker)
        elif name == 'cpu_split':
            made[name] = _split(maker)
        else:
            made[name] = _fused(maker, name, precision)
    return made


def file_of(part: str, variant: str) -> str:
    """Return the name of a variant's graph."""
    return f'{part}.{variant}.onnx'


def _files(variant: str) -> dict[str, str]:
    return {part: file_of(part, variant) for part in PARTS[variant]}


def _int8(maker: _Maker) -> Made:
    files = _files('cpu_int8')
    for part, source in (('observe', OBSERVE), ('denoise', DENOISE)):
        quantize(maker.folder / source, maker.folder / files[part])
    layers = maker.policy.architecture.vlm.depth
    proof = maker.prove(
        maker.folder,
        ReferenceGraphs(maker.folder, layers, files),
        velocity_tolerance=INT8_VELOCITY_TOLERANCE,
        sample_tolerance=INT8_SAMPLE_TOLERANCE,
    )
    return Made(Variant('cpu', 'int8', files), proof)


def _split(maker: _Maker) -> Made:
    weights = StreamedWeights.of(maker.policy)
    sizes = weights.architecture
    files = {**_files('cpu_split'), 'denoise': DENOISE}
    mode = FakeTensorMode()
    model = without_weights(sizes, mode)
    pixels = sizes.vision.image_size
    with mode:
        images = torch.zeros(2, 3, pixels, pixels)
        views = torch.zeros(2, sizes.vision.tokens, sizes.vlm.width)
        tokens = torch.zeros(1, min(6, sizes.max_tokens), dtype=torch.int64)
        state = torch.zeros(1, sizes.state_dim)
    count = {0: Dim('views')}
    graphs = {
        'vision': trace(
            _Vision(model),
            OPSET,
            args=(images,),
            dynamic_shapes=(count,),
            input_names=['images'],
            output_names=['views'],
        ),
        'prefix': trace(
            _Prefix(model),
            OPSET,
            args=(views, tokens, state),
            dynamic_shapes=(count, {1: Dim('words')}, None),
            input_names=['views', 'tokens', 'state'],
            output_names=list(cache_names(sizes.vlm.depth)),
        ),
    }
    total = sum(
        attach_weights(graph, PREFIX, weights, lambda _: None) for graph in graphs.values()
    )
    for part, graph in graphs.items():
        data = f'{files[part]}.data' if total > MEMORY_LIMIT else None
        write_graph(graph, maker.folder / files[part], data)
    graphs_of = ReferenceGraphs(maker.folder, sizes.vlm.depth, files)
    proof = maker.prove(maker.folder, graphs_of)
    return Made(Variant('cpu', 'float32', files), proof)


def _fused(maker: _Maker, name: str, precision: VariantPrecision) -> Made:
    """Write the graphs in float32 to prove what they compute, then in their precision.

    The CPU provider has no bfloat16 operators, so the structure is proven in float32 on the same
    graphs; where the provider can run the precision too (float16), what is in the bundle is run.
    """
    if precision not in _DTYPES:
        raise ExportError.at(
            name, 'precision', found=precision, expected=' or '.join(sorted(_DTYPES))
        )
    if precision == 'float8':
        _require_float8(maker.policy, name)
    weights = StreamedWeights.of(maker.policy)
    sizes = weights.architecture
    if name == 'cuda' and sizes.vlm.head_dim % _HEAD_DIM_UNIT:
        raise ExportError.at(
            name,
            'architecture.vlm.head_dim',
            found=sizes.vlm.head_dim,
            expected=f"a multiple of {_HEAD_DIM_UNIT}, for ONNX Runtime's GroupQueryAttention",
            remedy='The variant tensorrt has no such limit.',
        )
    files = _files(name)
    with tempfile.TemporaryDirectory(dir=maker.folder, prefix='.twin.') as scratch:
        exact = precision == 'float32'
        where = maker.folder if exact else Path(scratch)
        _write_fused(weights, where, name, torch.float32, maker)
        proof = maker.prove(where, FusedGraphs(where, sizes, files))
    _hold(proof, name)
    proof['structure'] = proof['max_abs_error']
    if not exact:
        _write_fused(weights, maker.folder, name, _DTYPES[precision], maker)
    if precision == 'float8':
        proof['products'] = _to_float8(maker, sizes, files)
    if precision in _BOUNDS:
        velocity, sample = _BOUNDS[precision]
        rounded = maker.prove(
            maker.folder,
            FusedGraphs(maker.folder, sizes, files),
            velocity_tolerance=velocity,
            sample_tolerance=sample,
        )
        proof |= {key: rounded[key] for key in ('max_abs_error', 'tolerance', 'cases')}
    if precision == 'bfloat16':
        # What a GPU is held against, where it can be run.
        proof['bound'] = {
            'velocity': HALF_VELOCITY_TOLERANCE,
            'sample': HALF_SAMPLE_TOLERANCE,
        }
    proof['proven_in'] = 'float32' if precision == 'bfloat16' else precision
    provider: VariantProvider = 'cuda' if name == 'cuda' else 'tensorrt'
    return Made(Variant(provider, precision, files, maker.steps), proof)


def _require_float8(policy: Pi0 | StreamedWeights, name: str) -> None:
    """Refuse what has no 8-bit floats, before anything is written."""
    if name != 'tensorrt':
        raise ExportError.at(
            name,
            'precision',
            found='float8',
            expected='bfloat16 or float16',
            remedy='Products of 8-bit floats are in the variant tensorrt alone.',
        )
    weights = StreamedWeights.of(policy)
    if not weights.fits_memory:
        raise ExportError.at(
            name,
            'precision float8',
            found=f'{weights.nbytes / 1e9:.1f} GB of float32 weights',
            expected=f'at most {MEMORY_LIMIT / 1e9:.1f} GB',
            remedy='Scales are measured with the whole policy in memory; use float16.',
        )


def _to_float8(maker: _Maker, sizes: Architecture, files: Mapping[str, str]) -> int:
    """Measure the float16 graphs, quantise them, and unroll the step anew."""
    largest = float8.calibrate(maker.folder, files, sizes, maker.slots, maker.steps, maker.seed)
    count = sum(
        float8.quantize(maker.folder / files[part], most) for part, most in largest.items()
    )
    unroll(maker.folder / files['denoise'], maker.folder / files['sample'], maker.steps)
    return count


def _hold(proof: dict[str, Any], name: str) -> None:
    """Refuse fused graphs that are not the reference's equals."""
    for key, tolerance in (('velocity', VELOCITY_TOLERANCE), ('sample', SAMPLE_TOLERANCE)):
        error, scale = proof['max_abs_error'][key], max(proof['scale'][key], 1.0)
        if not error < FUSED_TOLERANCE * scale:
            raise ExportError.at(
                name,
                f'parity.{key}',
                found=f'a largest error of {error:.3g} in float32, values up to {scale:.3g}',
                expected=f'less than {FUSED_TOLERANCE * scale:.3g} (and {tolerance:g})',
                remedy='The fused graphs are not this policy.',
            )


def _write_fused(
    weights: StreamedWeights, folder: Path, name: str, dtype: torch.dtype, maker: _Maker
) -> None:
    """Write ``observe``, ``denoise`` and ``sample``, the last two with one data file."""
    sizes = weights.architecture
    mode = FakeTensorMode()
    model = without_weights(sizes, mode)
    longest = maker.slots * sizes.vision.tokens + sizes.max_tokens + 1 + sizes.horizon
    attention: GroupQuery | Plain
    if name == 'cuda':
        attention = GroupQuery(sizes.vlm, longest, dtype)
    else:
        attention = Plain(sizes.vlm, longest)
    names = cache_names(sizes.vlm.depth)
    with mode:
        pixels = sizes.vision.image_size
        images = torch.zeros(2, 3, pixels, pixels)
        tokens = torch.zeros(1, min(6, sizes.max_tokens), dtype=torch.int64)
        state = torch.zeros(1, sizes.state_dim)
        spans = [torch.zeros(shape, dtype=torch.int32) for _ in range(3) for shape in ((1,), ())]
        cached = 2 * sizes.vision.tokens + tokens.shape[1] + 1
        shape = (1, sizes.vlm.kv_heads, cached, sizes.vlm.head_dim)
        room = torch.zeros(shape)
        keys, values = (
            tuple(torch.zeros(shape, dtype=dtype) for _ in range(sizes.vlm.depth))
            for _ in range(2)
        )
        x_t = torch.zeros(1, sizes.horizon, sizes.action_dim)
        t = torch.ones(1, sizes.horizon)
    grown = ({2: Dim('cached')},) * sizes.vlm.depth
    graphs = {
        'observe': trace(
            FusedObserve(model, attention, dtype),
            OPSET,
            args=(images, tokens, state, *spans[:4], room),
            dynamic_shapes=({0: Dim('views')}, {1: Dim('words')}, *(None,) * 5, {2: Dim('room')}),
            input_names=['images', 'tokens', 'state', *_spans('prefix'), *_spans('state'), 'room'],
            output_names=list(names),
        ),
        'denoise': trace(
            FusedDenoise(model, attention, dtype),
            OPSET,
            args=(keys, values, x_t, t, *spans[4:]),
            dynamic_shapes=(grown, grown, *(None,) * 4),
            input_names=[*names, 'x_t', 't', *_spans('actions')],
            output_names=['velocity'],
        ),
    }
    for part, graph in graphs.items():
        attach_weights(graph, PREFIX, weights, lambda _: None)
        read = [each for each in graph.graph.inputs if each.uses()]
        graph.graph.inputs[:] = read
        path = folder / file_of(part, name)
        write_graph(graph, path, f'{path.name}.data')
    unroll(folder / file_of('denoise', name), folder / file_of('sample', name), maker.steps)


def _spans(of: str) -> tuple[str, str]:
    return f'{of}_last', f'{of}_total'


class _Vision(nn.Module):
    """images [N,3,H,W] → tokens of the VLM [N,T,width]."""

    def __init__(self, model: Pi0) -> None:
        super().__init__()
        self._model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self._model.embed_views(images)


class _Prefix(nn.Module):
    """views [N,T,width], tokens [1,L], state [1,S] → keys, values."""

    def __init__(self, model: Pi0) -> None:
        super().__init__()
        self._model = model

    def forward(
        self, views: torch.Tensor, tokens: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        prefix = self._model.join(views, tokens)
        cache: Cache = self._model.observe_prefix(prefix, Conditioning(views, tokens, state))
        return (*cache.keys, *cache.values)
