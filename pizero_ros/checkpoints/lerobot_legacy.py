"""lerobot's checkpoints up to 0.3.3: statistics inside the model file, left and top padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.checkpoints.contents import ActionRules, Contents, InputRules
from pizero_ros.checkpoints.lerobot_features import MODES, Features, read_features, read_modes
from pizero_ros.checkpoints.sizes import StatedSizes
from pizero_ros.errors import CheckpointError

if TYPE_CHECKING:
    from pizero_ros.checkpoints.contents import Named
    from pizero_ros.checkpoints.detect import Detected
    from pizero_ros.checkpoints.sizes import Shape
    from pizero_ros.checkpoints.tensors import TensorFile

_TRAINING_KEYS = (
    *('device', 'use_amp', 'push_to_hub', 'repo_id', 'private', 'tags', 'license'),
    *('use_cache', 'attention_implementation', 'freeze_vision_encoder', 'train_expert_only'),
    *('train_state_proj', 'optimizer_lr', 'optimizer_betas', 'optimizer_eps'),
    *('optimizer_weight_decay', 'scheduler_warmup_steps', 'scheduler_decay_steps'),
    'scheduler_decay_lr',
)
_EPS = 1e-8
_PERIODS = (4e-3, 4.0)
"""Both are constants in lerobot 0.3.3 (policies/normalize.py, policies/pi0/modeling_pi0.py)."""
_MODES = ('MEAN_STD', 'MIN_MAX', 'IDENTITY')
_TOKENIZER = 'google/paligemma-3b-pt-224'
_STATE = 'normalize_inputs.buffer_observation_state'
_ACTION = 'unnormalize_outputs.buffer_action'
_ACTION_COPY = 'normalize_targets.buffer_action'


@dataclass(frozen=True)
class Legacy:
    """What ``config.json`` says, and what the model file must therefore hold.

    Attributes:
        contents: Sizes and input rules; not yet what actions mean.
        features: Cameras and widths.
        mode: lerobot's normalisation mode.
    """

    contents: Contents
    features: Features
    mode: str

    @property
    def buffers(self) -> dict[str, Shape]:
        """Name → shape of the statistics in the model file."""
        widths = {
            _STATE: self.features.state_width,
            _ACTION: self.features.action_width,
            _ACTION_COPY: self.features.action_width,
        }
        keys = MODES[self.mode][1] or ()
        return {f'{name}.{key}': (width,) for name, width in widths.items() for key in keys}


def read_legacy(detected: Detected) -> Legacy:
    """Read ``config.json``.

    Args:
        detected: The checkpoint.

    Returns:
        What it says; ``legacy_actions`` reads the rest once the file is known to hold it.

    Raises:
        CheckpointError: A key is unknown, missing or wrong, or asks for what is not supported.
    """
    fields = detected.config
    if fields is None:
        msg = 'lerobot checkpoints are known by their config.json'
        raise ValueError(msg)
    fields.skip(*_TRAINING_KEYS)
    fields.choice('type', ('pi0',))
    fields.choice('n_obs_steps', (1,), 1)
    horizon = fields.integer('chunk_size', minimum=1)
    if fields.integer('n_action_steps', minimum=1) != horizon:
        fields.report(
            'n_action_steps',
            found='another number than chunk_size',
            expected='the same: lerobot up to 0.3.3 samples n_action_steps actions',
        )
    image = fields.integers('resize_imgs_with_padding', 2)
    if len(set(image)) > 1:
        fields.report('resize_imgs_with_padding', found=list(image), expected='a square')
    if fields.boolean('adapt_to_pi_aloha'):
        fields.report(
            'adapt_to_pi_aloha',
            found='true',
            expected='false',
            remedy='Its gripper map (0.4 … 1.5 rad) is not the one that π0 was trained with '
            '(0.5476 … 1.6296 rad), and is not supported.',
        )
    if fields.boolean('use_delta_joint_actions_aloha'):
        fields.report(
            'use_delta_joint_actions_aloha',
            found='true',
            expected='false, as lerobot up to 0.3.3 insists',
        )
    where = str(detected.folder / 'config.json')
    sizes = StatedSizes(
        where,
        image_size=image[0] if image else None,
        expert_width=fields.integer('proj_width', minimum=1),
        max_tokens=fields.integer('tokenizer_max_length', minimum=1),
        state_dim=fields.integer('max_state_dim', minimum=1),
        action_dim=fields.integer('max_action_dim', minimum=1),
        horizon=horizon,
        min_period=_PERIODS[0],
        max_period=_PERIODS[1],
    )
    steps = fields.integer('num_steps', minimum=1)
    features = read_features(fields, sizes)
    modes = read_modes(fields)
    fields.document.finish()
    inputs = InputRules(
        slots=features.slots,
        resize='lerobot_left_top',
        clean=False,
        newline_as_text=True,
        steps=steps,
        tokenizer=None,
        tokenizer_name=_TOKENIZER,
    )
    mode = modes['ACTION']
    if mode not in _MODES:
        raise CheckpointError.at(
            where,
            'normalization_mapping',
            found=mode,
            expected=f'{", ".join(_MODES)}, which is all that lerobot 0.3.3 has',
        )
    return Legacy(Contents(sizes, inputs, None, features.notes), features, mode)


def legacy_actions(file: TensorFile, legacy: Legacy) -> ActionRules:
    """Read the statistics inside the model file; actions are absolute.

    Args:
        file: The model file, found to hold ``legacy.buffers``.
        legacy: What ``config.json`` says.

    Returns:
        What actions mean.

    Raises:
        CheckpointError: The file's two copies of the actions' statistics differ.
    """
    normalization, pair = MODES[legacy.mode]

    def read(prefix: str) -> Named:
        return {key: file.load(f'{prefix}.{key}').double().numpy() for key in pair or ()}

    statistics = {'state': read(_STATE), 'action': read(_ACTION)} if pair else {}
    for key, values in read(_ACTION_COPY).items():
        if not np.array_equal(values, statistics['action'][key], equal_nan=True):
            raise CheckpointError.at(
                file.path,
                f'{_ACTION_COPY}.{key}',
                found='other values',
                expected=f'those of {_ACTION}.{key}',
            )
    return ActionRules(
        where=str(file.path),
        normalization=normalization,
        pair=pair,
        eps=_EPS,
        statistics=statistics,
        relative=np.zeros(legacy.features.action_width, bool),
        action_names=None,
    )
