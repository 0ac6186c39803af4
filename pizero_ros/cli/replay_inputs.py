"""What ``pizero replay`` is given, checked before anything is computed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pizero_ros.cli.exit_codes import UsageError
from pizero_ros.errors import BagError
from pizero_ros.replay.bag import bags_in
from pizero_ros.replay.episode import BASELINES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.replay.evaluate import Settings

_LABEL = re.compile(r'[A-Za-z0-9][A-Za-z0-9_.+-]*')


class Policy(NamedTuple):
    """A policy that is to be evaluated.

    Attributes:
        label: Its name in the results.
        path: Its folder.
        kind: ``π0`` or ``chunk policy``.
        source: Where its weights came from.
        sha256: Of its manifest, which holds those of its files.
        warnings: What is unusual about it for this robot.
    """

    label: str
    path: Path
    kind: str
    source: str
    sha256: str
    warnings: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """Return what a report says about it."""
        facts = self._asdict()
        del facts['warnings']
        return {**facts, 'path': str(self.path)}


class Unusable(NamedTuple):
    """A recording that cannot be evaluated, and why."""

    bag: Path
    error: str


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """Return the recordings that paths stand for, each once, in their order.

    Args:
        paths: Recordings, or folders with recordings at any depth.

    Raises:
        UsageError: A path does not exist, or holds no recording.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        bags = bags_in(path)
        if not bags:
            raise UsageError.at(
                path,
                '',
                found='no recording' if path.exists() else 'nothing',
                expected='a rosbag2 folder, an .mcap or .db3 file, or a folder with some of these',
            )
        for bag in bags:
            found.setdefault(bag.resolve(), bag)
    return list(found.values())


def name_policies(words: Sequence[str]) -> dict[str, Path]:
    """Return label → folder of ``[LABEL=]FOLDER``; a folder's own name is its label.

    Raises:
        UsageError: A label is used twice, is that of a baseline, or cannot be a file name.
    """
    named: dict[str, Path] = {}
    for word in words:
        before, equals, after = word.partition('=')
        labelled = equals and '/' not in before and not Path(word).exists()
        path = Path(after) if labelled else Path(word)
        label = before if labelled else path.resolve().name
        if not _LABEL.fullmatch(label):
            raise UsageError.at(
                '--bundle',
                word,
                found=f'the label {label!r}',
                expected='letters, digits and _ . + -',
                remedy='Give one with --bundle LABEL=FOLDER.',
            )
        if label in named or label in BASELINES:
            raise UsageError.at(
                '--bundle',
                word,
                found=f'the label {label!r}, which {named.get(label, "a baseline")} has',
                expected='another one',
                remedy='Give one with --bundle LABEL=FOLDER.',
            )
        named[label] = path
    return named


def examine_policy(label: str, path: Path, embodiment: Embodiment) -> Policy:
    """Check a policy: every byte of it, and whether it fits the robot.

    Raises:
        UsageError: There is no such folder.
        BundleError: It cannot be trusted, or does not fit.
    """
    from pizero_ros.cli.bundle_argument import open_bundle
    from pizero_ros.digest import file_digest
    from pizero_ros.policy.compatibility import require_embodiment
    from pizero_ros.policy.foreign.bundle import ForeignBundle, is_foreign
    from pizero_ros.policy.foreign.compatibility import require_robot
    from pizero_ros.policy.manifest import MANIFEST_FILE

    if is_foreign(path):
        foreign = ForeignBundle.open(path)
        warnings = require_robot(foreign, embodiment)
        kind, source = 'chunk policy', foreign.manifest.source
    else:
        bundle = open_bundle(path)
        warnings = require_embodiment(bundle, embodiment)
        kind, source = 'π0', _weights(bundle.manifest)
    return Policy(
        label,
        path,
        kind,
        source,
        file_digest(path / MANIFEST_FILE),
        tuple(finding.message for finding in warnings),
    )


def _weights(manifest: Any) -> str:
    if manifest.untrained:
        return 'random weights'
    return f'{manifest.provenance.kind}: {manifest.provenance.source}'


def examine_bags(
    bags: Sequence[Path],
    embodiment: Embodiment,
    settings: Settings,
    progress: Callable[[], object] = lambda: None,
) -> tuple[list[Path], list[Unusable]]:
    """Open every recording and look for the topics of the robot.

    The recorded actions are looked for in the first one only: they have to be read for it.

    Args:
        bags: The recordings.
        embodiment: The robot.
        settings: Of the evaluation.
        progress: Called after each.

    Returns:
        Those that can be evaluated, as far as is known, and the others.

    Raises:
        UsageError: None can be evaluated.
    """
    from pizero_ros.replay.action_topics import find_actions
    from pizero_ros.replay.bag import open_bag
    from pizero_ros.replay.recording import Recording

    usable: list[Path] = []
    unusable: list[Unusable] = []
    for path in bags:
        try:
            with open_bag(path) as bag:
                Recording(bag, embodiment)
                if not usable:
                    find_actions(bag, embodiment, settings.actions)
        except BagError as error:
            unusable.append(Unusable(path, str(error)))
        else:
            usable.append(path)
        progress()
    if not usable:
        more = f'\n… and {len(bags) - 1} recordings more, for like reasons.'
        raise UsageError(unusable[0].error + (more if len(bags) > 1 else ''))
    return usable, unusable
