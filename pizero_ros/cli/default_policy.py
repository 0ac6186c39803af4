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

    A robot that has the name of one that it knows, and other joints, cameras or rates, is another.

    Raises:
        BundleError: If it is damaged.
    """
    from pizero_ros.policy.bundle import Bundle
    from pizero_ros.policy.compatibility import check_embodiment
    from pizero_ros.resources import shipped_policy
    from pizero_ros.sim.layout import LAYOUTS

    if not all(each.name in LAYOUTS for each in embodiments):
        return None
    bundle = Bundle.open(shipped_policy())
    findings = [found for each in embodiments for found in check_embodiment(bundle, each)]
    return None if any(each.severity == 'error' for each in findings) else bundle.path


def shipped_scores() -> dict[str, Any]:
    """Return what `pizero evaluate` said of the shipped policy (evaluation/scores.py).

    Raises:
        EnvironmentFault: If its file is missing or damaged.
    """
    import json

    from pizero_ros.errors import EnvironmentFault
    from pizero_ros.resources import shipped_policy

    file = shipped_policy().with_name('demo_scores.json')
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise EnvironmentFault.at(
            file,
            '',
            found=str(error),
            expected='the scores that ship with the package',
            remedy='Install the package again.',
        ) from None
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
