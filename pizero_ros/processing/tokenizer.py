"""Text to token ids by bytes, by SentencePiece or by a Hugging Face ``tokenizer.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pizero_ros.errors import BundleError, EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PAD, EOS, BOS, BYTE_NEWLINE = 0, 1, 2, 3
"""PaliGemma's first special tokens; the byte tokenizer adds its newline to them."""
BYTE_OFFSET = 4
BYTE_VOCABULARY = 256 + BYTE_OFFSET


class Tokenizer(Protocol):
    """Text to token ids, the leading ``bos`` included."""

    newline: tuple[int, ...]
    vocabulary: int

    def encode(self, text: str) -> list[int]:
        """Return ``bos`` and the tokens of ``text``."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of ``tokens``, without special tokens."""


class ByteTokenizer:
    """UTF-8 bytes shifted past the special tokens: for models of our own, needs no file."""

    newline: tuple[int, ...] = (BYTE_NEWLINE,)
    vocabulary: int = BYTE_VOCABULARY

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


class HuggingFaceTokenizer:
    """A ``tokenizer.json``, as lerobot saves it with a checkpoint."""

    def __init__(self, path: Path) -> None:
        """Load the file.

        Args:
            path: The ``tokenizer.json``.

        Raises:
            BundleError: If it is not a tokenizer, or puts anything but one ``bos`` around a text,
                or lacks a newline token.
            EnvironmentFault: If the library is not installed.
        """
        try:
            from tokenizers import Tokenizer as Library
        except ImportError:
            raise EnvironmentFault.at(
                path,
                '',
                found='no module tokenizers',
                expected='it to be installed',
                remedy='Install tokenizers, or bake the prompts into the bundle by name.',
            ) from None
        try:
            self._model = Library.from_file(str(path))
        except Exception as error:  # The library raises nothing more special.
            raise BundleError.at(path, '', found=str(error), expected='a tokenizer.json') from None
        # What a checkpoint was saved with must neither cut a prompt nor fill it up.
        self._model.no_truncation()
        self._model.no_padding()
        # Without added tokens: PaliGemma's <image> has an id one beyond the embedding, and an id
        # that is beyond it is refused where it occurs.
        self.vocabulary = int(self._model.get_vocab_size(with_added_tokens=False))
        self.newline = tuple(self._model.encode('\n', add_special_tokens=False).ids)
        bare = self._model.encode('a', add_special_tokens=False).ids
        whole = self._model.encode('a', add_special_tokens=True).ids
        if len(whole) != len(bare) + 1 or whole[1:] != bare or not self.newline:
            raise BundleError.at(
                path,
                '',
                found=f"{whole} for 'a' of tokens {bare}, newline {list(self.newline)}",
                expected='one start token in front and nothing behind, as PaliGemma prompts are',
            )

    def encode(self, text: str) -> list[int]:
        """Return ``bos`` and the tokens of ``text``."""
        return list(self._model.encode(text, add_special_tokens=True).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of ``tokens``, without special tokens."""
        return str(self._model.decode(list(tokens), skip_special_tokens=True))
