"""Batches that are made while the policy learns from the one before."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Made = TypeVar('Made')


class Ahead(Generic[Made]):
    """Calls a pure function of step, rank and world, the next steps in a thread of its own.

    What it returns depends on the arguments only, whatever was asked before and whether it was
    made ahead.
    """

    def __init__(self, make: Callable[[int, int, int], Made], count: int) -> None:
        """Begin.

        Args:
            make: The function of (step, rank, world).
            count: How many are made ahead; 0 for no thread.
        """
        self._make = make
        self._count = count
        self._worker = ThreadPoolExecutor(1, 'batches') if count else None
        self._coming: OrderedDict[tuple[int, int, int], Future[Made]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, step: int, rank: int, world: int) -> Made:
        """Return what the function returns, or raise what it raises."""
        if self._worker is None:
            return self._make(step, rank, world)
        with self._lock:
            wanted = [(step + more, rank, world) for more in range(self._count + 1)]
            for key in [key for key in self._coming if key not in wanted]:
                self._coming.pop(key).cancel()
            for key in wanted:
                if key not in self._coming:
                    self._coming[key] = self._worker.submit(self._make, *key)
            coming = self._coming.pop(wanted[0])
        return coming.result()

    def close(self) -> None:
        """End the thread; what nobody asked for is dropped."""
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)
