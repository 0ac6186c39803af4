"""lerobot's saved pre- and postprocessor, 0.4 and newer: read whole, or refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.checkpoints.tensors import TensorFile
from pizero_ros.errors import CheckpointError
from pizero_ros.strict_yaml import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pizero_ros.checkpoints.contents import Named
    from pizero_ros.strict_yaml import Fields

PREPROCESSOR = 'policy_preprocessor.json'
POSTPROCESSOR = 'policy_postprocessor.json'

_NEWLINE = ('pi0_new_line_processor', 'smolvla_new_line_processor')
_BEFORE = (
    ('rename_observations_processor',),
    ('to_batch_processor',),
    _NEWLINE,
    ('tokenizer_processor',),
    ('device_processor',),
    ('relative_actions_processor',),
    ('normalizer_processor',),
)
_AFTER = (('unnormalizer_processor',), ('absolute_actions_processor',), ('device_processor',))
VECTORS = {'state': 'observation.state', 'action': 'action'}
"""Our name of a vector → lerobot's feature."""
FEATURE_TYPES = {'observation.state': 'STATE', 'action': 'ACTION'}
"""Feature → the type by which its normalisation mode is looked up."""


@dataclass(frozen=True)
class Normalizer:
    """One (un)normaliser step.

    Attributes:
        eps: Added to the divisor.
        modes: Type of feature (``STATE``, …) → mode (``MEAN_STD``, …).
        features: Every feature, in order.
        widths: Feature → width, of the vectors that the step knows.
        state_file: File of the statistics, as the step names it.
        statistics: Feature → statistics.
    """

    eps: float
    modes: Mapping[str, str]
    features: tuple[str, ...]
    widths: Mapping[str, int]
    state_file: str | None
    statistics: Mapping[str, Named]


@dataclass(frozen=True)
class Processors:
    """Both pipelines, already found to agree with each other.

    Attributes:
        renamed: Camera or vector of the training data → feature of the policy.
        newline: Whether the prompt gets its closing newline.
        tokenizer_name: Folder in the checkpoint, or a name that lies elsewhere.
        max_tokens: Longest prompt.
        relative: Whether actions are relative.
        exclude: Parts of names of actions that stay absolute.
        action_names: Names of the actions, if the step has them.
        normalizer: The preprocessor's; the postprocessor's holds the same.
    """

    renamed: Mapping[str, str]
    newline: bool
    tokenizer_name: str
    max_tokens: int
    relative: bool
    exclude: tuple[str, ...]
    action_names: tuple[str, ...] | None
    normalizer: Normalizer


def read_processors(folder: Path) -> Processors:
    """Read ``policy_preprocessor.json``, ``policy_postprocessor.json`` and the files they name.

    Args:
        folder: The checkpoint.

    Returns:
        What they do.

    Raises:
        CheckpointError: A step is unknown or out of order, a key or statistic is missing, or
            the two contradict each other.
    """
    for name in (PREPROCESSOR, POSTPROCESSOR):
        if not (folder / name).is_file():
            raise CheckpointError.at(
                folder,
                name,
                found='no such file',
                expected='the processors that lerobot saves from 0.4 on: they say what actions '
                'mean',
                remedy='Copy them from the training run; --model-only exports without.',
            )
    before, inputs = _steps(folder / PREPROCESSOR, _BEFORE)
    after, outputs = _steps(folder / POSTPROCESSOR, _AFTER)
    for document, steps, needed in (
        (before, inputs, ('tokenizer_processor', 'normalizer_processor')),
        (after, outputs, ('unnormalizer_processor',)),
    ):
        for name in needed:
            if name not in steps:
                document.report('steps', found=f'no {name}', expected='one')
        # Nothing below can be read from a step that is not there.
        document.document.check()
    renamed = _rename_map(inputs)
    tokenizer, max_tokens = _tokenizer(inputs['tokenizer_processor'])
    relative, exclude, names = _relative(inputs)
    _devices(inputs, outputs)
    normalize = _normalizer(inputs['normalizer_processor'])
    unnormalize = _normalizer(outputs['unnormalizer_processor'])
    absolute = 'absolute_actions_processor' in outputs and (
        outputs['absolute_actions_processor'].mapping('config').boolean('enabled')
    )
    before.document.finish()
    after.document.finish()
    if absolute != relative:
        raise CheckpointError.at(
            folder / POSTPROCESSOR,
            'absolute_actions_processor.enabled',
            found=str(absolute).lower(),
            expected=f'{str(relative).lower()}, as relative_actions_processor.enabled has it',
        )
    first, second = _complete(folder, normalize), _complete(folder, unnormalize)
    _agree(folder, first, second)
    return Processors(
        renamed=renamed,
        newline=any(name in inputs for name in _NEWLINE),
        tokenizer_name=tokenizer,
        max_tokens=max_tokens,
        relative=relative,
        exclude=exclude,
        action_names=names,
        normalizer=first,
    )


def _steps(path: Path, order: Sequence[tuple[str, ...]]) -> tuple[Fields, dict[str, Fields]]:
    """Open a pipeline's steps by name, each known and after those it must follow."""
    fields = read_yaml(path, CheckpointError)
    fields.skip('name')
    steps: dict[str, Fields] = {}
    reached = -1
    for each in fields.mappings('steps'):
        if not each.has('registry_name'):
            found = each.text('class') if each.has('class') else 'nothing'
            each.report('registry_name', found=found, expected='a step of lerobot itself')
            continue
        name = each.text('registry_name')
        place = next((i for i, names in enumerate(order) if name in names), None)
        each.skip('artifacts')
        if place is None:
            known = ', '.join(names[0] for names in order)
            each.report(
                'registry_name',
                found=repr(name),
                expected=f'one of {known}',
                remedy='What this step does to the data is not known here.',
            )
        elif place <= reached:
            each.report('registry_name', found=f'{name} here', expected='the order of π0')
        else:
            reached = place
            steps[name] = each
    fields.document.check()
    for name, each in steps.items():
        if name in (*_NEWLINE, 'to_batch_processor'):
            each.skip('config')
    return fields, steps


