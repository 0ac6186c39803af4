"""What a checkpoint says beside its weights: statistics and input rules, for export and robots."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from pizero_ros.errors import TrainingError
from pizero_ros.policy.manifest_read import read_model
from pizero_ros.policy.manifest_write import model_mapping, robot_mapping
from pizero_ros.policy.semantics_read import check_semantics, read_semantics
from pizero_ros.strict_yaml import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pizero_ros.processing.spec import ModelSpec, RobotSemantics, Statistics

SEMANTICS = 'semantics.yaml'
_SCHEMA = 1


def attachments_of(model: ModelSpec, robots: Mapping[str, RobotSemantics]) -> dict[str, bytes]:
    """Give the files that go beside the weights.

    Args:
        model: Sizes and input rules.
        robots: Robot → meaning of its values, with statistics.

    Returns:
        Path in the checkpoint → content: ``semantics.yaml`` in the words of a bundle's manifest,
        and ``assets/ROBOT/norm_stats.json`` as openpi writes it.
    """
    document = {
        'schema': _SCHEMA,
        'model': model_mapping(model),
        'embodiments': {name: robot_mapping(each) for name, each in robots.items()},
    }
    text = yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True, width=99, default_flow_style=None
    )
    files = {SEMANTICS: text.encode()}
    for name, robot in robots.items():
        named = {'state': _named(robot.state), 'actions': _named(robot.action)}
        content = json.dumps({'norm_stats': named}, indent=1, allow_nan=False)
        files[f'assets/{name}/norm_stats.json'] = content.encode()
    return files


def saved_semantics(checkpoint: Path) -> tuple[ModelSpec, dict[str, RobotSemantics]]:
    """Read what a checkpoint of this project says about inputs and robots.

    Args:
        checkpoint: A checkpoint of a run.

    Returns:
        Sizes and input rules, and robot → meaning of its values, with statistics.

    Raises:
        TrainingError: The file is absent, or not what ``attachments_of`` gives.
    """
    fields = read_yaml(checkpoint / SEMANTICS, TrainingError)
    fields.choice('schema', (_SCHEMA,))
    model = read_model(fields.mapping('model'))
    robots = fields.mapping('embodiments')
    found = {name: read_semantics(robots.mapping(name), name) for name in robots.keys()}  # noqa: SIM118
    fields.document.finish()
    for each in found.values():
        check_semantics(each, model, fields.document)
    fields.document.check()
    return model, found


def _named(statistics: Statistics) -> dict[str, Any]:
    values = {
        'mean': statistics.mean,
        'std': statistics.std,
        'q01': statistics.q01,
        'q99': statistics.q99,
    }
    return {key: value.tolist() for key, value in values.items() if value is not None}
