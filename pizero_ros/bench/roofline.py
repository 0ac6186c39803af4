"""What the hardware does at best, measured by ONNX Runtime, and how far above it a phase is."""

from __future__ import annotations

import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import EnvironmentFault
from pizero_ros.policy.providers import onnxruntime, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from pizero_ros.bench.flops import Work

_OPSET = 20
_IR_VERSION = 10
_SECONDS = 1.0
"""Spent on each graph; the best run counts, since everything that disturbs makes it slower."""
_RUNS_MIN = 5


class _Product(NamedTuple):
    """[rows, width] times [width, width], ``repeats`` times one after another in one graph."""

    rows: int
    width: int
    repeats: int

    @property
    def flop(self) -> int:
        """Operations of one run."""
        return 2 * self.rows * self.width**2 * self.repeats


_PRODUCTS = {
    'cpu': (_Product(512, 512, 16), _Product(1024, 2048, 2)),
    'gpu': (_Product(4096, 4096, 16), _Product(4096, 8192, 8)),
}
"""Small enough for the caches, and large: which one is faster depends on the kernel."""
_COPIED_BYTES = {'cpu': 256 << 20, 'gpu': 2 << 30}
_COPIES = ('Neg', 'Add')
"""Operators that do nothing but read one buffer (``x + x``) and write another."""


@dataclass(frozen=True)
class Roof:
    """The hardware's two limits.

    Attributes:
        provider: ONNX Runtime provider that was measured.
        threads: Threads inside an operator, None where ONNX Runtime chose.
        precision: Of the matrix products.
        copy_gb_s: Bytes read plus bytes written, in 10^9 per second.
        matmul_gflop_s: 10^9 operations per second of a large matrix product.
    """

    provider: str
    threads: int | None
    precision: str
    copy_gb_s: float
    matmul_gflop_s: float

    def floor_s(self, work: Work) -> float:
        """Return the seconds below which the hardware cannot do some work."""
        compute = work.flop / (self.matmul_gflop_s * 1e9)
        return max(compute, work.moved_bytes(self.precision) / (self.copy_gb_s * 1e9))


@dataclass(frozen=True)
class Achieved:
    """One phase beside the limit.

    Attributes:
        gflop: 10^9 operations that the phase needs.
        moved_mb: 10^6 bytes that it moves.
        floor_ms: What it takes at the limit.
        measured_ms: What it took.
        gflop_s: 10^9 useful operations per second.
        of_floor: Floor divided by measured: 1 is the limit.
    """

    gflop: float
    moved_mb: float
    floor_ms: float
    measured_ms: float
    gflop_s: float
    of_floor: float


def achieved(
    roof: Roof, work: Mapping[str, Work], measured_ms: Mapping[str, float]
) -> dict[str, Achieved]:
    """Hold what was measured against the limit.

    The floor of several phases is the sum of theirs: one must end before the next begins.

    Args:
        roof: The limits.
        work: Phase → work, as ``flops.phases`` returns it.
        measured_ms: Phase → median; phases without work are left out.
    """
    floors = {name: roof.floor_s(each) for name, each in work.items()}
    floors['observe'] = floors['vision'] + floors['prefix']
    floors['denoise'] = floors['denoise step'] * (work['denoise'].flop / work['denoise step'].flop)
    floors['whole'] = floors['observe'] + floors['denoise']
    return {
        name: Achieved(
            gflop=each.flop / 1e9,
            moved_mb=each.moved_bytes(roof.precision) / 1e6,
            floor_ms=floors[name] * 1e3,
            measured_ms=measured_ms[name],
            gflop_s=each.flop / 1e6 / measured_ms[name],
            of_floor=floors[name] * 1e3 / measured_ms[name],
        )
        for name, each in work.items()
        if name in measured_ms
    }


