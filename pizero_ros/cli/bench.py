"""``pizero bench``: latency of a bundle by phase, and memory."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pizero_ros.cli.bundle_argument import add_bundle, add_runtime, open_bundle, positive
from pizero_ros.cli.exit_codes import SUCCESS, UsageError
from pizero_ros.cli.output import add_json, console, progress_console, write_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from pizero_ros.policy.bundle import Bundle
    from pizero_ros.processing.model_inputs import ModelInputs

_SEED = 3
_PERCENTILES = (50, 95, 99)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.epilog = (
        'Random images, prompt and state in model space, so resizing and tokenising are not part '
        'of it. Time on an idle machine.'
    )
    add_bundle(parser)
    add_runtime(parser)
    parser.add_argument(
        '--cameras', type=positive, metavar='N', help='cameras present (default: every slot)'
    )
    parser.add_argument(
        '--tokens', type=positive, metavar='N', help='prompt length (default: the longest)'
    )
    parser.add_argument(
        '--steps', type=positive, metavar='N', help="Euler steps (default: the bundle's)"
    )
    parser.add_argument(
        '--runs', type=positive, default=50, metavar='N', help='timed runs (default: 50)'
    )
    parser.add_argument(
        '--baseline',
        choices=('torch',),
        help='interleave the same work in eager torch and print the ratio',
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print a table."""
    from rich.progress import track

    from pizero_ros.policy.runtime import Policy

    bundle = open_bundle(arguments.bundle)
    model = bundle.manifest.model
    cameras = _at_most('--cameras', arguments.cameras, len(model.slots))
    tokens = _at_most('--tokens', arguments.tokens, model.prompt.max_tokens)
    steps = arguments.steps or model.steps
    policy = Policy.load(bundle, arguments.provider, arguments.threads)
    warm_s = policy.warm_up(cameras, tokens)
    inputs, noise = _random_inputs(bundle, cameras, tokens)
    policy.infer(inputs, noise, steps)
    # Taken before torch is imported: it is what a robot needs.
    peak = _peak_bytes()
    eager = _torch_sample(bundle, inputs, noise, steps) if arguments.baseline else None
    times: dict[str, list[float]] = {'observe': [], 'denoise step': [], 'denoise': [], 'whole': []}
    if eager is not None:
        times['whole in eager torch'] = []
    runs = range(arguments.runs)
    for _ in track(runs, 'timing', console=progress_console, transient=True):
        start = time.perf_counter()
        result = policy.infer(inputs, noise, steps)
        times['whole'].append(time.perf_counter() - start)
        times['observe'].append(result.durations_s['observe'])
        times['denoise'].append(result.durations_s['denoise'])
        times['denoise step'].extend(result.steps_s)
        if eager is not None:
            start = time.perf_counter()
            eager()
            times['whole in eager torch'].append(time.perf_counter() - start)
    latency_ms = {name: _percentiles(each) for name, each in times.items()}
    result_json: dict[str, Any] = {
        'bundle': str(bundle.path),
        'provider': policy.provider,
        'threads': arguments.threads,
        'precision': bundle.manifest.precision,
        'cameras': cameras,
        'tokens': tokens,
        'steps': steps,
        'runs': arguments.runs,
        'load_s': policy.load_s,
        'warm_up_s': list(warm_s),
        'peak_rss_bytes': peak,
        'latency_ms': latency_ms,
    }
    if eager is not None:
        ratio = latency_ms['whole in eager torch']['p50'] / latency_ms['whole']['p50']
        result_json['torch_over_bundle'] = ratio
    write_json(arguments.json, result_json)
    _print(result_json)
    return SUCCESS


def _at_most(option: str, value: int | None, limit: int) -> int:
    """Return the value, or the limit where none was given."""
    if value is not None and value > limit:
        raise UsageError.at(option, '', found=value, expected=f'at most {limit}')
    return limit if value is None else value


def _random_inputs(
    bundle: Bundle, cameras: int, tokens: int
) -> tuple[ModelInputs, npt.NDArray[np.float32]]:
    import numpy as np

    from pizero_ros.processing.model_inputs import ModelInputs

    model = bundle.manifest.model
    generator = np.random.default_rng(_SEED)
    images = generator.uniform(-1, 1, (cameras, 3, *model.image_size)).astype(np.float32)
    inputs = ModelInputs(
        images=images,
        tokens=generator.integers(0, model.vocabulary, tokens),
        state=generator.standard_normal(model.state_dim, dtype=np.float32),
    )
    shape = (model.horizon, model.action_dim)
    return inputs, generator.standard_normal(shape, dtype=np.float32)


def _torch_sample(
    bundle: Bundle, inputs: ModelInputs, noise: npt.NDArray[np.float32], steps: int
) -> Callable[[], None]:
    """Prepare the same work in eager torch; weights of any value take the same time."""
    try:
        import torch
    except ImportError:
        raise UsageError.at(
            '--baseline torch', '', found='no PyTorch', expected='the extra `train`'
        ) from None
    import yaml

    from pizero_ros.model.architecture import read_architecture
    from pizero_ros.model.pi0 import Conditioning, Pi0

    with tempfile.TemporaryDirectory() as folder:
        sizes = Path(folder) / 'architecture.yaml'
        sizes.write_text(yaml.safe_dump(dict(bundle.manifest.architecture)), encoding='utf-8')
        model = Pi0.random(read_architecture(sizes), _SEED)
    seen = Conditioning(
        torch.from_numpy(inputs.images)[None],
        torch.from_numpy(inputs.tokens)[None],
        torch.from_numpy(inputs.state)[None],
    )
    start = torch.from_numpy(noise)[None]

    def sample() -> None:
        with torch.inference_mode():
            model.sample(seen, start, steps)

    sample()
    return sample


def _percentiles(times_s: list[float]) -> dict[str, float]:
    import numpy as np

    values = np.percentile(times_s, _PERCENTILES) * 1e3
    return {
        f'p{percent}': float(value) for percent, value in zip(_PERCENTILES, values, strict=True)
    }


def _peak_bytes() -> int:
    """Peak resident memory of this process; Linux counts kibibytes, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def _print(result: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f'{result["provider"]}, ms', title_justify='left', box=None)
    table.add_column('phase')
    for percent in _PERCENTILES:
        table.add_column(f'p{percent}', justify='right')
    for name, row in result['latency_ms'].items():
        table.add_row(name, *(f'{value:.2f}' for value in row.values()))
    console.print(table)
    console.print(
        f'{result["cameras"]} cameras, {result["tokens"]} tokens, {result["steps"]} steps, '
        f'{result["runs"]} runs; loaded in {result["load_s"]:.2f} s, warm after '
        f'{len(result["warm_up_s"])} runs, peak memory {result["peak_rss_bytes"] / 1e6:.0f} MB'
    )
    if 'torch_over_bundle' in result:
        console.print(f'eager torch takes {result["torch_over_bundle"]:.2f} times as long')
