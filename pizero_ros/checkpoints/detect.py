"""Which checkpoint format is this folder? Every format that is not read is refused by its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pizero_ros.checkpoints.names import is_pi05, is_prefixed
from pizero_ros.checkpoints.tensors import TensorFile
from pizero_ros.errors import CheckpointError
from pizero_ros.strict_yaml import read_yaml

if TYPE_CHECKING:
    from pizero_ros.checkpoints.names import Family
    from pizero_ros.strict_yaml import Fields

MODEL = 'model.safetensors'
CONFIG = 'config.json'

_PICKLES = ('.bin', '.pt', '.pth', '.ckpt', '.pkl')
_ORBAX = ('params', '_METADATA', '_CHECKPOINT_METADATA', 'manifest.ocdbt')
_PI05 = 'π0.5 (no state token, adaptive norms)'
_PI05_REMEDY = 'π0.5 is not supported yet; this version runs π0.'


@dataclass(frozen=True)
class Detected:
    """A folder whose format is known.

    Attributes:
        folder: The checkpoint.
        family: Its format.
        tensors: The model file, of which the header has been read.
        config: ``config.json`` to be read; None where an openpi training run left none.
    """

    folder: Path
    family: Family
    tensors: TensorFile
    config: Fields | None


def detect(folder: str | Path) -> Detected:
    """Find out what wrote a checkpoint.

    Args:
        folder: The checkpoint.

    Returns:
        The format, with header and configuration at hand.

    Raises:
        CheckpointError: No π0 checkpoint, one of a format that is not read, or a damaged one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = f'{folder.suffix or "a"} file' if folder.exists() else 'nothing'
        pickled = folder.exists() and folder.suffix in _PICKLES
        remedy = _unpickle(folder.name) if pickled else ''
        raise CheckpointError.at(
            folder, '', found=found, expected='a checkpoint folder', remedy=remedy
        )
    if not (folder / MODEL).is_file():
        raise _without_model(folder)
    config = read_yaml(folder / CONFIG, CheckpointError) if (folder / CONFIG).exists() else None
    kind = _kind(folder, config)
    tensors = TensorFile(folder / MODEL)
    if is_pi05(tensors.listing):
        raise CheckpointError.at(
            folder / MODEL, '', found=_PI05, expected='π0', remedy=_PI05_REMEDY
        )
    if kind == 'openpi' and is_prefixed(tensors.listing):
        raise CheckpointError.at(
            folder,
            CONFIG,
            found='a configuration of openpi' if config else 'nothing',
            expected="lerobot's, as the names of the tensors are",
        )
    return Detected(folder, kind, tensors, config)


def _kind(folder: Path, config: Fields | None) -> Family:
    """Tell the writer by the keys that only it writes."""
    if config is None:
        return 'openpi'
    where = folder / CONFIG
    if config.has('type'):
        kind = config.text('type')
        if kind == 'pi05':
            raise CheckpointError.at(
                where, 'type', found='pi05', expected='pi0', remedy=_PI05_REMEDY
            )
        if kind != 'pi0':
            raise CheckpointError.at(
                where,
                'type',
                found=repr(kind),
                expected="'pi0'",
                remedy='Other policies of lerobot are not π0.',
            )
        if config.has('resize_imgs_with_padding') or config.has('proj_width'):
            return 'lerobot-0.3'
        return 'lerobot-0.6' if config.has('use_relative_actions') else 'lerobot-0.4'
    if config.has('action_horizon') or config.has('paligemma_variant'):
        return 'openpi'
    raise CheckpointError.at(
        where,
        '',
        found=f'the keys {", ".join(config.keys()[:6]) or "of no known writer"}',
        expected="openpi's (action_horizon, …) or lerobot's (type: pi0, …)",
    )


def _without_model(folder: Path) -> Exception:
    """Name what is there instead of ``model.safetensors``."""
    names = sorted(each.name for each in folder.iterdir())
    expected, key = MODEL, ''
    pickles = [name for name in names if name.endswith(_PICKLES)]
    if 'pretrained_model' in names:
        found = 'a training run of lerobot'
        remedy = f'Name {folder / "pretrained_model"}.'
    elif 'adapter_model.safetensors' in names:
        found = 'a LoRA adapter without its base model'
        remedy = 'Merge it into the base model first (PEFT: merge_and_unload), then save that.'
    elif any(name in names for name in _ORBAX):
        found = 'an orbax checkpoint of JAX (params/)'
        remedy = (
            'Convert it once, on a machine with openpi: examples/convert_jax_model_to_pytorch.py '
            '--checkpoint_dir … --config_name … --output_path …; then name the output.'
        )
    elif 'model.safetensors.index.json' in names:
        found = 'a model in several files'
        remedy = 'Save it as one file: safetensors.torch.save_model on the loaded model.'
    elif pickles:
        found, remedy = f'a pickle, {pickles[0]}', _unpickle(pickles[0])
    else:
        found, remedy = ', '.join(names[:6]) or 'an empty folder', ''
    return CheckpointError.at(folder, key, found=found, expected=expected, remedy=remedy)


def _unpickle(name: str) -> str:
    return (
        f'{name} is a pickle, which runs code when it is read, so it is not read. Load it where '
        'you trust it and save the model with safetensors.torch.save_model.'
    )
