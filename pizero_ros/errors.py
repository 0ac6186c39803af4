"""Every error a user can cause, in one hierarchy; broken invariants stay ``ValueError``."""

from __future__ import annotations


class PizeroError(Exception):
    """Something outside the code is wrong, and the message names the place and the remedy."""

    @classmethod
    def at(
        cls, where: object, key: str, *, found: object, expected: str, remedy: str = ''
    ) -> PizeroError:
        """Build the error from its parts, so that every message has all of them.

        Args:
            where: File, bundle or topic that holds the mistake.
            key: Key, tensor or field inside it, as a dotted path; may be empty.
            found: What is there.
            expected: What should be there.
            remedy: What to do about it, as a sentence.

        Returns:
            The error, of the class on which this is called.
        """
        place = f'{where}: {key}' if key else f'{where}'
        msg = f'{place}: found {found}, expected {expected}.'
        return cls(f'{msg} {remedy}' if remedy else msg)


class EmbodimentError(PizeroError):
    """An embodiment file that cannot be trusted to move a robot."""


class BundleError(PizeroError):
    """A bundle that is incomplete, altered, or not meant for this robot."""


class ObservationError(PizeroError):
    """A sensor message that cannot be turned into an observation."""


class PromptError(PizeroError):
    """A prompt that cannot be turned into the tokens of this bundle."""


class ArchitectureError(PizeroError):
    """An architecture file whose sizes do not make a model."""


class CheckpointError(PizeroError):
    """A checkpoint that is damaged, unknown, or not the policy that it claims to be."""


class UnstatedError(PizeroError):
    """Something that a checkpoint does not say and that a person has to say."""


class ExportError(PizeroError):
    """An export that did not reach its parity proof."""


class BagError(PizeroError):
    """A recording that cannot be read or lacks what was asked of it."""


class DatasetError(PizeroError):
    """Training data that cannot be read, or that no policy should learn from."""


class EnvironmentFault(PizeroError):
    """A library, provider or device that is asked for and is not there."""


class TrainingConfigError(PizeroError):
    """A training configuration that cannot be meant."""


class TrainingError(PizeroError):
    """A training run that cannot start, go on or be saved."""


class PlannerError(PizeroError):
    """A planner that cannot be set up, or a script that it cannot follow."""


class EvaluationError(PizeroError):
    """A closed-loop evaluation that cannot begin or go on."""
