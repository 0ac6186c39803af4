"""What ``pizero evaluate`` was asked for: checked, and turned into trials."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pizero_ros.cli.exit_codes import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.evaluation.journal import Order
    from pizero_ros.evaluation.trial import Trial
    from pizero_ros.sim.tasks.task import Task


@dataclass(frozen=True)
class Asked:
    """What was asked for, checked.

    Attributes:
        order: What all trials have in common.
        embodiments: The robots.
        bundles: Name → folder of each policy, without that of ``random``.
        trials: All of them, in the order in which they are run.
        random: Whether the baseline ``random`` is among the policies.
    """

    order: Order
    embodiments: Sequence[Embodiment]
    bundles: Mapping[str, Path]
    trials: Sequence[Trial]
    random: bool


def asked_for(arguments: argparse.Namespace) -> Asked:
    """Refuse everything that can be asked wrongly before the first process starts.

    Args:
        arguments: Of the command line.

    Raises:
        UsageError: An argument that cannot be meant.
        PizeroError: An embodiment or a bundle that cannot be used, or not together.
    """
    from pizero_ros.embodiment.load import load_embodiment
    from pizero_ros.errors import DatasetError
    from pizero_ros.evaluation.journal import Order
    from pizero_ros.evaluation.trial import RANDOM, SEEDS_PER_TASK, trials_of

    for name, value, low, high in (
        ('trials', arguments.trials, 1, SEEDS_PER_TASK),
        ('size', arguments.size, 16, 1024),
        ('executed-steps', arguments.executed_steps, 0, 10_000),
        ('noise-seed', arguments.noise_seed, 0, 2**31 - 1),
        ('speed', arguments.speed, 0.05, 1.0),
    ):
        if value is not None and not low <= value <= high:
            raise UsageError.at(
                'pizero evaluate', f'--{name}', found=value, expected=f'{low} to {high}'
            )
    embodiments = [load_embodiment(each) for each in dict.fromkeys(arguments.embodiment)]
    _check_names(embodiments)
    bundles = _bundles(arguments)
    _check_bundles(bundles, embodiments)
    policies = [*bundles, *dict.fromkeys(arguments.baseline)]
    try:
        tasks = _tasks(arguments, embodiments)
        conditions = _conditions(arguments, tasks)
        trials = [
            trial
            for embodiment in embodiments
            for policy in policies
            for trial in trials_of(
                embodiment,
                policy,
                conditions,
                tasks[embodiment.name],
                arguments.trials,
                arguments.seed,
            )
        ]
    except DatasetError as error:
        raise UsageError(str(error)) from None
    order = Order(
        arguments.seed,
        arguments.size,
        arguments.speed,
        arguments.executed_steps,
        arguments.noise_seed,
    )
    return Asked(order, embodiments, bundles, trials, RANDOM in policies)


def _check_names(embodiments: Sequence[Embodiment]) -> None:
    """Refuse two robots of one name: their trials could not be told apart."""
    sources: dict[str, str] = {}
    for each in embodiments:
        if each.name in sources:
            raise UsageError.at(
                '--embodiment',
                each.name,
                found=f'{sources[each.name]} and {each.source}',
                expected='each robot once',
            )
        sources[each.name] = each.source


def _bundles(arguments: argparse.Namespace) -> dict[str, Path]:
    from pizero_ros.evaluation.trial import BASELINES

    named: list[tuple[str, str]] = []
    if arguments.bundle is not None:
        named.append((arguments.bundle.resolve().name, str(arguments.bundle)))
    for text in arguments.policy:
        name, equals, folder = text.partition('=')
        if not (name and equals and folder):
            raise UsageError.at('--policy', '', found=repr(text), expected='NAME=DIR')
        named.append((name, folder))
    found: dict[str, Path] = {}
    for name, folder in named:
        if name in found or name in BASELINES or not name.replace('-', '_').isidentifier():
            twice = 'a name that is taken' if name in (*found, *BASELINES) else 'no name'
            raise UsageError.at(
                '--policy',
                name,
                found=twice,
                expected='letters, digits, - and _, each name once',
                remedy='Give it one with --policy NAME=DIR.',
            )
        found[name] = Path(folder)
    if not (found or arguments.baseline):
        raise UsageError.at(
            '--bundle', '', found='nothing', expected='a bundle, --policy or --baseline'
        )
    return found


def _check_bundles(bundles: Mapping[str, Path], embodiments: Sequence[Embodiment]) -> None:
    from pizero_ros.policy.bundle import Bundle
    from pizero_ros.policy.compatibility import require_embodiment
    from pizero_ros.policy.manifest import MANIFEST_FILE

    for folder in bundles.values():
        if not (folder / MANIFEST_FILE).is_file():
            raise UsageError.at(
                folder,
                '',
                found=f'no {MANIFEST_FILE}',
                expected='a bundle folder',
                remedy='`pizero export` writes one.',
            )
        bundle = Bundle.open(folder)
        for embodiment in embodiments:
            require_embodiment(bundle, embodiment)


def _tasks(
    arguments: argparse.Namespace, embodiments: Sequence[Embodiment]
) -> dict[str, tuple[Task, ...]]:
    """Return the tasks of each robot; every task that is named is one of some robot's."""
    from pizero_ros.errors import DatasetError
    from pizero_ros.sim.tasks.task import task_named, tasks_of, two_step_tasks_of

    if not arguments.task:
        every = two_step_tasks_of if arguments.two_step else tasks_of
        return {each.name: every(each) for each in embodiments}
    found: dict[str, list[Task]] = {each.name: [] for each in embodiments}
    for name in dict.fromkeys(arguments.task):
        unknown = None
        for embodiment in embodiments:
            try:
                found[embodiment.name].append(task_named(embodiment, name))
            except DatasetError as error:
                unknown = error
        if unknown is not None and not any(
            name in (task.name, task.instruction) for tasks in found.values() for task in tasks
        ):
            raise unknown
    return {name: tuple(dict.fromkeys(tasks)) for name, tasks in found.items()}


