"""Reads the YAML file that says which prompts a policy knows and what long tasks are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

from pizero_ros.errors import PlannerError
from pizero_ros.planner.plan import Subtask, Until
from pizero_ros.resources import config_dir
from pizero_ros.strict_yaml import read_yaml, suggestion

if TYPE_CHECKING:
    from pizero_ros.strict_yaml import Fields

SCHEMA = 1
LONGEST_S = 3600.0
"""No subtask of a policy takes an hour; a limit above is a slip of units."""

_UNTIL: tuple[Until, ...] = get_args(Until)


@dataclass(frozen=True)
class Task:
    """A long instruction and its subtasks, in order."""

    instruction: str
    subtasks: tuple[Subtask, ...]


@dataclass(frozen=True)
class Script:
    """One file.

    Attributes:
        source: The file.
        prompts: Every prompt that the policy knows.
        tasks: Long instructions; their prompts are among ``prompts``.
    """

    source: str
    prompts: tuple[str, ...]
    tasks: tuple[Task, ...]

    def task(self, instruction: str) -> Task | None:
        """Return the task of an instruction; case and the number of blanks do not matter."""
        wanted = plain(instruction)
        return next((t for t in self.tasks if plain(t.instruction) == wanted), None)


def plain(instruction: str) -> str:
    """Return an instruction as instructions are compared."""
    return ' '.join(instruction.split()).casefold()


def script_names() -> list[str]:
    """Return the names of the shipped scripts, sorted."""
    return sorted(path.stem for path in (config_dir() / 'planner').glob('*.yaml'))


def load_script(name_or_path: str | Path) -> Script:
    """Read and check a script.

    Args:
        name_or_path: Name of a shipped script, or the path of a file: a ``Path``, or text with a
            slash or the ending ``.yaml`` or ``.yml``.

    Raises:
        PlannerError: That lists every mistake with file, line, key, found and expected.
    """
    path = _find(name_or_path)
    fields = read_yaml(path, PlannerError)
    document = fields.document
    schema = fields.integer('schema')
    if fields.has('schema') and schema != SCHEMA:
        fields.report(
            'schema',
            found=schema,
            expected=f'{SCHEMA}',
            remedy='This version of pizero_ros reads no other schema of scripts.',
        )
        document.check()
    prompts = _prompts(fields)
    defaults = _defaults(fields.mapping('defaults', required=False))
    tasks = []
    if fields.has('tasks'):
        tasks = [_task(each, prompts, defaults) for each in fields.mappings('tasks')]
    else:
        fields.skip('tasks')
    _check_twice(fields, [task.instruction for task in tasks])
    document.finish()
    return Script(str(path), prompts, tuple(tasks))


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or '/' in text or text.endswith(('.yaml', '.yml')):
        return Path(name_or_path)
    names = script_names()
    folder = config_dir() / 'planner'
    if text not in names:
        raise PlannerError.at(
            folder,
            '',
            found=f'no script named {text!r}',
            expected=f'one of {", ".join(names)}, or the path of a file',
            remedy=suggestion(text, names),
        )
    return folder / f'{text}.yaml'


def _prompts(fields: Fields) -> tuple[str, ...]:
    prompts = fields.texts('prompts')
    if fields.has('prompts') and not prompts:
        fields.report('prompts', found='an empty list', expected='every prompt of the policy')
    for index, prompt in enumerate(prompts):
        if not prompt.strip() or prompt != prompt.strip():
            fields.report(
                f'prompts[{index}]',
                found=repr(prompt),
                expected='a prompt without blanks around it',
                remedy='An empty prompt makes the robot hold; it is no subtask.',
            )
        if prompt in prompts[:index]:
            fields.report(
                f'prompts[{index}]', found=f'{prompt!r} twice', expected='each prompt once'
            )
    return prompts


class _Defaults(NamedTuple):
    """What holds for every subtask that does not say otherwise; None: each has to say it."""

    limit_s: float | None
    until: Until | None
    seconds: float | None


def _defaults(fields: Fields) -> _Defaults:
    fields.skip('limit_s', 'until', 'seconds')
    return _Defaults(
        _limit(fields, None) if fields.has('limit_s') else None,
        fields.choice('until', _UNTIL) if fields.has('until') else None,
        fields.number('seconds', above=0.0) if fields.has('seconds') else None,
    )


def _limit(fields: Fields, default: float | None) -> float:
    return fields.number('limit_s', default, above=0.0, maximum=LONGEST_S)


def _task(fields: Fields, prompts: tuple[str, ...], defaults: _Defaults) -> Task:
    return Task(
        instruction=fields.text('instruction'),
        subtasks=tuple(_subtask(each, prompts, defaults) for each in fields.mappings('subtasks')),
    )


def _subtask(fields: Fields, prompts: tuple[str, ...], defaults: _Defaults) -> Subtask:
    prompt = fields.text('prompt')
    if prompt and prompts and prompt not in prompts:
        fields.report(
            'prompt',
            found=repr(prompt),
            expected='one of `prompts`',
            remedy=suggestion(prompt, prompts) or 'Add it there if the policy was trained on it.',
        )
    limit_s = _limit(fields, defaults.limit_s)
    until = fields.choice('until', _UNTIL, defaults.until)
    seconds = 0.0
    if until == 'time':
        seconds = fields.number('seconds', defaults.seconds, above=0.0)
        if limit_s and seconds >= limit_s:
            fields.report(
                'seconds',
                found=f'{seconds:g}',
                expected=f'less than limit_s ({limit_s:g})',
                remedy='At the limit the robot is stopped, and the subtask has failed.',
            )
    elif fields.has('seconds'):
        fields.skip('seconds')
        fields.report(
            'seconds', found=f'a time with `until: {until}`', expected='it with `until: time` only'
        )
    return Subtask(prompt, limit_s, until, seconds)


def _check_twice(fields: Fields, instructions: list[str]) -> None:
    names = [plain(each) for each in instructions]
    for index, name in enumerate(names):
        if name and name in names[:index]:
            fields.report(
                f'tasks[{index}].instruction',
                found=f'{instructions[index]!r} twice',
                expected='each instruction once',
            )
