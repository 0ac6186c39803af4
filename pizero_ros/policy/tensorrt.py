"""Options of ONNX Runtime's TensorRT provider: shapes to build for, and where engines are kept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.policy.graph_signature import cache_names

if TYPE_CHECKING:
    from pizero_ros.policy.bundle import Bundle
    from pizero_ros.policy.manifest import Variant

_CACHE = 'PIZERO_CACHE'
"""Environment variable: folder of what can be made again; ``~/.cache/pizero_ros`` without it."""


def engine_folder(bundle: Bundle, variant: Variant) -> Path:
    """Return where the engines of a variant are kept.

    Args:
        bundle: The bundle.
        variant: Its graphs.

    Returns:
        A folder named by the digests of the graphs and of their weights, which engines contain,
        so that those of others are never taken.
    """
    digests = [file.sha256 for file in bundle.manifest.graph_files(variant).values()]
    name = hashlib.sha256(''.join(digests).encode()).hexdigest()[:16]
    root = os.environ.get(_CACHE) or Path.home() / '.cache' / 'pizero_ros'
    return Path(root) / 'tensorrt' / name


def tensorrt_options(bundle: Bundle, variant: Variant) -> dict[str, str]:
    """Return the provider's options; building an engine takes minutes, loading one seconds.

    Args:
        bundle: The bundle.
        variant: Graphs that were made for TensorRT.
    """
    folder = engine_folder(bundle, variant)
    folder.mkdir(parents=True, exist_ok=True)
    least, usual, most = profile_shapes(bundle)
    return {
        'trt_engine_cache_enable': '1',
        'trt_engine_cache_path': str(folder),
        'trt_timing_cache_enable': '1',
        'trt_timing_cache_path': str(folder),
        'trt_profile_min_shapes': least,
        'trt_profile_opt_shapes': usual,
        'trt_profile_max_shapes': most,
    }


def profile_shapes(bundle: Bundle) -> tuple[str, str, str]:
    """Return the smallest, usual and largest shapes of all inputs whose sizes vary.

    From one camera and one token to all of them; usual is all cameras with a quarter of the
    longest prompt.

    Args:
        bundle: The bundle.

    Returns:
        As TensorRT's provider takes them: ``name:1x2x3,name:…``.
    """
    manifest = bundle.manifest
    model, cache, per_view = manifest.model, manifest.cache, manifest.tokens_per_view
    slots, longest = len(model.slots), model.prompt.max_tokens
    height, width = model.image_size

    def shapes(cameras: int, words: int) -> str:
        cached = cameras * per_view + words + 1
        sizes = {
            'images': (cameras, 3, height, width),
            'tokens': (1, words),
            **dict.fromkeys(
                cache_names(cache.layers), (1, cache.kv_heads, cached, cache.head_dim)
            ),
        }
        return ','.join(f'{name}:{"x".join(map(str, size))}' for name, size in sizes.items())

    return shapes(1, 1), shapes(slots, max(longest // 4, 1)), shapes(slots, longest)
