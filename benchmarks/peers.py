"""Our inference against lerobot's and openpi's own, on the same weights, taking turns.

    PYTHONPATH=. /path/to/their/venv/bin/python benchmarks/peers.py

Run it with the Python of an environment that has lerobot or openpi, and onnxruntime, onnx and the
dependencies of pizero_ros beside it. Those that are not installed are left out, with a line that
says how to install them. `benchmarks/inference.py --prepare` exports the policy beforehand.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from inference import CACHE, FEW, FULL, SEED, SETTLE_S, exported
from inference_contenders import Case, Contender, Setup, conditioning
from rich.console import Console
from rich.table import Table

from pizero_ros.bench.flops import architecture_of
from pizero_ros.policy.bundle import Bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from pizero_ros.model.architecture import Architecture, GemmaSizes

    Array = npt.NDArray[np.float32]

OURS = 'cpu'
INSTALL = {
    'lerobot': 'python -m venv peers; peers/bin/pip install --no-deps lerobot==0.4.4; '
    'peers/bin/pip install transformers==4.53.2 and what its imports ask for; copy '
    "src/openpi/models_pytorch/transformers_replace/* of openpi's repository over transformers",
    'openpi': "its repository's own `uv sync`, then the same copy of transformers_replace",
}
_UNUSED = ('lm_head', 'embed_tokens')
"""In names of weights that their models have and ours does not, or that are tied."""

console = Console(highlight=False, width=120)


def main(words: list[str] | None = None) -> int:
    """Measure and print; 2 where there is nobody to compare with."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--architecture', default='pi0_small', help='a shipped name or a file')
    parser.add_argument('--threads', type=int, help='default: one per core')
    parser.add_argument('--cycles', type=int, default=6, help='turns of everybody')
    parser.add_argument('--runs', type=int, default=2, help='timed inferences a turn')
    parser.add_argument('--json', type=Path)
    arguments = parser.parse_args(words)
    peers = [name for name in INSTALL if importlib.util.find_spec(name) is not None]
    for name, how in INSTALL.items():
        if name not in peers:
            console.print(f'{name} is not installed here: {how}', soft_wrap=True)
    if not peers:
        return 2
    bundle = Bundle.open(exported(arguments.architecture))
    setup = Setup(bundle.path, SEED, arguments.threads, CACHE / 'inductor')
    result = measure(setup, peers, arguments.cycles, arguments.runs)
    for case, rows in result.items():
        console.print(_table(case, rows))
    if arguments.json is not None:
        arguments.json.write_text(f'{json.dumps(result, indent=2)}\n', encoding='utf-8')
    return 0


