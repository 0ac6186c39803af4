"""The configuration of a training run: ``CONFIG.yaml``, schema 1, as frozen values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Init = Literal['random', 'checkpoint', 'run']
Precision = Literal['float32', 'bfloat16']
ActionMode = Literal['absolute', 'relative']
Normalization = Literal['zscore', 'quantile']
StatisticsFrom = Literal['data', 'run']
Aim = Literal['flow', 'grounding']

SCHEMA = 1

_ELSEWHERE = ('out', 'save_every', 'keep', 'validate_every', 'validate_batches', 'threads')


@dataclass(frozen=True)
class SourceConfig:
    """Recordings of one task on one robot.

    Attributes:
        path: A bag, a folder in which bags are, or a LeRobot dataset.
        embodiment: The robot: a shipped name or a file.
        task: Name of the task, for people; with the robot it is what the mixture weighs.
        prompt: Instruction; None for the recorded one.
        commands: Where the actions are: ``auto``, ``state``, or topics separated by commas.
        cameras: For a LeRobot dataset: image feature and camera slot, in pairs.
        names: For a LeRobot dataset: name of a value and joint, in pairs.
    """

    path: Path
    embodiment: str
    task: str
    prompt: str | None = None
    commands: str = 'auto'
    cameras: tuple[tuple[str, str], ...] = ()
    names: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class DataConfig:
    """What is learned from.

    Attributes:
        sources: Recordings; at least one, but where scenes are looked at.
        weight_exponent: A task-robot pair of n samples weighs n to this power (π0 paper: 0.43).
        validation_share: Share of the episodes that is held out, from 0 to below 1.
        actions: Whether arm actions are relative to the observed state.
        normalization: Formula for state and actions.
        slots: Cameras in the model's order; None takes those of the robots.
        tokenizer: File of the tokenizer; None is one token a byte.
        still: Joints that are known not to move in these recordings.
        statistics: Whether statistics come from these data, or from the run that this one starts
            from, for the robots that it knew: a policy that learns on keeps its units that way.
        cache: Folder of samples that were read from recordings before.
    """

    sources: tuple[SourceConfig, ...]
    weight_exponent: float
    validation_share: float
    actions: ActionMode
    normalization: Normalization
    slots: tuple[str, ...] | None
    tokenizer: Path | None
    still: tuple[str, ...] = ()
    statistics: StatisticsFrom = 'data'
    cache: Path = Path('.cache/training')


@dataclass(frozen=True)
class GroundingConfig:
    """Pictures of simulated scenes, and the question where the object is that is meant.

    Attributes:
        robots: Simulated robots: shipped names or files.
        scenes: Scenes of each robot to learn from.
        held_out: Scenes of each robot that are only looked at; their seeds come behind.
        seed: Seed of the first scene.
        picture: Side of the rendered pictures, px.
        bins: Places that are told apart along each side of a picture.
        keypoints: Weight of telling the first keypoints of a stem where each object is, beside a
            location token; 0 tells them nothing.
    """

    robots: tuple[str, ...]
    scenes: int
    held_out: int
    seed: int
    picture: int
    bins: int
    keypoints: float = 0.0


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank updates of frozen matrices: rank, scale alpha / rank, and which matrices."""

    rank: int
    alpha: float
    targets: tuple[str, ...]


@dataclass(frozen=True)
class ModelConfig:
    """What learns.

    Attributes:
        architecture: A shipped name or a file.
        init: Where the weights start.
        source: Folder of the checkpoint or of the run; None at ``random``.
        freeze: Patterns of parameter names that do not learn, as a shell's.
        lora: Low-rank updates, or None.
    """

    architecture: str
    init: Init
    source: Path | None
    freeze: tuple[str, ...]
    lora: LoraConfig | None


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up and cosine; the defaults are openpi's (training/optimizer.py).

    Attributes:
        learning_rate: At the end of the warm-up.
        warm_up: Steps of linear rise.
        decay_to: Learning rate at the end of the cosine.
        decay_steps: Step at which the cosine ends, warm-up included.
        weight_decay: Decoupled, on every parameter.
        betas: Of the two moments.
        eps: Added to the divisor.
        clip: Largest norm of the gradient.
    """

    learning_rate: float
    warm_up: int
    decay_to: float
    decay_steps: int
    weight_decay: float
    betas: tuple[float, float]
    eps: float
    clip: float


@dataclass(frozen=True)
class TrainingConfig:
    """A whole run.

    Attributes:
        objective: What is learned: to act, or where things are.
        data: What is learned from; of ``grounding`` only slots, tokenizer and cache count.
        grounding: The scenes of that objective, else None.
        model: What learns.
        optimizer: How.
        out: Folder of the run.
        steps: Optimizer steps of the whole run.
        batch: Samples a step, over all processes.
        draws: Noisy chunks of each sample, for which its pictures and prompt are computed once.
        seed: Of everything that chance decides.
        precision: Of the forward and backward pass; weights and optimizer are float32.
        ema: Decay of the averaged weights, which are those that are exported; 0 is none.
        rtc_max_delay: Training-time real-time chunking: longest clean prefix; 0 is none.
        learn_repeated: Whether actions behind the end of a recording, which repeat the last one,
            count in the loss.
        validate_every: Steps between two looks at the held-out episodes.
        validate_batches: Batches of one look.
        save_every: Steps between two checkpoints.
        keep: Checkpoints that stay.
        threads: CPU threads of torch; 0 leaves torch's choice. Sums depend on it in the last
            place, so a run that shall be repeated bit by bit fixes it.
    """

    objective: Aim
    data: DataConfig
    grounding: GroundingConfig | None
    model: ModelConfig
    optimizer: OptimizerConfig
    out: Path
    steps: int
    batch: int
    draws: int
    seed: int
    precision: Precision
    ema: float
    rtc_max_delay: int
    learn_repeated: bool
    validate_every: int
    validate_batches: int
    save_every: int
    keep: int
    threads: int

    def identity(self) -> dict[str, Any]:
        """Give all that decides what the run computes, as plain values: its curve's identity.

        Where things lie and how often they are saved decides nothing; what recordings, robots and
        architecture hold does, and is for the caller to add.
        """
        values = asdict(self)
        for key in _ELSEWHERE:
            del values[key]
        del values['data']['cache'], values['model']['architecture']
        for source in values['data']['sources']:
            del source['path']
        if values['grounding'] is not None:
            del values['grounding']['robots']
        plain: dict[str, Any] = _plain(values)
        return plain


def _plain(value: Any) -> Any:
    """Turn tuples and paths into what JSON gives back."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
