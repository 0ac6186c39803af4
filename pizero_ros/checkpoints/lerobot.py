"""lerobot's checkpoints, 0.4 and newer: ``config.json`` and the saved processors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pizero_ros.checkpoints.contents import ActionRules, Contents, InputRules
from pizero_ros.checkpoints.lerobot_features import MODES, Features, read_features, read_modes
from pizero_ros.checkpoints.processors import PREPROCESSOR, VECTORS, read_processors
from pizero_ros.checkpoints.sizes import StatedSizes
from pizero_ros.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pizero_ros.checkpoints.detect import Detected
    from pizero_ros.checkpoints.processors import Processors
    from pizero_ros.strict_yaml import Fields

TRAINING_KEYS = (
    *('device', 'use_amp', 'push_to_hub', 'repo_id', 'private', 'tags', 'license'),
    *('pretrained_path', 'pretrained_revision', 'rtc_config', 'gradient_checkpointing'),
    *('compile_model', 'compile_mode', 'freeze_vision_encoder', 'train_expert_only'),
    *('time_sampling_beta_alpha', 'time_sampling_beta_beta'),
    *('time_sampling_scale', 'time_sampling_offset'),
    *('optimizer_lr', 'optimizer_betas', 'optimizer_eps', 'optimizer_weight_decay'),
    *('optimizer_grad_clip_norm', 'scheduler_warmup_steps', 'scheduler_decay_steps'),
    'scheduler_decay_lr',
)
"""Keys that change nothing about the actions of a finished policy."""

_VARIANTS = ('gemma_2b', 'gemma_300m')
_PALIGEMMA = 'google/paligemma-3b-pt-224'


def read_lerobot(detected: Detected, *, published: bool, actions: bool) -> Contents:
    """Read ``config.json`` and, for the meaning of actions, the processors.

    Args:
        detected: The checkpoint.
        published: Whether no architecture is given, so that the names of variants must be those
            of the published π0.
        actions: Whether the meaning of actions is wanted: a model-only bundle does without.

    Returns:
        Sizes, input rules and the meaning of actions.

    Raises:
        CheckpointError: A key is unknown, missing or wrong, or the files contradict each other.
    """
    fields = detected.config
    if fields is None:
        msg = 'lerobot checkpoints are known by their config.json'
        raise ValueError(msg)
    where = str(detected.folder / 'config.json')
    fields.skip(*TRAINING_KEYS)
    fields.choice('type', ('pi0',))
    fields.choice('n_obs_steps', (1,), 1)
    fields.choice('dtype', ('float32', 'bfloat16'))
    expected = _VARIANTS if published else (None, None)
    for key, variant in zip(('paligemma_variant', 'action_expert_variant'), expected, strict=True):
        fields.choice(key, _VARIANTS if variant is None else (variant,))
    if fields.boolean('use_peft', False):
        fields.report(
            'use_peft',
            found='true',
            expected='false',
            remedy='Merge the adapter into the model first (PEFT: merge_and_unload).',
        )
    horizon = fields.integer('chunk_size', minimum=1)
    fields.integer('n_action_steps', minimum=1, maximum=max(horizon, 1))
    image = fields.integers('image_resolution', 2)
    if len(set(image)) > 1:
        fields.report('image_resolution', found=list(image), expected='a square')
    sizes = StatedSizes(
        where,
        image_size=image[0] if image else None,
        max_tokens=fields.integer('tokenizer_max_length', minimum=1),
        state_dim=fields.integer('max_state_dim', minimum=1),
        action_dim=fields.integer('max_action_dim', minimum=1),
        horizon=horizon,
        min_period=fields.number('min_period', above=0),
        max_period=fields.number('max_period', above=0),
    )
    steps = fields.integer('num_inference_steps', minimum=1)
    features = read_features(fields, sizes)
    modes = read_modes(fields)
    relative = _stated_relative(fields)
    fields.document.finish()
    processors = read_processors(detected.folder) if actions else None
    inputs = InputRules(
        slots=features.slots,
        resize='lerobot',
        clean=False,
        newline_as_text=True,
        steps=steps,
        tokenizer=_tokenizer(detected.folder, processors),
        tokenizer_name=processors.tokenizer_name if processors else _PALIGEMMA,
    )
    if processors is None:
        return Contents(sizes, inputs, None, features.notes)
    _check(detected.folder, processors, features, modes, relative, sizes)
    rules = _rules(detected.folder, processors, features)
    return Contents(sizes, inputs, rules, (*features.notes, *_notes(processors, rules)))


def _stated_relative(fields: Fields) -> tuple[bool, tuple[str, ...], tuple[str, ...] | None]:
    """Read what ``config.json`` says of relative actions, from 0.5.1 on."""
    enabled = fields.boolean('use_relative_actions', False)
    exclude = (
        () if fields.blank('relative_exclude_joints') else fields.texts('relative_exclude_joints')
    )
    names = None if fields.blank('action_feature_names') else fields.texts('action_feature_names')
    return enabled, exclude, names


def _check(
    folder: Path,
    processors: Processors,
    features: Features,
    modes: Mapping[str, str],
    relative: tuple[bool, tuple[str, ...], tuple[str, ...] | None],
    sizes: StatedSizes,
) -> None:
    """Hold the processors against ``config.json``: both were written from the same values."""
    normalizer = processors.normalizer
    pairs: list[tuple[str, object, object]] = [
        ('tokenizer_max_length', processors.max_tokens, sizes.max_tokens),
        ('use_relative_actions', processors.relative, relative[0]),
    ]
    if processors.relative:
        pairs.append(('relative_exclude_joints', processors.exclude, relative[1]))
        pairs.append(('action_feature_names', processors.action_names, relative[2]))
    pairs += [
        (f'normalization_mapping.{kind}', normalizer.modes.get(kind, 'IDENTITY'), mode)
        for kind, mode in modes.items()
    ]
    widths = {'observation.state': features.state_width, 'action': features.action_width}
    cameras = tuple(name for name in normalizer.features if name not in widths)
    pairs.append(('cameras, in order', cameras, features.names))
    pairs += [
        (f'features.{name}', normalizer.widths.get(name), width) for name, width in widths.items()
    ]
    pairs += [
        (f'statistics of {name}, {key}', len(values), widths[name])
        for name, named in normalizer.statistics.items()
        for key, values in named.items()
    ]
    faults = [
        f'  {key}: {found!r} in {PREPROCESSOR}, {expected!r} in config.json'
        for key, found, expected in pairs
        if found != expected
    ]
    known = {*features.names, *widths}
    targets = list(processors.renamed.values())
    faults += [
        f'  rename_map: {name!r} becomes {target!r}, which is no input of this policy'
        for name, target in processors.renamed.items()
        if target not in known
    ]
    if len(set(targets)) != len(targets):
        faults.append(f'  rename_map: two names become one in {dict(processors.renamed)}')
    if not processors.newline:
        faults.append(f'  {PREPROCESSOR} has no newline step, without which no π0 was trained')
    names = processors.action_names
    if names is not None and len(names) != features.action_width:
        faults.append(f'  {len(names)} action names for {features.action_width} actions')
    if faults:
        msg = f'{folder}: config.json and {PREPROCESSOR} contradict each other:\n'
        raise CheckpointError(msg + '\n'.join(faults))


def _rules(folder: Path, processors: Processors, features: Features) -> ActionRules:
    normalizer = processors.normalizer
    normalization, pair = MODES[normalizer.modes.get('ACTION', 'IDENTITY')]
    return ActionRules(
        where=str(folder / PREPROCESSOR),
        normalization=normalization,
        pair=pair,
        eps=normalizer.eps,
        statistics={
            name: normalizer.statistics.get(feature, {})
            for name, feature in VECTORS.items()
            if pair is not None
        },
        relative=_mask(processors, features.action_width),
        action_names=processors.action_names,
    )


def _mask(processors: Processors, width: int) -> npt.NDArray[np.bool_]:
    """Tell which actions are relative, by lerobot's rule (relative_action_processor.py).

    A name that contains an excluded text is absolute, whatever the case of either; without names
    or exclusions every action is relative.
    """
    mask = np.full(width, processors.relative)
    excluded = [text.lower() for text in processors.exclude if text]
    if processors.relative and excluded and processors.action_names is not None:
        for index, name in enumerate(processors.action_names[:width]):
            mask[index] = not any(text in name.lower() for text in excluded)
    return mask


def _notes(processors: Processors, rules: ActionRules) -> list[str]:
    notes = [
        f'{name} of the training data feeds {target}'
        for name, target in processors.renamed.items()
    ]
    if rules.relative.any() and rules.relative.all():
        notes.append('every action is relative, grippers too: the checkpoint excludes no name')
    if rules.pair is not None and rules.pair[0] in ('min', 'q10'):
        notes.append(f'the manifest keeps {" and ".join(rules.pair)} as q01 and q99')
    return notes


def _tokenizer(folder: Path, processors: Processors | None) -> Path | None:
    """Find the tokenizer that lerobot 0.6 saves in a folder of the checkpoint."""
    if processors is None:
        return None
    name = processors.tokenizer_name
    place = folder / name
    if '/' in name or '\\' in name or name == '..':
        return None
    for file in ('tokenizer.json', 'tokenizer.model'):
        if (place / file).is_file():
            return place / file
    raise CheckpointError.at(
        folder / PREPROCESSOR,
        'tokenizer_processor.tokenizer_name',
        found=f'{name!r}, and no such folder with a tokenizer.json',
        expected='the folder that was saved with the checkpoint',
    )