def measure_roof(provider: str, threads: int | None, precision: str) -> Roof:
    """Measure the hardware, in about five seconds.

    Args:
        provider: ``cpu``, ``cuda`` or ``tensorrt``.
        threads: Threads inside an operator, as for the policy.
        precision: ``float32``, ``float16``, ``bfloat16`` or ``int8``; of the matrix product alone.

    Returns:
        The best that was seen.

    Raises:
        EnvironmentFault: The library ``onnx`` or the provider is not there.
        BundleError: The provider has no kernel for this precision.
    """
    onnx = _onnx()
    kind = 'cpu' if provider == 'cpu' else 'gpu'
    with tempfile.TemporaryDirectory() as folder:

        def best_s(model: Any, array: npt.NDArray[np.float32]) -> float:
            path = Path(folder) / 'measured.onnx'
            onnx.save(model, path)
            return _best_s(_bound(open_session(path, provider, threads), provider, array))

        buffer = np.ones(_COPIED_BYTES[kind] // 4, np.float32)
        copy_s = min(best_s(_copy_graph(onnx, name), buffer) for name in _COPIES)
        del buffer
        rates = []
        for product in _PRODUCTS[kind]:
            shape = (product.rows, product.width)
            rows = np.random.default_rng(0).standard_normal(shape, np.float32)
            rates.append(product.flop / best_s(_matmul_graph(onnx, product, precision), rows))
    return Roof(
        provider=provider,
        threads=threads,
        precision=precision,
        copy_gb_s=2 * _COPIED_BYTES[kind] / copy_s / 1e9,
        matmul_gflop_s=max(rates) / 1e9,
    )


def _onnx() -> ModuleType:
    try:
        import onnx
    except ImportError:
        raise EnvironmentFault.at(
            'roofline',
            'onnx',
            found='no such library',
            expected='the library that builds the graphs to measure with',
            remedy='`pip install onnx`, or leave --roofline out.',
        ) from None
    return onnx  # type: ignore[no-any-return]


def _bound(session: Any, provider: str, array: npt.NDArray[np.float32]) -> Callable[[], None]:
    """Bind input and output to memory of the device, so that a run is the graph alone."""
    value = onnxruntime().OrtValue
    device = 'cpu' if provider == 'cpu' else 'cuda'
    binding = session.io_binding()
    binding.bind_ortvalue_input('x', value.ortvalue_from_numpy(array, device))
    out = value.ortvalue_from_shape_and_type(array.shape, np.float32, device)
    binding.bind_ortvalue_output('y', out)
    return lambda: session.run_with_iobinding(binding)


def _best_s(run: Callable[[], None]) -> float:
    run()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < _RUNS_MIN or time.perf_counter() - begin < _SECONDS:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def _copy_graph(onnx: ModuleType, operator: str) -> Any:
    node = onnx.helper.make_node(operator, ['x', 'x'] if operator == 'Add' else ['x'], ['y'])
    return _model(onnx, [node], ['n'], [])


def _matmul_graph(onnx: ModuleType, product: _Product, precision: str) -> Any:
    """Multiply by the same weights again and again; their scale keeps the values as they are."""
    weights = np.random.default_rng(1).standard_normal((product.width, product.width), np.float32)
    weights /= np.float32(product.width**0.5)
    node = onnx.helper.make_node
    names = [f'x{i}' for i in range(product.repeats + 1)]
    if precision == 'int8':
        scale = float(np.abs(weights).max() / 127)
        constants = {
            'w': np.round(weights / scale).astype(np.int8),
            'scale': np.array(scale, np.float32),
        }
        products = [
            node(
                'DynamicQuantizeMatMul',
                [mine, 'w', 'scale'],
                [following],
                domain='com.microsoft',
            )
            for mine, following in itertools.pairwise(names)
        ]
        ends = [node('Identity', ['x'], [names[0]]), node('Identity', [names[-1]], ['y'])]
    else:
        constants = {'w32': weights}
        element = getattr(onnx.TensorProto, {'float32': 'FLOAT'}.get(precision, precision.upper()))
        products = [node('Cast', ['w32'], ['w'], to=element)]
        products += [
            node('MatMul', [mine, 'w'], [following])
            for mine, following in itertools.pairwise(names)
        ]
        ends = [
            node('Cast', ['x'], [names[0]], to=element),
            node('Cast', [names[-1]], ['y'], to=onnx.TensorProto.FLOAT),
        ]
    initializers = [onnx.numpy_helper.from_array(each, k) for k, each in constants.items()]
    return _model(onnx, [ends[0], *products, ends[1]], [product.rows, product.width], initializers)


def _model(onnx: ModuleType, nodes: list[Any], shape: list[Any], initializers: list[Any]) -> Any:
    info = onnx.helper.make_tensor_value_info
    tensors = [info(name, onnx.TensorProto.FLOAT, shape) for name in ('x', 'y')]
    graph = onnx.helper.make_graph(nodes, 'measured', tensors[:1], tensors[1:], initializers)
    opsets = [
        onnx.helper.make_opsetid('', _OPSET),
        onnx.helper.make_opsetid('com.microsoft', 1),
    ]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
