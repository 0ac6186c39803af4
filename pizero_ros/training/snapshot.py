"""What a checkpoint holds: weights to export, and all that training needs to go on from there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import save_file

from pizero_ros.checkpoints.detect import MODEL
from pizero_ros.checkpoints.tensors import TensorFile
from pizero_ros.errors import CheckpointError, TrainingError
from pizero_ros.training.distributed import local, part_of, whole
from pizero_ros.training.layout import from_openpi, openpi_tensors
from pizero_ros.training.lora import merged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from pizero_ros.model.pi0 import Pi0
    from pizero_ros.training.average import Average

ARCHITECTURE = 'architecture.yaml'
TRAINING = 'training.safetensors'
STATE = 'state.json'

_SCHEMA = 1
_WEIGHT, _AVERAGE, _OPTIMIZER = 'weight.', 'average.', 'optimizer.'


class Snapshot:
    """The whole state of a run between two steps, gathered from all processes.

    There is no state of a generator in it: noise, times and samples are functions of seed and
    step.
    """

    def __init__(
        self, policy: Pi0, average: Average, optimizer: torch.optim.Optimizer, steps: int
    ) -> None:
        """Gather; every process has to.

        Args:
            policy: The policy.
            average: Its averaged weights.
            optimizer: The optimizer of the weights that learn.
            steps: Optimizer steps done.
        """
        self._architecture = policy.architecture
        self.steps = steps
        self._training: dict[str, torch.Tensor] = {}
        with average.in_place():
            final = {name: whole(each) for name, each in policy.named_parameters()}
        self._exported = merged(policy, final)
        for name, parameter in policy.named_parameters():
            if parameter.requires_grad:
                for key, value in optimizer.state[parameter].items():
                    self._training[f'{_OPTIMIZER}{key}.{name}'] = whole(value)
                if average.tensors:
                    self._training[f'{_AVERAGE}{name}'] = final[name]
                self._training[f'{_WEIGHT}{name}'] = whole(parameter)
            elif self._exported[name] is not final[name]:
                # A matrix under a low-rank update, of which only the sum is exported.
                self._training[f'{_WEIGHT}{name}'] = final[name]

    def write(self, folder: Path, attachments: Mapping[str, bytes]) -> None:
        """Write the files of a checkpoint.

        Args:
            folder: A new folder.
            attachments: Path in it → content: statistics and what else an export needs.
        """
        tensors, metadata = openpi_tensors(self._exported, self._architecture)
        save_file(tensors, folder / MODEL, metadata)
        save_file(self._training, folder / TRAINING)
        sizes = yaml.safe_dump(self._architecture.as_mapping(), sort_keys=False)
        (folder / ARCHITECTURE).write_text(sizes, encoding='utf-8')
        state = {'schema': _SCHEMA, 'steps': self.steps}
        (folder / STATE).write_text(json.dumps(state) + '\n', encoding='utf-8')
        for name, content in attachments.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@torch.no_grad()
def restore(folder: Path, policy: Pi0, average: Average, optimizer: torch.optim.Optimizer) -> int:
    """Put a run back into the state of a checkpoint; every process has to.

    Args:
        folder: The checkpoint.
        policy: The policy, as it was at the start: frozen and sharded as it is to be.
        average: Of that policy.
        optimizer: Of that policy.

    Returns:
        Optimizer steps done.

    Raises:
        TrainingError: The checkpoint is damaged, or not of such a policy.
    """
    try:
        state = json.loads((folder / STATE).read_text(encoding='utf-8'))
        steps = int(state['steps'])
        training, exported = TensorFile(folder / TRAINING), TensorFile(folder / MODEL)
        for name, parameter in policy.named_parameters():
            if f'{_WEIGHT}{name}' in training.listing:
                weight = training.load(f'{_WEIGHT}{name}')
            else:
                weight = exported.load(from_openpi(name))
            _put(parameter, weight, folder, name)
            if not parameter.requires_grad:
                continue
            if name in average.tensors:
                full = part_of(training.load(f'{_AVERAGE}{name}'), parameter)
                average.tensors[name].copy_(local(full))
            optimizer.state[parameter] = _moments(training, name, parameter)
    except (OSError, ValueError, KeyError, TypeError, CheckpointError, SafetensorError) as error:
        raise TrainingError.at(
            folder,
            '',
            found=str(error),
            expected='a whole checkpoint of this run',
            remedy='Remove it to go on from the one before.',
        ) from None
    return steps


def _moments(training: TensorFile, name: str, parameter: nn.Parameter) -> dict[str, torch.Tensor]:
    """Read what AdamW keeps of one weight; the count of its steps is a number on the CPU."""
    moments = {}
    for key in ('step', 'exp_avg', 'exp_avg_sq'):
        value = training.load(f'{_OPTIMIZER}{key}.{name}')
        moments[key] = value.clone() if value.ndim == 0 else part_of(value, parameter)
    return moments


def _put(parameter: nn.Parameter, weight: torch.Tensor, folder: Path, name: str) -> None:
    if parameter.shape != weight.shape:
        raise TrainingError.at(
            folder, name, found=list(weight.shape), expected=f'{list(parameter.shape)}'
        )
    local(parameter).copy_(local(part_of(weight, parameter)))
