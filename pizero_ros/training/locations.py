"""Places in pictures as tokens, PaliGemma's way: bins along u and v, and one word for nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.errors import TrainingConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.processing.prompt import PromptEncoder

VISIBLE = 0.3
"""Share of an object that has to be seen for it to be somewhere."""

PER_CAMERA = 2
"""Tokens about one camera: u and v, or twice nowhere."""


@dataclass(frozen=True)
class Locations:
    """The last ids of a vocabulary, where text has none: ``bins`` places, then nowhere.

    Attributes:
        vocabulary: Rows of the token embedding.
        bins: Places along each side of a picture.
    """

    vocabulary: int
    bins: int

    @property
    def nowhere(self) -> int:
        """Token of what a camera does not see."""
        return self.vocabulary - 1

    @property
    def first(self) -> int:
        """Token of the leftmost or topmost place."""
        return self.vocabulary - 1 - self.bins

    def check(self, prompt: PromptEncoder) -> None:
        """Refuse ids that text has too.

        Raises:
            TrainingConfigError: If the tokenizer's ids reach into these.
        """
        if prompt.reach > self.first:
            raise TrainingConfigError.at(
                'grounding.bins',
                '',
                found=f'{self.bins} bins and nowhere: tokens {self.first} to {self.nowhere}',
                expected=f'at most {self.vocabulary - 1 - prompt.reach} bins: the tokenizer has '
                f'the first {prompt.reach} of {self.vocabulary} tokens',
                remedy='Take fewer bins, or an architecture with a larger vocabulary.',
            )

    def tokens(
        self, pixel: npt.NDArray[np.float32], visible: npt.NDArray[np.float32], side: int
    ) -> npt.NDArray[np.int64]:
        """Say where an object is.

        Args:
            pixel: float32 [N, 2], u and v of its centre in N cameras, px; pixel 0 is the centre of
                the first pixel. Beyond the edge it counts as at the edge.
            visible: float32 [N], share of it that each camera sees.
            side: Side of the pictures, px.

        Returns:
            int64 [N, 2].
        """
        seen = self.seen(pixel, visible)
        place = np.floor(self.shares(pixel, side) * self.bins)
        place = np.clip(place, 0, self.bins - 1).astype(np.int64)
        return np.where(seen[..., None], self.first + place, self.nowhere)

    @staticmethod
    def seen(
        pixel: npt.NDArray[np.float32], visible: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.bool_]:
        """Say what is somewhere: bool [...] of pixels [..., 2] and visible shares [...]."""
        return (visible >= VISIBLE) & np.isfinite(pixel).all(axis=-1)

    @staticmethod
    def shares(pixel: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
        """Return pixels [..., 2] as shares of the picture, 0 to 1; 0 behind the camera."""
        known = np.where(np.isfinite(pixel), pixel, np.float32(-0.5))
        shares: npt.NDArray[np.float32] = (known + np.float32(0.5)) / np.float32(side)
        return shares.clip(0.0, 1.0)
