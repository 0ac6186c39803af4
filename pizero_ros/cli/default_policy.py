"""The policy of who names none: the shipped one where it knows the robots, else an untrained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pizero_ros.cli.output import progress_console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pizero_ros.embodiment.schema import Embodiment


def shipped_for(embodiments: Sequence[Embodiment]) -> Path | None:
    """Return the folder of the shipped policy, None if it does not know one of the robots.

    Raises:
        BundleError: If it is damaged.
    """
    from pizero_ros.policy.bundle import Bundle
    from pizero_ros.resources import shipped_policy

    folder = shipped_policy()
    known = Bundle.open(folder).manifest.embodiments
    return folder if all(each.name in known for each in embodiments) else None


def shipped_scores() -> dict[str, Any]:
    """Return what `pizero evaluate` said of the shipped policy (evaluation/scores.py)."""
    import json

    from pizero_ros.resources import shipped_policy

    content: dict[str, Any] = json.loads(
        shipped_policy().with_name('demo_scores.json').read_text(encoding='utf-8')
    )
    return content


def untrained(
    out: Path,
    embodiments: Sequence[Embodiment],
    actions: str,
    programs: Mapping[str, Path],
    env: Mapping[str, str],
) -> Path:
    """Return an untrained bundle for these robots; see ``demo.untrained.untrained_bundle``."""
    from pizero_ros.demo.untrained import untrained_bundle

    with progress_console.status('exporting an untrained policy (once, about half a minute)'):
        return untrained_bundle(
            embodiments,
            actions,
            out=out,
            pizero=programs['pizero'],
            env=env,
            log=out / 'logs' / 'export.log',
        )
