"""A script for the planner node with the two-step tasks of a robot, each ended by a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pizero_ros.sim.tasks.task import Task

SCHEMA = 1


def write_script(path: Path, tasks: Iterable[Task]) -> None:
    """Write it; the limit of a subtask is that of the whole task.

    Args:
        path: Of the file; its folder is made.
        tasks: What is asked of the planner.
    """
    tasks = list(tasks)
    prompts = sorted({step.instruction for task in tasks for step in task.steps})
    content = {
        'schema': SCHEMA,
        'defaults': {'until': 'verdict'},
        'prompts': prompts,
        'tasks': [
            {
                'instruction': task.instruction,
                'subtasks': [
                    {'prompt': step.instruction, 'limit_s': task.limit_s} for step in task.steps
                ],
            }
            for task in tasks
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding='utf-8')