def _rename_map(steps: Mapping[str, Fields]) -> dict[str, str]:
    if 'rename_observations_processor' not in steps:
        return {}
    fields = steps['rename_observations_processor'].mapping('config').mapping('rename_map')
    names = fields.keys()
    return {name: fields.text(name) for name in names}


def _tokenizer(step: Fields) -> tuple[str, int]:
    config = step.mapping('config')
    name = config.text('tokenizer_name')
    longest = config.integer('max_length', minimum=1)
    config.choice('task_key', ('task',), 'task')
    config.choice('padding_side', ('right',), 'right')
    config.choice('padding', ('max_length', 'longest'), 'max_length')
    config.boolean('truncation', True)
    return name, longest


def _relative(steps: Mapping[str, Fields]) -> tuple[bool, tuple[str, ...], tuple[str, ...] | None]:
    if 'relative_actions_processor' not in steps:
        return False, (), None
    config = steps['relative_actions_processor'].mapping('config')
    enabled = config.boolean('enabled')
    exclude = () if config.blank('exclude_joints') else config.texts('exclude_joints')
    names = None if config.blank('action_names') else config.texts('action_names')
    return enabled, exclude, names


def _devices(*pipelines: Mapping[str, Fields]) -> None:
    """Refuse half precision of the inputs; where tensors are kept does not matter."""
    for steps in pipelines:
        if 'device_processor' in steps:
            config = steps['device_processor'].mapping('config')
            config.skip('device')
            if not config.blank('float_dtype'):
                config.choice('float_dtype', ('float32',))


def _normalizer(step: Fields) -> Normalizer:
    """Read a step's configuration; its statistics lie in a file of their own."""
    config = step.mapping('config')
    eps = config.number('eps', above=0)
    features = config.mapping('features')
    names = tuple(features.keys())
    widths = {}
    for name in names:
        entry = features.mapping(name)
        shape = entry.integers('shape')
        if name in FEATURE_TYPES:
            entry.choice('type', (FEATURE_TYPES[name],))
            widths[name] = shape[0] if len(shape) == 1 else 0
        else:
            entry.choice('type', ('VISUAL',))
    modes = config.mapping('norm_map')
    kinds = modes.keys()
    found = {kind: modes.text(kind) for kind in kinds}
    if config.has('normalize_observation_keys') and not config.blank('normalize_observation_keys'):
        keys = config.texts('normalize_observation_keys')
        if VECTORS['state'] not in keys:
            config.report(
                'normalize_observation_keys',
                found=list(keys),
                expected=VECTORS['state'],
            )
    if not step.blank('state_file'):
        return Normalizer(eps, found, names, widths, step.text('state_file'), {})
    if {found.get('STATE'), found.get('ACTION')} != {'IDENTITY'}:
        step.report(
            'state_file',
            found='nothing',
            expected='the file of the statistics',
            remedy='A base model that was never fine-tuned has none and cannot drive a robot; '
            '--model-only exports without.',
        )
    return Normalizer(eps, found, names, widths, None, {})


def _complete(folder: Path, normalizer: Normalizer) -> Normalizer:
    """Add the statistics from the file that the step names."""
    name = normalizer.state_file
    if name is None:
        return normalizer
    if '/' in name or '\\' in name or not name.endswith('.safetensors'):
        raise CheckpointError.at(
            folder, 'state_file', found=repr(name), expected='a .safetensors file of this folder'
        )
    file = TensorFile(folder / name)
    statistics: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    for key, info in file.listing.items():
        feature, _, statistic = key.rpartition('.')
        if feature not in VECTORS.values() or statistic == 'count':
            continue
        if info.dtype not in ('F32', 'F64'):
            raise CheckpointError.at(
                file.path, key, found=info.dtype, expected='F32: statistics are never rounded'
            )
        values = np.atleast_1d(file.load(key).double().numpy())
        statistics.setdefault(feature, {})[statistic] = values
    return replace(normalizer, statistics=statistics)


def _agree(folder: Path, first: Normalizer, second: Normalizer) -> None:
    """Compare what the two pipelines both say: they were written from the same values."""
    faults = []
    if first.eps != second.eps:
        faults.append(f'eps: {first.eps:g} and {second.eps:g}')
    if dict(first.modes) != dict(second.modes):
        faults.append(f'norm_map: {dict(first.modes)} and {dict(second.modes)}')
    faults += [
        f'features.{name}: width {first.widths[name]} and {second.widths[name]}'
        for name in first.widths.keys() & second.widths.keys()
        if first.widths[name] != second.widths[name]
    ]
    for feature in VECTORS.values():
        mine, other = first.statistics.get(feature, {}), second.statistics.get(feature, {})
        if feature == VECTORS['state'] and not other:
            continue  # The postprocessor has no use for them.
        if mine.keys() != other.keys():
            faults.append(
                f'{feature}: {", ".join(sorted(mine)) or "no statistics"} and '
                f'{", ".join(sorted(other)) or "no statistics"}'
            )
        faults += [
            f'{feature}.{key}: different values'
            for key in mine.keys() & other.keys()
            if not np.array_equal(mine[key], other[key], equal_nan=True)
        ]
    if faults:
        msg = f'{folder}: {PREPROCESSOR} and {POSTPROCESSOR} contradict each other:\n'
        raise CheckpointError(msg + '\n'.join(f'  {each}' for each in faults))
