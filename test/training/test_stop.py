from __future__ import annotations

import os
import signal

import pytest

from pizero_ros.training.stop import StopWish


@pytest.mark.parametrize('wish', [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish_and_the_second_an_end(wish):
    before = signal.getsignal(wish)
    with StopWish() as asked:
        assert not asked()
        os.kill(os.getpid(), wish)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), wish)
    assert signal.getsignal(wish) is before
