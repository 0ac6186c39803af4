"""Write config/tokenizers/demo.model: SentencePiece on everything that a simulated robot is told.

A word of an instruction is then one token, as in PaliGemma. A small policy learns what ``red``
means in a few hundred steps that way; from single bytes it did not in several times as many.
"""

from __future__ import annotations

import os
from pathlib import Path

import sentencepiece

from pizero_ros.cli.demo import ROBOTS
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.sim.tasks.task import tasks_of, two_step_tasks_of

PIECES = 400
ROOT = Path(__file__).parents[1]
OUT = Path('config', 'tokenizers', 'demo')


def main() -> None:
    """Write the file."""
    told: dict[str, None] = {}
    for name in ROBOTS:
        embodiment = load_embodiment(name)
        for task in tasks_of(embodiment):
            step = task.steps[0]
            told |= dict.fromkeys((step.instruction, *step.paraphrases))
        told |= dict.fromkeys(
            text
            for task in two_step_tasks_of(embodiment)
            for text in (task.instruction, f'first {task.instruction}')
        )
    # The file names its own path: one that is the same on every machine.
    os.chdir(ROOT)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(told),
        model_prefix=OUT.as_posix(),
        model_type='bpe',
        vocab_size=PIECES,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name='identity',
        # PaliGemma's ids, and its newline, which ends a prompt.
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        user_defined_symbols=['\n'],
        num_threads=1,
    )
    OUT.with_suffix('.vocab').unlink()


if __name__ == '__main__':
    main()
