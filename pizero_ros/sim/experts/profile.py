"""How well a demonstration is done: cleanly, or with detours, pauses, recoveries and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pizero_ros.sim.demonstrations import CURATED, IMPERFECT
from pizero_ros.sim.experts.legs import Drive, Pause, Reach, legs_of
from pizero_ros.sim.experts.motion import PACE
from pizero_ros.sim.layout import CUBES, layout_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.sim.experts.legs import Leg
    from pizero_ros.sim.experts.motion import Pace
    from pizero_ros.sim.layout import Layout
    from pizero_ros.sim.tasks.task import Step, Task
    from pizero_ros.sim.truth import Truth

FLAWS = ('recovery', 'detour', 'pause', 'overshoot', 'none')
"""What an imperfect demonstration has besides its noise and pace."""

_NOISE_RAD = 0.02
_NOISE_M_S = 0.04
_CORRELATED_STEPS = 8
_NOISE_STEPS = 3000
_RAMP_STEPS = 25


@dataclass(frozen=True)
class Performance:
    """How one demonstration goes.

    Attributes:
        legs: What is done.
        pace: How fast.
        flaw: One of ``FLAWS``.
        steps: For each leg the number of the step of the task that it belongs to.
        noise: float64 [N, action width] that is added to what is executed and not to what is
            recorded, by step since the beginning; ``None`` for none.
    """

    legs: tuple[Leg, ...]
    pace: Pace
    flaw: str
    steps: tuple[int, ...]
    noise: npt.NDArray[np.float64] | None

    def disturbance(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | float:
        """Return the noise of some steps since the beginning, float64 [N, action width]."""
        if self.noise is None:
            return 0.0
        found: npt.NDArray[np.float64] = self.noise[steps % len(self.noise)]
        return found


def perform(embodiment: Embodiment, task: Task, kind: str, seed: int, truth: Truth) -> Performance:
    """Draw how a task is demonstrated; the same for the same seed.

    Args:
        embodiment: The robot.
        task: What to do.
        kind: ``curated`` or ``imperfect``.
        seed: Of the scene.
        truth: Of the beginning.
    """
    if kind not in (CURATED, IMPERFECT):
        msg = f'kind {kind!r}, expected {CURATED} or {IMPERFECT}'
        raise ValueError(msg)
    layout = layout_of(embodiment)
    legs: list[Leg] = []
    steps: list[int] = []
    # Part 4 of the seed's generators: scenes use those before it.
    rng = np.random.default_rng([seed, 4])
    flaw = str(rng.choice(FLAWS)) if kind == IMPERFECT else 'none'
    for number, step in enumerate(task.steps):
        arm = _arm(layout, step, truth)
        own = legs_of(step, arm, last=number + 1 == len(task.steps))
        if number == 0:
            legs += _flawed(flaw, layout, step, arm, truth, rng)
        legs.append(own)
        steps += [number] * (len(legs) - len(steps))
    if kind == CURATED:
        return Performance(tuple(legs), PACE, flaw, tuple(steps), None)
    pace = PACE.scaled(float(rng.uniform(0.6, 1.1)))
    noise = _noise(embodiment, rng) if rng.random() < 0.6 else None
    return Performance(tuple(legs), pace, flaw, tuple(steps), noise)


def _arm(layout: Layout, step: Step, truth: Truth) -> str:
    """Return the arm of a step; the only one where it names none."""
    return layout.arm(step.arm).name if step.kind != 'drive' else ''


def _flawed(
    flaw: str, layout: Layout, step: Step, arm: str, truth: Truth, rng: np.random.Generator
) -> list[Leg]:
    """Return the legs that come before a step."""
    if flaw == 'none':
        return []
    if step.kind == 'drive':
        return _flawed_drive(flaw, step.colour, truth, rng)
    cube = truth.cubes[step.colour]
    tip = np.array(truth.tips[arm])
    over = np.array([cube.position[0], cube.position[1], cube.top + 0.10])
    if flaw == 'recovery':
        # Going to the wrong cube is not to be learnt; coming back from there is.
        wrong = str(rng.choice([colour for colour in CUBES if colour != step.colour]))
        above = float(rng.uniform(0.03, 0.10))
        return [Reach(arm, wrong, above=above, tolerance=0.02, labelled=False)]
    if flaw == 'detour':
        point = rng.uniform((layout.x[0], layout.y[0], 0.14), (layout.x[1], layout.y[1], 0.26))
    elif flaw == 'pause':
        point = tip + rng.uniform(0.3, 0.9) * (over - tip)
    else:
        ahead = over[:2] - tip[:2]
        far = rng.uniform(0.05, 0.09) / max(float(np.hypot(*ahead)), 0.03)
        point = over + np.append(far * ahead, 0.0)
    x, y, z = point.tolist()
    legs: list[Leg] = [Reach(arm, point=(x, y, z), tolerance=0.03, limit_s=2.0)]
    if flaw == 'pause':
        legs.append(Pause(float(rng.uniform(0.3, 0.8))))
    return legs


def _flawed_drive(flaw: str, colour: str, truth: Truth, rng: np.random.Generator) -> list[Leg]:
    assert truth.base is not None
    here, goal = np.array(truth.base[:2]), np.array(truth.standoffs[colour])
    if flaw == 'recovery':
        (wrong,) = (each for each in truth.posts if each != colour)
        wrong_goal = np.array(truth.standoffs[wrong])
        x, y = (here + rng.uniform(0.4, 0.9) * (wrong_goal - here)).tolist()
        return [Drive(wrong, (x, y), tolerance=0.1, limit_s=3.0, labelled=False)]
    share = {'detour': 0.5, 'pause': rng.uniform(0.3, 0.9), 'overshoot': 1.2}[flaw]
    aside = rng.uniform(-0.2, 0.2, 2) if flaw == 'detour' else 0.0
    x, y = (here + share * (goal - here) + aside).tolist()
    legs: list[Leg] = [Drive(colour, (x, y), tolerance=0.1, limit_s=4.0)]
    if flaw == 'pause':
        legs.append(Pause(float(rng.uniform(0.3, 0.8))))
    return legs


def _noise(embodiment: Embodiment, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw smooth noise of arm joints and base; it begins at 0."""
    reach = 4 * _CORRELATED_STEPS
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _CORRELATED_STEPS) ** 2)
    kernel /= np.linalg.norm(kernel)
    noise = np.zeros((_NOISE_STEPS, embodiment.action_width))
    for group in embodiment.actions:
        for joint in group.joints:
            if group.output == 'gripper' or joint.unit == 'm':
                continue
            deviation = _NOISE_M_S if group.output == 'twist' else _NOISE_RAD
            white = rng.standard_normal(_NOISE_STEPS + 2 * reach)
            smooth = np.convolve(white, kernel, 'valid')
            noise[:, joint.index] = deviation * rng.uniform(0.3, 1.0) * smooth
    return noise * np.minimum(np.arange(_NOISE_STEPS) / _RAMP_STEPS, 1.0)[:, None]
