from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pizero_ros.errors import ObservationError
from pizero_ros.observation.observation import Frame


def test_threads_decode_and_derive_once():
    rgb = np.zeros((4, 4, 3), np.uint8)
    decoded, derived = [], []
    start = threading.Barrier(8)

    def decode():
        decoded.append(1)
        time.sleep(0.02)
        return rgb

    def shrink(frame):
        derived.append(1)
        return frame.rgb()[::2]

    frame = Frame(5, 6, decode)

    def work(_):
        start.wait()
        return frame.derived('small', shrink), frame.rgb()

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    assert len(decoded) == len(derived) == 1
    assert all(small is results[0][0] and full is rgb for small, full in results)


def test_results_are_kept_per_key():
    frame = Frame.of(np.zeros((4, 6, 3), np.uint8), stamp_ns=7)
    assert frame.derived('height', lambda f: len(f.rgb())) == 4
    assert frame.derived('width', lambda f: f.rgb().shape[1]) == 6
    assert frame.derived('height', lambda f: 99) == 4
    assert frame.stamp_ns == frame.received_ns == 7


def test_a_frame_that_cannot_be_decoded_says_so_every_time():
    def decode():
        raise ObservationError('cut off')

    frame = Frame(0, 0, decode)
    for _ in range(2):
        with pytest.raises(ObservationError, match='cut off'):
            frame.rgb()