def _conditions(arguments: argparse.Namespace, tasks: Mapping[str, Sequence[Task]]) -> list[Any]:
    conditions = list(dict.fromkeys(arguments.condition or ['flat']))
    if conditions != ['flat'] and not any(
        len(task.steps) > 1 for each in tasks.values() for task in each
    ):
        raise UsageError.at(
            '--condition',
            '',
            found=f'{", ".join(conditions)} with tasks of one step',
            expected='two-step tasks',
            remedy='Add --two-step, or name some with --task.',
        )
    return conditions


def identities(bundles: Mapping[str, Path], trials: Sequence[Trial]) -> dict[str, dict[str, str]]:
    """Return bundle and identity of each policy: what it does, not when it was exported.

    Args:
        bundles: Name → folder.
        trials: Of policies and baselines.
    """
    return {
        name: {
            'bundle': str(bundles[name]) if name in bundles else '',
            'identity': identity_of(bundles[name]) if name in bundles else name,
        }
        for name in dict.fromkeys(trial.policy for trial in trials)
    }


def identity_of(bundle: Path) -> str:
    """Hash what a bundle computes: its manifest, which has the hashes of the graphs."""
    import hashlib
    import json

    import yaml

    from pizero_ros.policy.manifest import MANIFEST_FILE, PARITY_FILE

    manifest = yaml.safe_load((bundle / MANIFEST_FILE).read_text(encoding='utf-8'))
    files = {name: each for name, each in manifest['files'].items() if name != PARITY_FILE}
    parts = [manifest[key] for key in ('model', 'embodiments', 'cache', 'noise')]
    return hashlib.sha256(json.dumps([*parts, files], sort_keys=True).encode()).hexdigest()


def robots_of(embodiments: Sequence[Embodiment]) -> dict[str, str]:
    """Return name → hash of each robot: of its description, and of the model of its simulation."""
    import hashlib
    import json
    from dataclasses import asdict, replace

    from pizero_ros.digest import file_digest
    from pizero_ros.sim.robot import default_mjcf

    found = {}
    for each in embodiments:
        plain = asdict(replace(each, source='', description=''))
        text = json.dumps(plain, sort_keys=True, default=str) + file_digest(default_mjcf(each))
        found[each.name] = hashlib.sha256(text.encode()).hexdigest()
    return found
