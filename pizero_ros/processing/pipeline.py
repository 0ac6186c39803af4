"""Observation to model inputs, and model outputs to robot actions: mirrored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pizero_ros.errors import BundleError, ObservationError
from pizero_ros.processing.grippers import Grippers
from pizero_ros.processing.model_inputs import ModelInputs
from pizero_ros.processing.normalize import make_normalizer, near_constant
from pizero_ros.processing.pad import Pad
from pizero_ros.processing.relative import RelativeActions
from pizero_ros.processing.resize import ResizeWithPad
from pizero_ros.processing.signs import Signs
from pizero_ros.processing.state import StateTransform, check_width

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.errors import PizeroError
    from pizero_ros.observation.observation import Frame, Observation
    from pizero_ros.processing.prompt import PromptEncoder
    from pizero_ros.processing.spec import ModelSpec, RobotSemantics

Array = npt.NDArray[np.float64]


class _Stack:
    """Images of one observation, side by side; ``frames`` says of which frame each one is."""

    def __init__(self, slots: tuple[str, ...], resize: ResizeWithPad) -> None:
        # Written to, because the first touch of new memory costs more than the image.
        self.images = np.full((len(slots), 3, *resize.size), -1, np.float32)
        self.slots = slots
        self.frames: list[Frame | None] = [None] * len(slots)
        self._resize = resize
        self._shared = [False] * len(slots)

    def put(self, k: int, frame: Frame) -> None:
        """Make image ``k`` that of a frame; one that nobody has resized is resized in place."""
        if self.frames[k] is frame:
            return
        self.frames[k] = None
        if self._shared[k]:
            # What an earlier frame has as its image must stay what it is.
            self.images = self.images.copy()
            self._shared = [False] * len(self.slots)
        place = self.images[k]
        image = frame.derived(self._resize, lambda f: self._resize(f.rgb(), place))
        if image is place:
            image.flags.writeable = False
            self._shared[k] = True
        else:
            self.images[k] = image
        self.frames[k] = frame


class InputPipeline:
    """Observation to ``ModelInputs``: signs, grippers, normalise, pad; resize; tokenise."""

    def __init__(
        self,
        model: ModelSpec,
        robot: RobotSemantics,
        prompt: PromptEncoder,
        embodiment: Embodiment | None = None,
    ) -> None:
        """Build the pipeline and check all widths.

        Args:
            model: Sizes and input rules.
            robot: What this robot's values mean to the policy.
            prompt: Tokens of the instructions.
            embodiment: The robot, to check its cameras and state against the bundle.

        Raises:
            BundleError: If statistics, signs or gripper maps do not fit each other, the model or
                the robot.
        """
        self.model = model
        self.state = StateTransform(model, robot)
        self.prompt = prompt
        self.resize = ResizeWithPad(model.image_size, model.resize)
        self._begun: _Stack | None = None
        if embodiment is not None:
            self._check(embodiment)

    def __call__(self, observation: Observation) -> ModelInputs:
        """Return the arrays of one inference.

        Raises:
            ObservationError: If no camera is present, or an image cannot be decoded.
            BundleError: If a camera or state value is not one the model was trained with.
            PromptError: If the prompt cannot become tokens.
        """
        unknown = observation.images.keys() - set(self.model.slots)
        if unknown:
            raise _unknown_slots(unknown, self.model.slots)
        if not observation.images:
            raise ObservationError.at(
                'observation',
                'images',
                found='no usable camera',
                expected=f'at least one of {", ".join(self.model.slots)}',
            )
        return ModelInputs(
            images=self._stacked(observation.images),
            tokens=self.prompt(observation.prompt),
            state=self.state(observation.state, observation.state_mapped),
        )

    def prepare_image(self, frame: Frame) -> npt.NDArray[np.float32]:
        """Return the model's image of ``frame``, float32 [3, H, W]; computed once per frame.

        A thread may call this as frames arrive; the pipeline then finds the work done.
        """
        return frame.derived(self.resize, lambda f: self.resize(f.rgb()))

    def prepare_slot(self, slot: str, frame: Frame) -> None:
        """Do the same for the next call, where it needs the image if it has been begun.

        For the thread that makes the calls.

        Args:
            slot: What the frame's camera fills.
            frame: The frame.
        """
        stack = self._begun
        if stack is None or slot not in stack.slots:
            self.prepare_image(frame)
        else:
            stack.put(stack.slots.index(slot), frame)

    def prepare_stack(self, frames: Mapping[str, Frame]) -> None:
        """Put the images that are prepared where the next call needs them.

        For the thread that makes the calls, while it waits for a frame.

        Args:
            frames: Slot → frame as it may be in the next observation; frames whose image is not
                prepared are left to the call.
        """
        slots = tuple(slot for slot in self.model.slots if slot in frames)
        if self._begun is None or self._begun.slots != slots:
            self._begun = _Stack(slots, self.resize)
        for k, slot in enumerate(slots):
            if frames[slot].has(self.resize):
                self._begun.put(k, frames[slot])

    def _stacked(self, frames: Mapping[str, Frame]) -> npt.NDArray[np.float32]:
        """Return the images of frames in slot order, in memory that nobody else writes to."""
        stack, self._begun = self._begun, None
        slots = tuple(slot for slot in self.model.slots if slot in frames)
        if stack is None or stack.slots != slots:
            return np.stack([self.prepare_image(frames[slot]) for slot in slots])
        for k, slot in enumerate(slots):
            stack.put(k, frames[slot])
        return stack.images

    def _check(self, embodiment: Embodiment) -> None:
        unknown = {camera.slot for camera in embodiment.cameras} - set(self.model.slots)
        if unknown:
            raise _unknown_slots(unknown, self.model.slots)
        if embodiment.state_width > self.state.width:
            raise BundleError.at(
                'policy.yaml',
                'state',
                found=f'statistics of {self.state.width} values',
                expected=f'{embodiment.state_width}, as {embodiment.source} maps',
            )


class OutputPipeline:
    """Model actions to robot actions: unnormalise, absolute, grippers, signs; and back."""

    def __init__(
        self, model: ModelSpec, robot: RobotSemantics, embodiment: Embodiment | None = None
    ) -> None:
        """Build the pipeline and check all widths.

        Args:
            model: Sizes.
            robot: What this robot's values mean to the policy.
            embodiment: The robot, to check its actions against the bundle.

        Raises:
            BundleError: If statistics, mask, signs or gripper maps do not fit each other, the
                model or the robot.
        """
        where = f'policy.yaml: embodiments.{robot.embodiment}'
        self._state = StateTransform(model, robot)
        self.width = len(robot.relative)
        check_width(where, 'relative', self.width, model.action_dim)
        if robot.action.width not in (0, self.width):
            raise BundleError.at(
                where,
                'action',
                found=f'statistics of {robot.action.width} values',
                expected=f'{self.width}, as the mask of relative actions has',
            )
        self._relative = RelativeActions(np.asarray(robot.relative, np.bool_))
        if self._relative.needed > self._state.width:
            raise BundleError.at(
                where,
                f'relative[{self._relative.needed - 1}]',
                found='an action relative to a value that the state does not have',
                expected=f'False from index {self._state.width} on',
            )
        self._signs = Signs.of(robot.signs, self.width, f'{where}.signs')
        self._grippers = Grippers.of(
            robot.action_grippers, 'action', self.width, f'{where}.action_grippers'
        )
        self._normalize = make_normalizer(
            robot.normalization, robot.action, robot.eps, f'{where}.action'
        )
        self._pad = Pad(self.width, model.action_dim)
        if embodiment is not None:
            self._check(embodiment)

    def __call__(self, actions: npt.NDArray[np.float32], state: Array) -> Array:
        """Return what the robot is told.

        Args:
            actions: float32 [..., H, action_dim], normalised, padded.
            state: float64 [vector_dim], the observation's state: base of relative actions.

        Returns:
            float64 [..., H, action width], robot vector. Not limited and not checked for
            finiteness: that is the safety gate's.
        """
        policy = self._normalize.inverse(self._pad.inverse(actions).astype(np.float64))
        policy = self._relative.inverse(policy, self._state.adapt(state))
        return self._signs.inverse(self._grippers.inverse(policy))

    def inverse(self, actions: Array, state: Array) -> npt.NDArray[np.float32]:
        """Return robot actions [..., H, action width] in model space: training and guidance.

        Args:
            actions: float64 robot vector.
            state: float64 [vector_dim], state that relative actions are measured from.

        Returns:
            float32 [..., H, action_dim]; padded values are exactly 0.
        """
        policy = self._grippers(self._signs(actions))
        policy = self._relative(policy, self._state.adapt(state))
        return self._pad(self._normalize(policy)).astype(np.float32)

    @property
    def near_constant(self) -> tuple[int, ...]:
        """Indices whose statistics hardly move."""
        return near_constant(self._normalize)

    def _check(self, embodiment: Embodiment) -> None:
        if embodiment.action_width > self.width:
            raise BundleError.at(
                'policy.yaml',
                'action',
                found=f'{self.width} values',
                expected=f'{embodiment.action_width}, as {embodiment.source} maps',
            )
        mapped = {joint.index for joint in embodiment.state_joints}
        for index in np.flatnonzero(self._relative.mask):
            if int(index) not in mapped:
                raise BundleError.at(
                    'policy.yaml',
                    f'relative[{index}]',
                    found='an action relative to the state',
                    expected=f'a state joint of index {index} in {embodiment.source}',
                )


def _unknown_slots(unknown: set[str], slots: tuple[str, ...]) -> PizeroError:
    return BundleError.at(
        'policy.yaml',
        'slots',
        found=', '.join(slots),
        expected=f'also {", ".join(sorted(unknown))}, which the robot fills',
    )
