"""ONNX Runtime execution providers: chosen openly, verified, never fallen back from silently."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Literal, get_args

from pizero_ros.errors import BundleError, EnvironmentFault, PizeroError
from pizero_ros.policy.threads import machine_threads

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import ModuleType

ProviderName = Literal['auto', 'cpu', 'cuda', 'tensorrt']
PROVIDER_NAMES: tuple[str, ...] = get_args(ProviderName)

_ONNX_NAMES = {
    'cpu': 'CPUExecutionProvider',
    'cuda': 'CUDAExecutionProvider',
    'tensorrt': 'TensorrtExecutionProvider',
}
_REMEDY = {
    'cpu': 'Install the extra `cpu` (or `gpu` on a machine with an NVIDIA GPU).',
    'cuda': 'Install the extra `gpu`, and check the driver; or ask for `auto` or `cpu`.',
    'tensorrt': 'Install the extra `gpu` and TensorRT 10; or ask for `auto`, `cuda` or `cpu`.',
}
_EXACT = {'cuda': {'use_tf32': '0'}, 'tensorrt': {}}
"""Options of every session. Products of float32 matrices in TF32, the CUDA provider's default,
have 10 bits of mantissa; what is float32 in a graph is so because it has to be."""
_TRIVIAL = (
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01g'
    b'Z\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b'b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r'
)
"""The model y = x in ONNX's wire format, which fails where the provider does."""
_FAILURE = re.compile(r'\w+ failure \d+: [^;]*\b')
"""The one phrase of ONNX Runtime's message that says what CUDA said."""
_log = logging.getLogger(__name__)


def onnxruntime() -> ModuleType:
    """Import ONNX Runtime.

    Raises:
        EnvironmentFault: It is not installed.
    """
    try:
        import onnxruntime as runtime
    except ImportError as error:
        msg = (
            f'ONNX Runtime cannot be imported ({error}). Install pizero_ros with the extra `cpu`, '
            'or with `gpu` on a machine with an NVIDIA GPU.'
        )
        raise EnvironmentFault(msg) from None
    return runtime  # type: ignore[no-any-return]


def available_providers() -> tuple[str, ...]:
    """Return the names (``cpu``, ``cuda``, ``tensorrt``) that this ONNX Runtime was built with."""
    built = set(onnxruntime().get_available_providers())
    return tuple(name for name, onnx_name in _ONNX_NAMES.items() if onnx_name in built)


def resolve_provider(name: str) -> str:
    """Turn a wish into a provider that this ONNX Runtime has.

    ``auto`` prefers CUDA to the CPU. It never picks TensorRT, which spends minutes building
    engines on first use and is therefore only taken when asked for by name.

    Args:
        name: One of ``PROVIDER_NAMES``.

    Returns:
        ``cpu``, ``cuda`` or ``tensorrt``.

    Raises:
        EnvironmentFault: It was asked for by name and is not there.
    """
    if name not in PROVIDER_NAMES:
        raise EnvironmentFault.at(
            'ONNX Runtime', 'provider', found=repr(name), expected=' or '.join(PROVIDER_NAMES)
        )
    available = available_providers()
    if name == 'auto':
        return 'cuda' if 'cuda' in available else 'cpu'
    if name not in available:
        raise EnvironmentFault.at(
            'ONNX Runtime',
            f'provider {name}',
            found=f'only {", ".join(available)}',
            expected=_ONNX_NAMES[name],
            remedy=_REMEDY[name],
        )
    return name


def open_session(
    path: Path,
    provider: str,
    threads: int | None,
    options_of: Mapping[str, str] | None = None,
) -> Any:
    """Open a session on exactly the provider asked for.

    Args:
        path: The graph.
        provider: ``cpu``, ``cuda`` or ``tensorrt``, as ``resolve_provider`` returns it.
        threads: Threads inside an operator; None for one per core (``choose_threads``).
        options_of: Options of a GPU provider. A graph that comes with them was made for that
            provider, so an operator that would run elsewhere is an error.

    Returns:
        An ``onnxruntime.InferenceSession`` whose first provider is the one asked for.

    Raises:
        BundleError: The graph cannot be loaded.
        EnvironmentFault: ONNX Runtime fell back to another provider.
    """
    runtime = onnxruntime()
    if provider != 'cpu' and hasattr(runtime, 'preload_dlls'):
        # CUDA libraries that came as Python packages are found only after this.
        runtime.preload_dlls()
    options = runtime.SessionOptions()
    # Workers that sleep between operators cost a tenth of an inference; those that spin on when it
    # is over steal the cores that callbacks, and the other graph's workers, need.
    options.add_session_config_entry('session.intra_op.allow_spinning', '1')
    options.add_session_config_entry('session.force_spinning_stop', '1')
    options.inter_op_num_threads = 1
    # Threads that ONNX Runtime counts itself, it pins to CPUs that may not be this process's.
    options.intra_op_num_threads = machine_threads().number if threads is None else threads
    chain = {'cpu': ['cpu'], 'cuda': ['cuda', 'cpu'], 'tensorrt': ['tensorrt', 'cuda', 'cpu']}
    providers: list[Any] = [(_ONNX_NAMES[each], _EXACT.get(each, {})) for each in chain[provider]]
    if options_of is not None and provider != 'cpu':
        options.add_session_config_entry('session.disable_cpu_ep_fallback', '1')
        providers = [(_ONNX_NAMES[provider], _EXACT[provider] | dict(options_of))]
    try:
        session = _session(str(path), options, providers)
    except Exception as error:  # ONNX Runtime raises a family of C++ exceptions without a base.
        if provider != 'cpu':
            _require(provider)
        msg = f'{path}: ONNX Runtime {runtime.__version__} cannot load this graph: {error}'
        raise BundleError(msg) from None
    active = session.get_providers()
    if active[0] != _ONNX_NAMES[provider]:
        raise _fault(provider, f'a session on {", ".join(active)}')
    return session


def _session(model: str | bytes, options: Any, providers: list[Any]) -> Any:
    """Open a session without the Python package's own retry on another provider."""
    return onnxruntime().InferenceSession(model, options, providers=providers, enable_fallback=0)


def _require(provider: str) -> None:
    """Raise EnvironmentFault if not even the smallest graph runs on a provider."""
    name = _ONNX_NAMES[provider]
    try:
        active = _session(_TRIVIAL, onnxruntime().SessionOptions(), [name]).get_providers()
    except Exception as error:  # as above
        failure = _FAILURE.search(str(error))
        found = failure.group() if failure else str(error).strip()
        raise _fault(provider, found) from None
    if active[0] != name:
        raise _fault(provider, f'a session on {", ".join(active)}')


def _fault(provider: str, found: str) -> PizeroError:
    return EnvironmentFault.at(
        'ONNX Runtime',
        f'provider {provider}',
        found=found,
        expected=_ONNX_NAMES[provider],
        remedy=_REMEDY[provider],
    )
