"""The curves of a run: tables that survive a kill, a picture, and TensorBoard's log."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, NamedTuple

from pizero_ros.training.saved import replace_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pizero_ros.training.saved import RunFolder

LOSS, VALIDATION, PICTURE, TENSORBOARD = 'loss.csv', 'validation.csv', 'curves.png', 'tensorboard'
_SMOOTHING = 0.98


class Look(NamedTuple):
    """What held-out samples showed.

    Attributes:
        loss: Their loss.
        measures: Share of hits of each of the objective's measures; NaN where there was no case.
    """

    loss: float
    measures: tuple[float, ...] = ()


class Table:
    """One table: a row a step, on disk as soon as it is known."""

    def __init__(
        self, folder: RunFolder, name: str, columns: tuple[str, ...], before: int
    ) -> None:
        """Open it and drop what a killed run wrote after its last checkpoint.

        Args:
            folder: The run.
            name: Name of the file.
            columns: Names of the values behind the step.
            before: Rows of this step and later ones go.
        """
        self._folder = folder
        self._path = folder.path / name
        self._columns = columns
        self.rows = [row for row in _read(self._path, len(columns)) if row[0] < before]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        writer.writerow(('step', *columns))
        writer.writerows((int(row[0]), *row[1:]) for row in self.rows)
        with folder.writing(self._path):
            replace_text(self._path, text.getvalue())
            self._stream = self._path.open('a', encoding='utf-8', newline='')

    def add(self, step: int, *values: float) -> None:
        """Append a row.

        Raises:
            TrainingError: It cannot be written.
        """
        self.rows.append((float(step), *values))
        with self._folder.writing(self._path):
            csv.writer(self._stream, lineterminator='\n').writerow((step, *values))
            self._stream.flush()

    def close(self) -> None:
        """Close the file; what a full disk has kept in memory is lost without another error."""
        try:
            self._stream.close()
        except OSError:
            return


class Curves:
    """All curves of one run."""

    def __init__(
        self, folder: RunFolder, steps: int, loss_name: str, measures: tuple[str, ...] = ()
    ) -> None:
        """Take up the curves.

        Args:
            folder: The run.
            steps: Optimizer steps done: later rows come from a run that was killed.
            loss_name: Of what is made small.
            measures: Names of what held-out samples are judged by besides it.
        """
        self._folder = folder
        self._loss_name = loss_name
        self._measures = measures
        self.loss = Table(folder, LOSS, ('loss', 'learning_rate', 'gradient_norm'), steps)
        # A look at held-out samples belongs to the steps done before it.
        self.validation = Table(folder, VALIDATION, ('loss', *measures), steps + 1)
        self._board = _tensorboard(folder.path / TENSORBOARD, steps)

    def step(self, step: int, loss: float, rate: float, norm: float) -> None:
        """Record one optimizer step."""
        self.loss.add(step, loss, rate, norm)
        self._tell({'loss/train': loss, 'learning_rate': rate, 'gradient_norm': norm}, step)

    def look(self, steps: int, look: Look) -> None:
        """Record what held-out samples showed after so many steps."""
        self.validation.add(steps, look.loss, *look.measures)
        named = zip(self._measures, look.measures, strict=True)
        values = {f'validation/{name}': value for name, value in named}
        self._tell({'loss/validation': look.loss, **values}, steps)

    def draw(self) -> None:
        """Draw the picture anew.

        Raises:
            TrainingError: It cannot be written.
        """
        path = self._folder.path / PICTURE
        with self._folder.writing(path):
            rows = self.loss.rows, self.validation.rows
            _draw(path, *rows, self._loss_name, self._measures)

    def close(self) -> None:
        """Close all files."""
        self.loss.close()
        self.validation.close()
        if self._board is not None:
            self._board.close()

    def _tell(self, values: Mapping[str, float], step: int) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


def _read(path: Path, values: int) -> list[tuple[float, ...]]:
    """Read the whole rows of a table; a kill may leave part of one, which is not read."""
    try:
        text = path.read_text(encoding='utf-8')
    except FileNotFoundError:
        return []
    rows: list[tuple[float, ...]] = []
    for line in text.splitlines(keepends=True)[1:]:
        try:
            row = tuple(float(value) for value in line.split(','))
        except ValueError:
            break
        if not line.endswith('\n') or len(row) != 1 + values:
            break
        rows.append(row)
    return rows


def _tensorboard(folder: Path, steps: int) -> Any:
    """Open TensorBoard's log where the library is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=steps)


def _draw(
    path: Path,
    loss: Sequence[tuple[float, ...]],
    validation: Sequence[tuple[float, ...]],
    loss_name: str,
    measures: Sequence[str],
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps = [row[0] for row in loss]
    axes.plot(steps, [row[1] for row in loss], color='0.8', linewidth=0.6, label='each step')
    axes.plot(steps, _smooth([row[1] for row in loss]), color='C0', label='smoothed')
    if validation:
        looks = [row[0] for row in validation]
        axes.plot(looks, [row[1] for row in validation], 'o-', color='C1', label='held out')
    axes.set(xlabel='optimizer step', ylabel=loss_name)
    if loss and min(row[1] for row in loss) > 0:
        axes.set_yscale('log')
    axes.grid(alpha=0.3)
    if validation and measures:
        shares = axes.twinx()
        shares.set(ylabel='share of held-out cases', ylim=(0, 1))
        for number, name in enumerate(measures):
            values = [row[2 + number] for row in validation]
            shares.plot(looks, values, 's--', color=f'C{2 + number}', label=name)
    figure.legend(loc='outside upper center', ncols=3 + len(measures), frameon=False)
    new = path.with_name(f'.{path.name}.new')
    figure.savefig(new, format='png', dpi=120)
    new.replace(path)


def _smooth(values: Sequence[float]) -> list[float]:
    """Average exponentially, without the pull of the start (Adam's correction)."""
    smooth, mean = [], 0.0
    for number, value in enumerate(values, start=1):
        mean = _SMOOTHING * mean + (1.0 - _SMOOTHING) * value
        smooth.append(mean / (1.0 - _SMOOTHING**number))
    return smooth
