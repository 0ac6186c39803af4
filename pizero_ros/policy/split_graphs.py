"""Observe in two graphs, so that a view which has not changed is not encoded again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pizero_ros.policy.graphs import Graphs
from pizero_ros.policy.providers import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.policy.manifest import Manifest
    from pizero_ros.processing.model_inputs import ModelInputs


class SplitGraphs(Graphs):
    """Encodes views that differ from the latest ones, then runs the rest of observe.

    A camera that is slower than the policy shows the same frame several times; equal pixels give
    equal tokens, so the result is that of encoding all of them.
    """

    def __init__(self, vision: Any, prefix: Any, denoise: Any, manifest: Manifest) -> None:
        """Allocate the fixed buffers.

        Args:
            vision: Session that turns pictures into tokens.
            prefix: Session that turns tokens of all views, prompt and state into the cache.
            denoise: Session of one step.
            manifest: What the graphs look like.
        """
        super().__init__(prefix, denoise, manifest)
        self._vision = vision
        self._tokens = vision.get_outputs()[0].shape[1:]
        self._images: npt.NDArray[np.float32] = np.zeros((0, 3, *manifest.model.image_size), 'f4')
        self._views: npt.NDArray[np.float32] = np.zeros((0, *self._tokens), np.float32)
        self._parts_s: dict[str, float] = {}
        self.encoded = 0
        """Views encoded so far."""

    @property
    def observe_parts_s(self) -> Mapping[str, float]:
        """Seconds of ``vision`` and ``prefix`` of the latest ``observe``."""
        return self._parts_s

    def observe(self, inputs: ModelInputs) -> None:
        """Run vision on the views that have changed, and prefix."""
        start = time.perf_counter()
        images = inputs.images
        if len(images) != len(self._images):
            # NaN equals nothing, so all of them are new.
            self._images = np.full_like(images, np.nan)
            self._views = np.zeros((len(images), *self._tokens), np.float32)
        changed = [
            k
            for k, (new, old) in enumerate(zip(images, self._images, strict=True))
            if not np.array_equal(new, old)
        ]
        if changed:
            self._encode(images[changed], changed)
        self.encoded += len(changed)
        encoded = time.perf_counter()
        arrays: dict[str, npt.NDArray[Any]] = {
            'views': self._views,
            'tokens': inputs.tokens[None],
            'state': inputs.state[None],
        }
        self._run_observe((len(images), len(inputs.tokens)), arrays)
        self._parts_s = {'vision': encoded - start, 'prefix': time.perf_counter() - encoded}

    def _encode(self, images: npt.NDArray[np.float32], places: list[int]) -> None:
        """Write the tokens of pictures to their places; a failure leaves nothing behind."""
        self._images[places] = np.nan
        binding = self._vision.io_binding()
        binding.bind_ortvalue_input(
            'images', onnxruntime().OrtValue.ortvalue_from_numpy(np.ascontiguousarray(images))
        )
        binding.bind_output('views')
        self._vision.run_with_iobinding(binding)
        self._views[places] = binding.copy_outputs_to_cpu()[0]
        self._images[places] = images
