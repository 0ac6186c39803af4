"""Instruction to prompt tokens: named prompts first, then the bundle's tokenizer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import BundleError, PromptError
from pizero_ros.processing.tokenizer import (
    BYTE_VOCABULARY,
    ByteTokenizer,
    HuggingFaceTokenizer,
    SentencePieceTokenizer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pizero_ros.processing.spec import PromptSpec
    from pizero_ros.processing.tokenizer import Tokenizer


def clean(text: str) -> str:
    """Apply openpi's cleaning rule (tokenizer.py): strip, then blanks for ``_`` and newlines."""
    return text.strip().replace('_', ' ').replace('\n', ' ')


class PromptEncoder:
    """Turns instructions into the tokens of one bundle; remembers the last one.

    A prompt stays for minutes, so one remembered prompt is all that is worth keeping.
    """

    def __init__(self, spec: PromptSpec, vocabulary: int, model_file: Path | None = None) -> None:
        """Prepare the tokenizer and check everything that can be known without a prompt.

        Args:
            spec: The manifest's rules.
            vocabulary: Number of rows of the model's embedding.
            model_file: The tokenizer's file, where ``spec.tokenizer`` asks for one.

        Raises:
            BundleError: If the vocabulary is too small for the tokenizer, the model file is
                absent, or a named prompt is empty, too long or outside the vocabulary.
        """
        self.spec = spec
        self.vocabulary = vocabulary
        self._tokenizer = self._load(model_file)
        for name, tokens in spec.named.items():
            wrong = self._fault(tokens)
            if wrong:
                raise BundleError.at(
                    'policy.yaml', f'prompt.named[{name!r}]', found=wrong[0], expected=wrong[1]
                )
        self._lock = threading.Lock()
        self._last: tuple[str, npt.NDArray[np.int64]] | None = None

    def __call__(self, text: str) -> npt.NDArray[np.int64]:
        """Return the tokens of ``text``: int64 [L], without padding, read-only.

        Raises:
            PromptError: If the prompt is empty, not among the named ones of a bundle without
                tokenizer, longer than the model's prompt, or outside its vocabulary.
        """
        with self._lock:
            if self._last is None or self._last[0] != text:
                tokens = np.array(self._encode(text), np.int64)
                tokens.flags.writeable = False
                self._last = (text, tokens)
            return self._last[1]

    @property
    def reach(self) -> int:
        """Number of ids that text may become: all of them are below it."""
        named = [max(tokens) + 1 for tokens in self.spec.named.values()]
        return max([self._tokenizer.vocabulary if self._tokenizer else 0, *named])

    def inverse(self, tokens: npt.NDArray[np.int64]) -> str:
        """Return the prompt behind ``tokens`` (cleaned, without the newline).

        Raises:
            PromptError: If the bundle has no tokenizer and no prompt of these tokens.
        """
        ids = tuple(int(token) for token in tokens)
        for name, named in self.spec.named.items():
            if named == ids:
                return name
        if self._tokenizer is None:
            raise PromptError.at(
                'prompt', '', found=list(ids), expected=f'the tokens of one of {self._known()}'
            )
        apart = self.spec.newline and not self.spec.newline_as_text
        end = len(self._tokenizer.newline) if apart else 0
        text = self._tokenizer.decode(ids[: len(ids) - end])
        return text.removesuffix('\n') if self.spec.newline_as_text else text

    def _load(self, model_file: Path | None) -> Tokenizer | None:
        if self.spec.tokenizer == 'none':
            if not self.spec.named:
                raise BundleError.at(
                    'policy.yaml',
                    'prompt.named',
                    found='no prompts and no tokenizer',
                    expected='at least one of the two',
                )
            return None
        if self.spec.tokenizer == 'bytes':
            self._check_vocabulary(BYTE_VOCABULARY)
            return ByteTokenizer()
        if model_file is None:
            raise BundleError.at(
                'policy.yaml',
                'prompt.tokenizer',
                found='no file',
                expected='tokenizer.model or tokenizer.json beside it',
            )
        tokenizer: SentencePieceTokenizer | HuggingFaceTokenizer
        if self.spec.tokenizer == 'sentencepiece':
            tokenizer = SentencePieceTokenizer(model_file)
        else:
            tokenizer = HuggingFaceTokenizer(model_file)
        self._check_vocabulary(tokenizer.vocabulary)
        return tokenizer

    def _check_vocabulary(self, needed: int) -> None:
        if self.vocabulary < needed:
            raise BundleError.at(
                'policy.yaml',
                'vocabulary',
                found=self.vocabulary,
                expected=f'at least {needed}, as the {self.spec.tokenizer} tokenizer has',
            )

    def _encode(self, text: str) -> Sequence[int]:
        tidy = clean(text) if self.spec.clean else text
        for name in (text, tidy):
            if name in self.spec.named:
                return self.spec.named[name]
        if self._tokenizer is None:
            raise PromptError.at(
                'prompt',
                '',
                found=repr(text),
                expected=f'one of {self._known()}',
                remedy='This bundle carries named prompts and no tokenizer.',
            )
        if not tidy.strip():
            raise PromptError.at('prompt', '', found='nothing', expected='an instruction')
        if self.spec.newline_as_text and not tidy.endswith('\n'):
            tidy = f'{tidy}\n'
        tokens = self._tokenizer.encode(tidy)
        if self.spec.newline and not self.spec.newline_as_text:
            tokens += self._tokenizer.newline
        wrong = self._fault(tokens)
        if wrong:
            raise PromptError.at('prompt', repr(text), found=wrong[0], expected=wrong[1])
        return tokens

    def _fault(self, tokens: Sequence[int]) -> tuple[str, str] | None:
        """Return what is wrong with ``tokens`` as found and expected."""
        if not 0 < len(tokens) <= self.spec.max_tokens:
            return f'{len(tokens)} tokens', f'1 to {self.spec.max_tokens}'
        outside = [token for token in tokens if not 0 <= token < self.vocabulary]
        if outside:
            return f'token {outside[0]}', f'0 to {self.vocabulary - 1}, the vocabulary'
        return None

    def _known(self) -> str:
        return ', '.join(repr(name) for name in sorted(self.spec.named)) or 'none'
