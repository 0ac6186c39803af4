"""Which graphs of a bundle run, and how each kind is opened."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from pizero_ros.errors import BundleError
from pizero_ros.policy.fused_graphs import FusedGraphs
from pizero_ros.policy.graph_signature import verify
from pizero_ros.policy.graphs import Graphs
from pizero_ros.policy.manifest import (
    DENOISE_FILE,
    JACOBIAN_FILE,
    OBSERVE_FILE,
    REFERENCE,
    Variant,
)
from pizero_ros.policy.providers import open_session
from pizero_ros.policy.split_graphs import SplitGraphs
from pizero_ros.policy.tensorrt import tensorrt_options

if TYPE_CHECKING:
    from pizero_ros.policy.bundle import Bundle

_REFERENCE = Variant('cpu', 'float32', {'observe': OBSERVE_FILE, 'denoise': DENOISE_FILE})
_CUDA_GRAPH = {'enable_cuda_graph': '1'}


def choose_variant(bundle: Bundle, name: str) -> Variant:
    """Return a variant by its name.

    Args:
        bundle: The bundle.
        name: ``cpu`` for the reference, or one of the manifest's.

    Raises:
        BundleError: The bundle has none of this name.
    """
    if name == REFERENCE:
        return _REFERENCE
    variants = bundle.manifest.variants
    if name not in variants:
        raise BundleError.at(
            bundle.path,
            'variants',
            found=', '.join((REFERENCE, *variants)),
            expected=name,
            remedy=f'Export the bundle with --variant {name}, or choose one that it has.',
        )
    return variants[name]


def variant_bytes(bundle: Bundle, name: str) -> int:
    """Return the size of a variant's graphs with their weights.

    Args:
        bundle: The checked bundle.
        name: The variant.
    """
    files = bundle.manifest.graph_files(choose_variant(bundle, name))
    return sum(file.size for file in files.values())


def open_graphs(
    bundle: Bundle, name: str, provider: str, threads: int | None, jacobian: bool
) -> Graphs | FusedGraphs:
    """Open the sessions of a variant on one provider.

    Args:
        bundle: The checked bundle.
        name: The variant.
        provider: ``cpu``, ``cuda`` or ``tensorrt``, as ``resolve_provider`` returns it.
        threads: Threads inside an operator; None for one per core.
        jacobian: Open the graph of the Jacobian too.

    Raises:
        BundleError: A graph cannot be loaded or differs from the manifest, or the Jacobian is
            asked for with graphs that cannot be differentiated.
        EnvironmentFault: ONNX Runtime fell back to another provider.
    """
    variant = choose_variant(bundle, name)
    if variant.precision == 'int8' and provider != 'cpu':
        raise BundleError.at(
            bundle.path,
            f'variants.{name}',
            found=f'provider {provider}',
            expected='cpu: its integer products would run there all the same',
            remedy='Ask for --provider cpu, or for another variant.',
        )
    files = dict(variant.files)
    if jacobian:
        if name != REFERENCE:
            raise BundleError.at(
                bundle.path,
                f'variants.{name}',
                found='no graph of the Jacobian',
                expected=f'the variant {REFERENCE} with rtc_method jacobian',
                remedy='Choose another rtc_method, or do not name a variant.',
            )
        files['jacobian'] = JACOBIAN_FILE
    options = functools.partial(_options, bundle, variant, provider)

    def opened(part: str) -> Any:
        return open_session(bundle.path / files[part], provider, threads, options())

    # The step of fused graphs is opened when it is needed.
    eager = [part for part in files if not (part == 'denoise' and 'sample' in files)]
    sessions = {part: opened(part) for part in eager}
    verify(bundle.path, sessions, files, bundle.manifest)
    manifest = bundle.manifest
    if 'sample' in files:
        assert variant.steps is not None

        def denoise() -> Any:
            session = opened('denoise')
            verify(bundle.path, {'denoise': session}, files, manifest)
            return session

        observe, sample = sessions['observe'], sessions['sample']
        return FusedGraphs(observe, sample, denoise, manifest, variant.steps)
    if 'vision' in files:
        return SplitGraphs(sessions['vision'], sessions['prefix'], sessions['denoise'], manifest)
    third = sessions.get('jacobian')
    return Graphs(sessions['observe'], sessions['denoise'], manifest, third)


def _options(bundle: Bundle, variant: Variant, provider: str) -> dict[str, str] | None:
    """Return the options of a GPU provider for graphs that were made for it."""
    if variant.provider != provider or provider == 'cpu':
        return None
    return _CUDA_GRAPH if provider == 'cuda' else tensorrt_options(bundle, variant)
