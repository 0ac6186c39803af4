"""How SIGINT and SIGTERM end a node: through an event that any thread may wait for."""

from __future__ import annotations

import signal
import threading
from queue import SimpleQueue


def stop_on_signals() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set; call it from the main thread.

    A handler must not set the event itself: it runs between two bytecodes of the main thread,
    and if that thread is inside ``Event.wait`` and holds the event's lock, ``Event.set`` waits
    for it for ever. ``SimpleQueue.put`` may be called at any point, so a thread takes it on.
    """
    stop = threading.Event()
    arrived: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: arrived.put(number))

    def wait() -> None:
        arrived.get()
        stop.set()

    threading.Thread(target=wait, name='signals', daemon=True).start()
    return stop
