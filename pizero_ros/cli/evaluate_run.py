"""Runs the trials of one policy on one robot: nodes up, one trial after the other, nodes down."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pizero_ros.errors import EvaluationError
from pizero_ros.evaluation.trial import HOLD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pizero_ros.demo.processes import Processes
    from pizero_ros.embodiment.schema import Embodiment
    from pizero_ros.evaluation.journal import Order
    from pizero_ros.evaluation.trial import Trial

STARTUP_LIMIT_S = 60.0
CRASHES = 2
"""A policy whose node ends so many times in a row is given up."""


@dataclass(frozen=True)
class Runner:
    """What the trials of all policies have in common.

    Attributes:
        out: Folder of the evaluation.
        order: What was asked for.
        programs: Executables by name.
        env: Environment of the processes.
        films: Whether a video of each trial is kept.
        begins: Called with each trial before it begins.
        add: Called with the record of each trial.
    """

    out: Path
    order: Order
    programs: Mapping[str, Path]
    env: Mapping[str, str]
    films: bool
    begins: Callable[[Trial], object]
    add: Callable[[dict[str, Any]], object]

    def run(self, embodiment: Embodiment, bundle: Path | None, trials: Sequence[Trial]) -> None:
        """Run trials of one policy on one robot.

        Args:
            embodiment: The robot.
            bundle: The policy; ``None``: nothing moves.
            trials: Which.

        Raises:
            PizeroError: If the nodes cannot be started, or the policy's ends time and again. All
                trials before it are recorded.
        """
        waiting, crashes = list(trials), 0
        while waiting:
            before = len(waiting)
            ended = self._go_on(embodiment, bundle, waiting)
            if ended is None:
                return
            # The last of those that were recorded is the one in which it ended.
            crashes = crashes + 1 if before - len(waiting) <= 1 else 1
            if crashes >= CRASHES:
                raise EvaluationError.at(
                    trials[0].policy,
                    '',
                    found=f'that its node ended by itself {crashes} times in a row',
                    expected='a policy that can be evaluated',
                    remedy=ended,
                )

    def _go_on(
        self, embodiment: Embodiment, bundle: Path | None, waiting: list[Trial]
    ) -> str | None:
        """Run trials, and take each that is recorded from the list.

        Returns:
            How the policy's node ended if it did, None once all were run.
        """
        from pizero_ros.demo.installation import free_domain
        from pizero_ros.demo.processes import NodeEnded, Processes
        from pizero_ros.nodes.evaluator_session import POLICY, EvaluatorSession

        domain = free_domain()
        env = {**self.env, 'ROS_DOMAIN_ID': str(domain)}
        plans = any(trial.condition == 'planner' for trial in waiting)
        # A policy that is ended first leaves its robot holding.
        with Processes(env, self.out / 'logs') as processes:
            self._start(processes, embodiment, bundle, waiting, plans=plans)
            with EvaluatorSession(
                embodiment,
                domain,
                processes.check,
                policy=bundle is not None,
                planner=plans,
                film=self.films,
                speed=self.order.speed,
            ) as session:
                session.prepare(STARTUP_LIMIT_S)
                for trial in tuple(waiting):
                    self.begins(trial)
                    try:
                        record = self._one(session, trial)
                    except NodeEnded as error:
                        if error.name != POLICY:
                            raise
                        return str(error)
                    self.add(record)
                    waiting.remove(trial)
                    if record['ended'] == 'crash':
                        return str(record['reason'])
        return None

    def _one(self, session: Any, trial: Trial) -> dict[str, Any]:
        from pizero_ros.evaluation.record import record_of
        from pizero_ros.evaluation.video import write_video
        from pizero_ros.nodes.trial_film import RATE_HZ

        began = time.monotonic()
        outcome = session.run(trial)
        video = None
        if outcome.film:
            video = trial.video
            write_video(self.out / video, outcome.film, RATE_HZ)
        return record_of(
            trial,
            outcome.score,
            ended=outcome.ended,
            reason=outcome.reason,
            account=outcome.account,
            frames_skipped=outcome.frames_skipped,
            took_s=time.monotonic() - began,
            video=video,
        )

    def _start(
        self,
        processes: Processes,
        embodiment: Embodiment,
        bundle: Path | None,
        trials: Sequence[Trial],
        *,
        plans: bool,
    ) -> None:
        from pizero_ros.demo.processes import ros_arguments
        from pizero_ros.evaluation.planner_script import write_script

        order, first = self.order, trials[0]
        own_clock = order.speed is not None
        robot: dict[str, object] = {
            'embodiment': embodiment.source,
            'width': order.width,
            'height': order.width,
            'scene_seed': first.seed,
            'scene_start': first.task.start,
        }
        if own_clock:
            robot |= {'publish_clock': True, 'paced': True, 'speed': order.speed}
        nodes: dict[str, dict[str, object]] = {'sim_robot': robot}
        if bundle is not None:
            nodes['policy_node'] = {
                'embodiment': embodiment.source,
                'bundle': str(bundle.resolve()),
                'executed_steps': order.executed_steps,
                'noise_seed': order.noise_seed,
                'use_sim_time': own_clock,
            }
        if plans:
            script = self.out / 'planner' / f'{embodiment.name}.yaml'
            write_script(script, {t.task: None for t in trials if t.condition == 'planner'})
            nodes['planner_node'] = {
                'planner': 'script',
                'script': str(script.resolve()),
                'use_sim_time': own_clock,
            }
        for name, parameters in nodes.items():
            command: list[str | Path] = [
                self.programs['sim_robot'].with_name(name),
                *ros_arguments(parameters),
            ]
            processes.start(name, command, f'{embodiment.name}.{first.policy}.{name}')


def bundle_of(policy: str, bundles: Mapping[str, Path]) -> Path | None:
    """Return the bundle of a policy, ``None`` for the baseline in which nothing moves."""
    return None if policy == HOLD else bundles[policy]
