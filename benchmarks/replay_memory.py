"""Memory that evaluating a recording takes, however large the recording is.

    tools/with_ros python benchmarks/replay_memory.py --gib 0.5 4 --check

writes recordings of raw pictures of these sizes, evaluates each in a process that may take no more
than 1 GiB, and prints the peak of what it has in memory. They are removed again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.replay.evaluate import Settings, evaluate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pizero_ros.embodiment.schema import Embodiment

ROBOT = 'sim_single_arm'
WIDTH, HEIGHT = 640, 480
START_NS = 1_700_000_000_000_000_000
LIMIT_BYTES = 2**30
MOST_GROWTH = 0.01
"""Bytes of memory for a byte more of recording: indices and results grow with it, a little."""

STORE = get_typestore(Stores.ROS2_JAZZY)
console = Console(highlight=False, width=100)


def main() -> int:
    """Write, evaluate, print, and judge if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--gib', type=float, nargs='+', default=[0.5, 4.0])
    parser.add_argument('--storage', choices=('sqlite3', 'mcap'), default='mcap')
    parser.add_argument('--work', type=Path, help='where the recordings are written')
    parser.add_argument('--check', action='store_true', help='exit with 1 if memory grows')
    arguments = parser.parse_args()
    embodiment = load_embodiment(ROBOT)
    table = Table(box=None)
    for title in ('GiB', 'seconds of it', 'frames', 'evaluated in s', 'peak MiB', 'of it own MiB'):
        table.add_column(title, justify='right')
    peaks = []
    for size in sorted(arguments.gib):
        with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
            bag = Path(folder) / 'bag'
            steps = _write(bag, embodiment, size, StoragePlugin[arguments.storage.upper()])
            written = sum(each.stat().st_size for each in bag.iterdir()) / 2**30
            with multiprocessing.get_context('spawn').Pool(1) as pool:
                seconds, peak, own = pool.apply(_evaluate, (bag,))
        peaks.append((written * 2**30, own))
        table.add_row(
            f'{written:.2f}',
            f'{steps / embodiment.rate_hz:.0f}',
            str(steps * len(embodiment.cameras)),
            f'{seconds:.1f}',
            f'{peak / 2**20:.0f}',
            f'{own / 2**20:.0f}',
        )
    console.print(table)
    (small, least), (large, most) = peaks[0], peaks[-1]
    return int(arguments.check and most - least > MOST_GROWTH * (large - small))


def _evaluate(bag: Path) -> tuple[float, int, int]:
    """Evaluate the baselines; return seconds, peak of resident memory, and of its own part.

    Pages of a mapped file are resident as long as nobody needs the memory, and no more than that:
    the process's own part leaves them out.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
    own, looked = 0, 0.0

    def look(share: float) -> None:
        nonlocal own, looked
        if share - looked > 0.01:
            own, looked = max(own, _anonymous()), share

    start = time.perf_counter()
    evaluate(bag, load_embodiment(ROBOT), None, '', Settings(), progress=look)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return seconds, peak, max(own, _anonymous())


def _anonymous() -> int:
    lines = Path('/proc/self/status').read_text(encoding='ascii').splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith('RssAnon'))


def _write(path: Path, embodiment: Embodiment, gib: float, storage: StoragePlugin) -> int:
    """Write a recording message by message; return its steps."""
    frame = WIDTH * HEIGHT * 3
    steps = round(gib * 2**30 / (frame * len(embodiment.cameras)))
    with Writer(path, version=9, storage_plugin=storage) as writer:
        connections: dict[str, Any] = {}
        moments = track(range(steps), f'writing {gib:g} GiB', console=console, transient=True)
        for step in moments:
            now_ns = START_NS + round(step * 1e9 / embodiment.rate_hz)
            for topic, kind, message in _messages(embodiment, step, now_ns):
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
                raw = STORE.serialize_cdr(message, kind)
                writer.write(connections[topic], now_ns, raw)
    return steps


def _messages(embodiment: Embodiment, step: int, now_ns: int) -> Iterator[tuple[str, str, Any]]:
    types = STORE.types
    stamp = types['builtin_interfaces/msg/Time'](*divmod(now_ns, 1_000_000_000))
    header = types['std_msgs/msg/Header'](stamp=stamp, frame_id='')
    topics = {source.topic: [joint.name for joint in source.joints] for source in embodiment.state}
    topics['/demo/action'] = [joint.name for joint in embodiment.action_joints]
    for topic, names in topics.items():
        swing = 0.1 * np.sin(step / embodiment.rate_hz)
        values = np.array([embodiment.neutral.get(name, 0.0) + swing for name in names])
        empty = np.empty(0)
        kind = 'sensor_msgs/msg/JointState'
        yield topic, kind, types[kind](header, names, values, empty, empty)
    for number, camera in enumerate(embodiment.cameras):
        picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        picture[:] = np.arange(WIDTH, dtype=np.uint8)[None, :, None]
        picture[step % HEIGHT] = 40 * number
        kind = 'sensor_msgs/msg/Image'
        yield (
            camera.topic,
            kind,
            types[kind](header, HEIGHT, WIDTH, 'rgb8', 0, 3 * WIDTH, picture.reshape(-1)),
        )


if __name__ == '__main__':
    sys.exit(main())
