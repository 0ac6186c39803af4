"""What the exit status of ``pizero`` means, and which errors are whose fault."""

from __future__ import annotations

from pizero_ros.errors import (
    ArchitectureError,
    EmbodimentError,
    EnvironmentFault,
    PizeroError,
    PromptError,
    TrainingConfigError,
    UnstatedError,
)

SUCCESS = 0
FINDING = 1
USAGE = 2
INTERRUPTED = 130


class UsageError(PizeroError):
    """An argument that names something unreadable, or that cannot be meant."""


def is_usage(error: PizeroError) -> bool:
    """Tell whether the command was asked wrongly, as opposed to having found a fault."""
    asked_wrongly = (
        UsageError,
        ArchitectureError,
        EmbodimentError,
        EnvironmentFault,
        PromptError,
        TrainingConfigError,
        UnstatedError,
    )
    return isinstance(error, asked_wrongly)
