"""The proof that a bundle's graphs compute what torch computes."""

from __future__ import annotations

import functools
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pizero_ros.errors import ExportError
from pizero_ros.export.jacobian import pull_back
from pizero_ros.export.proven_graphs import ReferenceGraphs
from pizero_ros.export.streaming import StreamedWeights
from pizero_ros.export.streaming_models import layer_by_layer, with_weights
from pizero_ros.model.flow_time import euler_grid
from pizero_ros.model.pi0 import Cache, Conditioning, Pi0

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from pizero_ros.export.proven_graphs import ProvenGraphs
    from pizero_ros.model.architecture import Architecture

VELOCITY_TOLERANCE = 1e-4
SAMPLE_TOLERANCE = 1e-3
CORRECTION_TOLERANCE = 1e-3
"""Of the Jacobian's product with an error: larger than a velocity's, for so is the product."""

_STAGES = ('key', 'value', 'velocity', 'sample')
_FLOW_TIMES = (1.0, 0.35, 0.001)
_SHORT_PROMPT = 2
"""Tokens of the shortest prompt that there is: the start token and the newline."""


@torch.no_grad()
def prove(
    policy: Pi0 | StreamedWeights,
    bundle_dir: str | Path,
    seed: int,
    steps: int,
    slots: int,
    *,
    velocity_tolerance: float = VELOCITY_TOLERANCE,
    sample_tolerance: float = SAMPLE_TOLERANCE,
    graphs: ProvenGraphs | None = None,
    on_case: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Run torch and the graphs on the same inputs and compare every stage.

    Each case goes through torch twice, with what is absent left out and with it masked (junk
    pixels in the masked camera), and through the graphs once: full views and prompt; one camera
    absent, each slot in turn; the shortest prompt; and a flow time of its own for every action.

    A policy too large for memory goes through torch operator by operator and through ONNX Runtime
    piece by piece, its weights read anew each time: two cases, the largest and the smallest
    inputs, unmasked. The graph of the Jacobian is compared where it was written.

    Args:
        policy: The policy that was exported, float32 on the CPU, or its weights.
        bundle_dir: Folder with both graphs.
        seed: Seed of images, tokens, state and noise.
        steps: Euler steps of the whole sample.
        slots: Camera slots of the policy.
        velocity_tolerance: Largest absolute error of a velocity.
        sample_tolerance: Largest absolute error of sampled actions.
        graphs: Graphs of a variant; None for the reference in ``bundle_dir``.
        on_case: Told the name of each case before it runs, for a progress display.

    Returns:
        What ``parity.json`` holds: inputs' seed, errors per case and overall, the scale of what
        was compared, tolerances and versions.

    Raises:
        ExportError: An error exceeds its tolerance or is not a number, or a graph cannot run.
    """
    weights = StreamedWeights.of(policy)
    sizes = weights.architecture
    folder = Path(bundle_dir)
    graphs = ReferenceGraphs(folder, sizes.vlm.depth) if graphs is None else graphs
    generator = torch.Generator().manual_seed(seed)
    full = _random_inputs(sizes, slots, generator)
    noise = torch.randn(1, sizes.horizon, sizes.action_dim, generator=generator)
    times = [torch.full((1, sizes.horizon), time) for time in _FLOW_TIMES]
    times.append(torch.rand(1, sizes.horizon, generator=generator))
    small = weights.fits_memory
    if isinstance(policy, Pi0):
        model = policy.eval()
    else:
        model = with_weights(weights) if small else layer_by_layer(weights)
    cases: dict[str, dict[str, float]] = {}
    stages = (*_STAGES, 'correction') if graphs.differentiated else _STAGES
    scale = dict.fromkeys(stages[2:], 0.0)
    for name, masked in (_cases(full) if small else _extremes(full)).items():
        if on_case is not None:
            on_case(name)
        dropped = _drop(masked)
        cache = graphs.observe(dropped)
        velocities = [graphs.denoise(cache, noise, t) for t in times]
        sampled = graphs.sample(cache, noise)
        if sampled is None:
            sampled = _euler(functools.partial(graphs.denoise, cache), noise, steps)
        errors = dict.fromkeys(stages, 0.0)
        for seen in (dropped, masked) if small else (dropped,):
            reference = model.observe(seen)
            _note(errors, 'key', _cache_error(reference, reference.keys, cache, 'key'))
            _note(errors, 'value', _cache_error(reference, reference.values, cache, 'value'))
            for t, found in zip(times, velocities, strict=True):
                velocity = model.denoise(reference, noise, t)
                _note(errors, 'velocity', _error(velocity, found))
                scale['velocity'] = max(scale['velocity'], float(velocity.abs().max()))
            for t in times if graphs.differentiated else ():
                # Any error will do; the noise is one.
                correction = pull_back(model, reference, noise, t, noise)
                found = graphs.pull_back(cache, noise, t, noise)
                _note(errors, 'correction', _error(correction, found))
                scale['correction'] = max(scale['correction'], float(correction.abs().max()))
            if small:
                actions = model.sample(seen, noise, steps)
            else:  # The same, without another pass over the prefix.
                actions = _euler(functools.partial(model.denoise, reference), noise, steps)
            _note(errors, 'sample', _error(actions, sampled))
            scale['sample'] = max(scale['sample'], float(actions.abs().max()))
        cases[name] = errors
    worst = {key: float(np.max([errors[key] for errors in cases.values()])) for key in stages}
    limits = {'velocity': velocity_tolerance, 'sample': sample_tolerance}
    if graphs.differentiated:
        limits['correction'] = CORRECTION_TOLERANCE
    for key, limit in {'key': np.inf, 'value': np.inf, **limits}.items():
        # Written so that a NaN fails.
        if not worst[key] < limit:
            case = max(cases, key=lambda name: np.nan_to_num(cases[name][key], nan=np.inf))
            raise ExportError.at(
                folder,
                f'parity.{key}',
                found=f'a largest error of {worst[key]:.3g} against torch ({case})',
                expected=f'less than {limit:g}',
                remedy='The graphs are not this policy; do not run them.',
            )
    return {
        'seed': seed,
        'steps': steps,
        'slots': slots,
        'max_abs_error': worst,
        'tolerance': limits,
        'scale': scale,
        'cases': cases,
        'versions': {name: version(name) for name in ('torch', 'onnx', 'onnxruntime')},
    }


def _euler(
    velocity: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], noise: torch.Tensor, steps: int
) -> torch.Tensor:
    """Run the Euler steps with ``velocity`` of x_t and t."""
    x_t, dt = noise, torch.tensor(-1.0 / steps, dtype=torch.float32)
    for time in euler_grid(steps):
        x_t = x_t + dt * velocity(x_t, torch.full(x_t.shape[:2], time, dtype=torch.float32))
    return x_t


def _random_inputs(sizes: Architecture, slots: int, generator: torch.Generator) -> Conditioning:
    """Give every slot an image and the prompt its full length."""
    pixels = sizes.vision.image_size
    return Conditioning(
        images=torch.rand(1, slots, 3, pixels, pixels, generator=generator) * 2 - 1,
        tokens=torch.randint(0, sizes.vocabulary, (1, sizes.max_tokens), generator=generator),
        state=torch.randn(1, sizes.state_dim, generator=generator),
        camera_mask=torch.ones(1, slots, dtype=torch.bool),
        token_mask=torch.ones(1, sizes.max_tokens, dtype=torch.bool),
    )


def _cases(full: Conditioning) -> dict[str, Conditioning]:
    """Mask what each case lacks."""
    assert full.camera_mask is not None
    assert full.token_mask is not None
    cases = {'all cameras, longest prompt': full}
    slots = full.camera_mask.shape[1]
    for slot in range(slots if slots > 1 else 0):
        cameras = full.camera_mask.clone()
        cameras[:, slot] = False
        cases[f'camera {slot} absent'] = full._replace(camera_mask=cameras)
    words = full.token_mask.clone()
    words[:, _SHORT_PROMPT:] = False
    cases['shortest prompt'] = full._replace(token_mask=words)
    return cases


def _extremes(full: Conditioning) -> dict[str, Conditioning]:
    """Mask nothing, and all that can be absent: every camera but the last, most of the prompt."""
    assert full.camera_mask is not None
    assert full.token_mask is not None
    cameras, words = full.camera_mask.clone(), full.token_mask.clone()
    cameras[:, :-1] = False
    words[:, _SHORT_PROMPT:] = False
    least = full._replace(camera_mask=cameras, token_mask=words)
    return {'all cameras, longest prompt': full, 'one camera, shortest prompt': least}


def _drop(masked: Conditioning) -> Conditioning:
    """Leave out what is masked; batch 1."""
    assert masked.camera_mask is not None
    assert masked.token_mask is not None
    return Conditioning(
        images=masked.images[:, masked.camera_mask[0]],
        tokens=masked.tokens[:, masked.token_mask[0]],
        state=masked.state,
    )


def _note(errors: dict[str, float], key: str, error: float) -> None:
    """Keep the larger error; a NaN stays."""
    errors[key] = float(np.maximum(errors[key], error))


def _error(expected: torch.Tensor, found: torch.Tensor) -> float:
    if expected.shape != found.shape:
        return float('nan')
    return float((expected - found).abs().max())


def _cache_error(
    reference: Cache,
    layers: tuple[torch.Tensor, ...],
    cache: dict[str, npt.NDArray[Any]],
    kind: str,
) -> float:
    """Largest error over the layers, where the reference is valid."""
    errors = []
    for i, layer in enumerate(layers):
        expected = layer if reference.valid is None else layer[:, :, reference.valid[0]]
        # Graphs that work in prepared room have empty rows for the actions behind.
        found = torch.from_numpy(cache[f'{kind}.{i}'])[:, :, : expected.shape[2]]
        errors.append(_error(expected, found))
    return float(np.max(errors))
