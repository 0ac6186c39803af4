"""A manifest as ``policy.yaml``, sealed by the digest of its own text."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import yaml

from pizero_ros.policy.manifest import SCHEMA, Manifest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pizero_ros.processing.spec import (
        GripperMap,
        ModelSpec,
        PromptSpec,
        RobotSemantics,
        Statistics,
    )

SEAL_KEY = 'sha256_of_the_lines_above'
NOISE = 'standard_normal'
FLOW_TIME = 'noise_at_1'
"""The one convention of this project and of the checkpoints; the paper's τ is ``1 - t``."""


def manifest_text(manifest: Manifest) -> str:
    """Write a manifest as YAML; ``read_manifest`` gives an equal one back.

    Args:
        manifest: What to write.

    Returns:
        The content of ``policy.yaml``, last line sealing the others.
    """
    document = {
        'schema': SCHEMA,
        'model_only': manifest.model_only,
        'precision': manifest.precision,
        'provenance': _present(
            kind=manifest.provenance.kind,
            source=manifest.provenance.source,
            seed=manifest.provenance.seed,
            created=manifest.provenance.created,
            versions=dict(manifest.provenance.versions),
        ),
        'model': model_mapping(manifest.model),
        'cache': {
            'layers': manifest.cache.layers,
            'kv_heads': manifest.cache.kv_heads,
            'head_dim': manifest.cache.head_dim,
        },
        'noise': {'distribution': NOISE, 'flow_time': FLOW_TIME},
        'embodiments': {name: robot_mapping(each) for name, each in manifest.embodiments.items()},
        'architecture': dict(manifest.architecture),
        **_variants(manifest),
        'files': {
            name: {'size': entry.size, 'sha256': entry.sha256}
            for name, entry in manifest.files.items()
        },
    }
    text = yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True, width=99, default_flow_style=None
    )
    return seal(text)


def seal(text: str) -> str:
    """Append the line that carries the digest of ``text``."""
    return f"{text}{SEAL_KEY}: '{hashlib.sha256(text.encode()).hexdigest()}'\n"


def model_mapping(model: ModelSpec) -> dict[str, Any]:
    """Give sizes and input rules as the manifest's plain values."""
    return {
        'slots': list(model.slots),
        'image_size': list(model.image_size),
        'resize': model.resize,
        'prompt': _prompt(model.prompt),
        'state_dim': model.state_dim,
        'action_dim': model.action_dim,
        'horizon': model.horizon,
        'steps': model.steps,
        'vocabulary': model.vocabulary,
    }


def _prompt(prompt: PromptSpec) -> dict[str, Any]:
    return _present(
        tokenizer=prompt.tokenizer,
        max_tokens=prompt.max_tokens,
        clean=prompt.clean,
        newline=prompt.newline,
        newline_as_text=prompt.newline_as_text or None,
        named={text: list(ids) for text, ids in prompt.named.items()},
    )


def robot_mapping(robot: RobotSemantics) -> dict[str, Any]:
    """Give the meaning of one robot's values as the manifest's plain values."""
    return _present(
        rate_hz=float(robot.rate_hz),
        horizon=robot.horizon,
        normalization=robot.normalization,
        eps=float(robot.eps),
        state=_statistics(robot.state),
        action=_statistics(robot.action),
        relative=[bool(each) for each in robot.relative],
        signs=None if robot.signs is None else [int(each) for each in robot.signs],
        state_grippers=_grippers(robot.state_grippers),
        action_grippers=_grippers(robot.action_grippers),
    )


def _statistics(statistics: Statistics) -> dict[str, Any]:
    return _present(
        mean=_floats(statistics.mean),
        std=_floats(statistics.std),
        q01=_floats(statistics.q01),
        q99=_floats(statistics.q99),
    )


def _grippers(grippers: tuple[GripperMap, ...]) -> list[dict[str, Any]] | None:
    return [
        {
            'index': each.index,
            'kind': each.kind,
            'scale': float(each.scale),
            'offset': float(each.offset),
        }
        for each in grippers
    ] or None


def _variants(manifest: Manifest) -> dict[str, Any]:
    if not manifest.variants:
        return {}
    variants = {
        name: _present(
            provider=each.provider,
            precision=each.precision,
            steps=each.steps,
            files=dict(each.files),
        )
        for name, each in manifest.variants.items()
    }
    return {'variants': variants}


def _floats(values: npt.NDArray[np.float64] | None) -> list[float] | None:
    return None if values is None else [float(each) for each in values]


def _present(**values: Any) -> dict[str, Any]:
    """Leave out what is None: an absent key says the same and reads strictly."""
    return {key: value for key, value in values.items() if value is not None}
