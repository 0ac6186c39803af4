"""Instruction to prompt tokens: named prompts first, then the bundle's tokenizer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import BundleError, EnvironmentFault, PromptError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pizero_ros.processing.spec import PromptSpec

PAD, EOS, BOS, BYTE_NEWLINE = 0, 1, 2, 3
"""PaliGemma's first special tokens; the byte tokenizer adds its newline to them."""
BYTE_OFFSET = 4
BYTE_VOCABULARY = 256 + BYTE_OFFSET


def clean(text: str) -> str:
    """Apply openpi's cleaning rule (tokenizer.py): strip, then blanks for ``_`` and newlines."""
    return text.strip().replace('_', ' ').replace('\n', ' ')


class Tokenizer(Protocol):
    """Text to token ids, the leading ``bos`` included."""

    newline: tuple[int, ...]

    def encode(self, text: str) -> list[int]:
        """Return ``bos`` and the tokens of ``text``."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of ``tokens``, without special tokens."""


class ByteTokenizer:
    """UTF-8 bytes shifted past the special tokens: for models of our own, needs no file."""

    newline: tuple[int, ...] = (BYTE_NEWLINE,)

    def encode(self, text: str) -> list[int]:
        """Return ``bos`` and one token per byte."""
        return [BOS, *(byte + BYTE_OFFSET for byte in text.encode())]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of ``tokens``, without special tokens."""
        return bytes(t - BYTE_OFFSET for t in tokens if t >= BYTE_OFFSET).decode()


class SentencePieceTokenizer:
    """A SentencePiece model file, PaliGemma's for π0."""

    def __init__(self, path: Path) -> None:
        """Load the model.

        Args:
            path: The ``tokenizer.model`` file.

        Raises:
            BundleError: If it is not a SentencePiece model, or lacks ``bos`` or a newline token.
            EnvironmentFault: If the library is not installed.
        """
        try:
            import sentencepiece
        except ImportError:
            raise EnvironmentFault.at(
                path,
                '',
                found='no module sentencepiece',
                expected='it to be installed',
                remedy='Install sentencepiece, or bake the prompts into the bundle by name.',
            ) from None
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise BundleError.at(
                path, '', found=str(error), expected='a SentencePiece model'
            ) from None
        self.vocabulary = int(self._model.get_piece_size())
        self.newline = tuple(self._model.encode('\n'))
        if self._model.bos_id() < 0 or not self.newline or self._model.unk_id() in self.newline:
            raise BundleError.at(
                path,
                '',
                found=f'bos {self._model.bos_id()}, newline {list(self.newline)}',
                expected='a tokenizer that has both, as PaliGemma prompts are built from them',
            )

    def encode(self, text: str) -> list[int]:
        """Return ``bos`` and the tokens of ``text``."""
        return list(self._model.encode(text, add_bos=True))

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of ``tokens``, without special tokens."""
        return str(self._model.decode(list(tokens)))


class PromptEncoder:
    """Turns instructions into the tokens of one bundle; remembers the last one.

    A prompt stays for minutes, so one remembered prompt is all that is worth keeping.
    """

    def __init__(self, spec: PromptSpec, vocabulary: int, model_file: Path | None = None) -> None:
        """Prepare the tokenizer and check everything that can be known without a prompt.

        Args:
            spec: The manifest's rules.
            vocabulary: Number of rows of the model's embedding.
            model_file: SentencePiece model, where ``spec.tokenizer`` asks for one.

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
        end = len(self._tokenizer.newline) if self.spec.newline else 0
        return self._tokenizer.decode(ids[: len(ids) - end])

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
                'policy.yaml', 'prompt.tokenizer', found='no file', expected='tokenizer.model'
            )
        tokenizer = SentencePieceTokenizer(model_file)
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
        tokens = self._tokenizer.encode(tidy)
        if self.spec.newline:
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
