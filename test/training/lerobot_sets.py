"""Tiny LeRobot datasets for tests, in the layouts v2.1 and v3.0 of lerobot's own writers."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bags import JOINTS, RATE_HZ, commanded, measured, picture

FRONT, WRIST = 'observation.images.base_0_rgb', 'observation.images.wrist'
CHUNK = 1000
OLD = 'chunk-{episode_chunk:03d}/episode_{episode_index:06d}'
NEW = 'chunk-{chunk_index:03d}/file-{file_index:03d}'


def features(kind, names=JOINTS):
    vector = {'dtype': 'float32', 'shape': [len(names)], 'names': [f'{n}.pos' for n in names]}
    shown = {'dtype': kind, 'shape': [48, 64, 3], 'names': ['height', 'width', 'channels']}
    plain = {'dtype': 'int64', 'shape': [1], 'names': None}
    return {
        'observation.state': vector,
        'action': {**vector, 'names': {'motors': list(names)}},
        FRONT: shown,
        WRIST: shown,
        'timestamp': {'dtype': 'float32', 'shape': [1], 'names': None},
        'frame_index': plain,
        'episode_index': plain,
        'index': plain,
        'task_index': plain,
    }


def rows(episode, length, task, kind, first):
    """Rows of an episode; episode e begins at step 100 e of the demonstration."""
    steps = range(100 * episode, 100 * episode + length)
    columns = {
        'observation.state': pa.array(
            [measured(s).astype(np.float32) for s in steps], pa.list_(pa.float32())
        ),
        'action': pa.array(
            [commanded(s).astype(np.float32) for s in steps], pa.list_(pa.float32())
        ),
        'timestamp': pa.array(np.arange(length, dtype=np.float32) / np.float32(RATE_HZ)),
        'frame_index': pa.array(range(length)),
        'episode_index': pa.array([episode] * length),
        'index': pa.array(range(first, first + length)),
        'task_index': pa.array([task] * length),
    }
    if kind == 'image':
        for key, shift in ((FRONT, 0), (WRIST, 1000)):
            columns[key] = pa.array([png(picture(s + shift)) for s in steps])
    return pa.table(columns)


def png(rgb):
    _, encoded = cv2.imencode('.png', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return {'bytes': encoded.tobytes(), 'path': 'frame.png'}


def film(path, pictures):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=RATE_HZ)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], 'yuv444p'
        stream.codec_context.time_base = Fraction(1, RATE_HZ)
        stream.options = {'g': '2', 'crf': '4'}
        for rgb in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format='rgb24')))
        container.mux(stream.encode())


def shown(episode, length, shift):
    return [picture(100 * episode + step + shift) for step in range(length)]


def write_v21(root, lengths, tasks, kind='video'):
    meta(root, 'v2.1', lengths, tasks, kind)
    first = 0
    for number, (length, task) in enumerate(zip(lengths, tasks, strict=True)):
        path = root / f'data/chunk-000/episode_{number:06d}.parquet'
        path.parent.mkdir(parents=True, exist_ok=True)
        index = sorted(set(tasks)).index(task)
        pq.write_table(rows(number, length, index, kind, first), path)
        first += length
        if kind == 'video':
            for key, shift in ((FRONT, 0), (WRIST, 1000)):
                video = root / f'videos/chunk-000/{key}/episode_{number:06d}.mp4'
                film(video, shown(number, length, shift))
    lines(
        root / 'meta/tasks.jsonl',
        [{'task_index': i, 'task': text} for i, text in enumerate(sorted(set(tasks)))],
    )
    lines(
        root / 'meta/episodes.jsonl',
        [
            {'episode_index': i, 'tasks': [task], 'length': length}
            for i, (length, task) in enumerate(zip(lengths, tasks, strict=True))
        ],
    )
    return root


def write_v3(root, lengths, tasks, kind='video', index_column='__index_level_0__'):
    meta(root, 'v3.0', lengths, tasks, kind)
    texts = sorted(set(tasks))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    parts = [
        rows(i, length, texts.index(task), kind, int(starts[i]))
        for i, (length, task) in enumerate(zip(lengths, tasks, strict=True))
    ]
    put(root / 'data/chunk-000/file-000.parquet', pa.concat_tables(parts))
    put(
        root / 'meta/tasks.parquet',
        pa.table({'task_index': list(range(len(texts))), index_column: texts}),
    )
    episodes = {
        'episode_index': list(range(len(lengths))),
        'tasks': [[task] for task in tasks],
        'length': list(lengths),
        'data/chunk_index': [0] * len(lengths),
        'data/file_index': [0] * len(lengths),
        'dataset_from_index': starts[:-1].tolist(),
        'dataset_to_index': starts[1:].tolist(),
        'stats/action/mean': [[0.0] * 3] * len(lengths),
    }
    if kind == 'video':
        for key, shift in ((FRONT, 0), (WRIST, 1000)):
            whole = [p for i, length in enumerate(lengths) for p in shown(i, length, shift)]
            film(root / f'videos/{key}/chunk-000/file-000.mp4', whole)
            episodes |= {
                f'videos/{key}/chunk_index': [0] * len(lengths),
                f'videos/{key}/file_index': [0] * len(lengths),
                f'videos/{key}/from_timestamp': (starts[:-1] / RATE_HZ).tolist(),
                f'videos/{key}/to_timestamp': (starts[1:] / RATE_HZ).tolist(),
            }
    put(root / 'meta/episodes/chunk-000/file-000.parquet', pa.table(episodes))
    return root


def put(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def meta(root, version, lengths, tasks, kind):
    (root / 'meta').mkdir(parents=True)
    old = version == 'v2.1'
    info = {
        'codebase_version': version,
        'robot_type': 'small',
        'total_episodes': len(lengths),
        'total_frames': sum(lengths),
        'total_tasks': len(set(tasks)),
        'chunks_size': CHUNK,
        'fps': RATE_HZ,
        'splits': {'train': f'0:{len(lengths)}'},
        'data_path': f'data/{OLD if old else NEW}.parquet',
        'video_path': (
            'videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4'
            if old
            else 'videos/{video_key}/' + NEW + '.mp4'
        ),
        'features': features(kind),
    }
    (root / 'meta/info.json').write_text(json.dumps(info))


def lines(path, items):
    path.write_text(''.join(f'{json.dumps(item)}\n' for item in items))