def measure(
    setup: Setup, peers: list[str], cycles: int, runs: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Let all take turns.

    Args:
        setup: The policy.
        peers: Those that are installed.
        cycles: Turns of each.
        runs: Timed inferences in a turn.

    Returns:
        Case → name → figures.
    """
    contenders = [Contender(OURS, setup), *(Contender(name, setup, _maker) for name in peers)]
    result = {}
    try:
        for case in (FEW, FULL):
            actions = {each.name: each.prepare(case)[0] for each in contenders}
            turns: dict[str, list[list[float]]] = {each.name: [] for each in contenders}
            for _ in range(cycles):
                for each in contenders:
                    turns[each.name].append(each.time(case, runs))
                    time.sleep(SETTLE_S)
            ours = [np.median(turn) for turn in turns[OURS]]
            result[str(case)] = {
                name: {
                    'median_ms': 1e3 * float(np.median(np.concatenate(some))),
                    'min_ms': 1e3 * float(np.concatenate(some).min()),
                    'times_ours': float(
                        np.median([np.median(t) / o for t, o in zip(some, ours, strict=True)])
                    ),
                    'max_abs_error': float(np.abs(actions[name] - actions[OURS]).max()),
                }
                for name, some in turns.items()
            }
    finally:
        for each in contenders:
            each.close()
    return result


def _maker(name: str, setup: Setup) -> Callable[[Case], Callable[[], Array]]:
    """Build their model with our weights, in the process that is to run it."""
    import torch

    from pizero_ros.model.pi0 import Pi0

    if setup.threads is not None:
        torch.set_num_threads(setup.threads)
    bundle = Bundle.open(setup.bundle)
    sizes = architecture_of(bundle.path, bundle.manifest.architecture)
    theirs = _lerobot(sizes) if name == 'lerobot' else _openpi(sizes)
    ours = Pi0.random(sizes, setup.seed).state_dict()
    missing, surplus = theirs.load_state_dict(ours, strict=False)
    wrong = [key for key in missing if not any(part in key for part in _UNUSED)]
    surplus = [key for key in surplus if not any(part in key for part in _UNUSED)]
    if wrong or surplus:
        msg = f'{name} has other weights than openpi names: lacks {surplus}, adds {wrong}'
        raise RuntimeError(msg)
    table = next(each for key, each in ours.items() if 'embed_tokens' in key)
    embedding = theirs.paligemma_with_expert.paligemma.language_model.get_input_embeddings()
    with torch.no_grad():
        embedding.weight[: len(table)] = table
    theirs.eval()

    def make(case: Case) -> Callable[[], Array]:
        # They have no way to leave a camera or pads out: all is computed, and masked.
        seen, start = conditioning(bundle, case, padded=True)
        images = [seen.images[:, slot] for slot in range(seen.images.shape[1])]
        masks = [seen.camera_mask[:, slot] for slot in range(len(images))]
        prompt = (seen.tokens, seen.token_mask)

        def run() -> Array:
            with torch.no_grad():
                if name == 'lerobot':
                    out = theirs.sample_actions(
                        images, masks, *prompt, seen.state, noise=start, num_steps=case.steps
                    )
                else:
                    given = _observation(images, masks, *prompt, seen.state)
                    out = theirs.sample_actions('cpu', given, noise=start, num_steps=case.steps)
            actions: Array = out[0].numpy()
            return actions

        return run

    return make


def _lerobot(sizes: Architecture) -> Any:
    modeling_pi0 = importlib.import_module('lerobot.policies.pi0.modeling_pi0')
    configuration = importlib.import_module('lerobot.policies.pi0.configuration_pi0')
    gemma = {'gemma_2b': _gemma(sizes.vlm), 'gemma_300m': _gemma(sizes.expert)}
    modeling_pi0.get_gemma_config = gemma.__getitem__  # type: ignore[attr-defined]
    _resize(modeling_pi0, sizes)
    pixels = sizes.vision.image_size
    config = configuration.PI0Config(
        chunk_size=sizes.horizon,
        n_action_steps=sizes.horizon,
        max_state_dim=sizes.state_dim,
        max_action_dim=sizes.action_dim,
        image_resolution=(pixels, pixels),
        dtype='float32',
        device='cpu',
    )
    return modeling_pi0.PI0Pytorch(config)


def _openpi(sizes: Architecture) -> Any:
    gemma_pytorch = importlib.import_module('openpi.models_pytorch.gemma_pytorch')
    pi0_pytorch = importlib.import_module('openpi.models_pytorch.pi0_pytorch')
    gemma = {'gemma_2b': _gemma(sizes.vlm), 'gemma_300m': _gemma(sizes.expert)}
    sizes_of = importlib.import_module('openpi.models.gemma')
    sizes_of.get_config = gemma.__getitem__  # type: ignore[attr-defined]
    _resize(gemma_pytorch, sizes)
    config = SimpleNamespace(
        pi05=False,
        paligemma_variant='gemma_2b',
        action_expert_variant='gemma_300m',
        dtype='float32',
        action_dim=sizes.action_dim,
        action_horizon=sizes.horizon,
        pytorch_compile_mode=None,
    )
    return pi0_pytorch.PI0Pytorch(config)


def _gemma(sizes: GemmaSizes) -> SimpleNamespace:
    return SimpleNamespace(
        width=sizes.width,
        depth=sizes.depth,
        mlp_dim=sizes.mlp,
        num_heads=sizes.heads,
        num_kv_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
    )


def _resize(module: Any, sizes: Architecture) -> None:
    """Give the parts whose sizes are written into their code ours, just before they are built."""
    paligemma, expert = module.PaliGemmaForConditionalGeneration, module.GemmaForCausalLM

    def build_paligemma(config: Any) -> Any:
        tower = config.vision_config
        tower.hidden_size, tower.intermediate_size = sizes.vision.width, sizes.vision.mlp
        tower.num_hidden_layers = sizes.vision.depth
        tower.num_attention_heads = sizes.vision.heads
        tower.image_size, tower.patch_size = sizes.vision.image_size, sizes.vision.patch
        tower.projection_dim = config.projection_dim = sizes.vlm.width
        config.text_config.vocab_size = config._vocab_size = sizes.vocabulary
        config.image_token_index = config.pad_token_id = 0
        config.text_config.pad_token_id = 0
        return paligemma(config=config)

    def build_expert(config: Any) -> Any:
        config.vocab_size, config.pad_token_id = sizes.vocabulary, 0
        return expert(config=config)

    module.PaliGemmaForConditionalGeneration = build_paligemma
    module.GemmaForCausalLM = build_expert


def _observation(images: Any, masks: Any, tokens: Any, token_mask: Any, state: Any) -> Any:
    slots = ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')
    return SimpleNamespace(
        images=dict(zip(slots, images, strict=True)),
        image_masks=dict(zip(slots, masks, strict=True)),
        tokenized_prompt=tokens,
        tokenized_prompt_mask=token_mask,
        token_ar_mask=None,
        token_loss_mask=None,
        state=state,
    )


def _table(case: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(title=case, title_justify='left', box=None)
    table.add_column('')
    for name in ('median ms', 'min', 'times ours', 'largest difference'):
        table.add_column(name, justify='right')
    for name, row in rows.items():
        table.add_row(
            'pizero_ros, cpu, float32' if name == OURS else f'{name}, eager',
            f'{row["median_ms"]:.0f}',
            f'{row["min_ms"]:.0f}',
            f'{row["times_ours"]:.2f}',
            f'{row["max_abs_error"]:.1e}',
        )
    return table


if __name__ == '__main__':
    sys.exit(main())
