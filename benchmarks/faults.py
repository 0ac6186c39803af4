"""How long a robot moves on after a fault, what it is told, and how it goes on.

    tools/with_ros python benchmarks/faults.py --check

A simulated robot and the policy node run as processes; the robot is made to fail, one fault after
the other, and times are taken from its own stamps. Needs a built package; the first run also
exports a small policy, which needs PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fault_cases import COUNTED, STOPPING
from fault_rig import ROBOT, Rig
from lifecycle_msgs.msg import Transition
from pizero_ros.msg import PolicyStatus
from rich.console import Console
from rich.table import Table

from pizero_ros.errors import BundleError
from pizero_ros.observation.intake import stamp_ns
from pizero_ros.policy.bundle import Bundle
from pizero_ros.sim.controllers import CMD_VEL_TIMEOUT_NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from fault_cases import Case

ROOT = Path(__file__).resolve().parents[1]
PERIODS = 2
"""Control periods from the notice to the hold; a hold is reached after as many more."""

SAMPLE_S = 0.01
"""The robot says what it commands every 10 ms, so that it is seen to be at rest so much later."""

console = Console(highlight=False, width=150)


@dataclass(frozen=True)
class Reaction:
    """What came of one fault.

    Attributes:
        name: The fault.
        bound_s: Time within which the base is to be at rest: stated time, two control periods,
            period of the sensor, sample; None where it does not begin with the fault.
        base_s: Time from the fault to rest of the base; None if the robot goes on.
        arms_s: The same of the arms.
        diagnosis: What the policy said.
        resumes_by: What lets the robot go on.
        resumed_s: Wall-clock time from that until arms and base moved.
    """

    name: str
    bound_s: float | None
    base_s: float | None
    arms_s: float | None
    diagnosis: str
    resumes_by: str
    resumed_s: float | None

    @property
    def in_time(self) -> bool:
        """Whether the base was at rest within the bound."""
        return self.bound_s is None or self.base_s is None or self.base_s <= self.bound_s


def sensor_case(rig: Rig, case: Case) -> Reaction:
    """Let the robot have one fault, and mend it."""
    rig.wait_for_motion()
    since_ns = rig.set_faults(case.fault)
    status = rig.wait_for_state(PolicyStatus.STATE_HOLDING, case.topic, case.reason)
    arms_ns, base_ns = rig.wait_for_rest()
    rig.clear_faults()
    if case.latches:
        time.sleep(0.5)
        rig.wait_for_rest()
    begun = time.monotonic()
    if case.latches:
        rig.enable(True)
    rig.wait_for_motion()
    embodiment = rig.embodiment
    rates = {camera.topic: camera.rate_hz for camera in embodiment.cameras}
    rates |= {source.topic: source.rate_hz for source in embodiment.state}
    sensor_s = 1 / rates.get(case.topic, embodiment.rate_hz)
    bound_s = case.stated_s(embodiment) + PERIODS / embodiment.rate_hz + sensor_s + SAMPLE_S
    # A robot notices a picture that stands still, or an arm that does not follow, by its motion.
    by_motion = case.notice in ('frozen', 'following')
    return Reaction(
        case.name,
        None if by_motion else bound_s,
        (base_ns - since_ns) * 1e-9,
        (arms_ns - since_ns) * 1e-9,
        status.reason,
        '~/enable' if case.latches else 'itself',
        time.monotonic() - begun,
    )


def counted_case(rig: Rig, case: Case) -> Reaction:
    """Let the robot have a fault with which it goes on."""
    rig.wait_for_motion()
    rig.set_faults(case.fault)
    time.sleep(2.0)
    rig.wait_for_motion()
    status = rig.diagnosis(f'policy_node: {case.topic}')
    rig.clear_faults()
    told = f'{case.topic}: {status.message}' if case.reason else 'not noticed'
    return Reaction(case.name, None, None, None, told, 'does not stop', None)


def late_inference(rig: Rig) -> Reaction:
    """Let two inferences take longer than the published horizon."""
    rig.run_policy('latency=1.5', 'latency_after=30', 'latency_count=2')
    status = rig.wait_for_state(PolicyStatus.STATE_HOLDING, 'published horizon ran out')
    arms_ns, base_ns = rig.wait_for_rest()
    end_ns = horizon_ns(rig)
    begun = time.monotonic()
    rig.wait_for_motion()
    return Reaction(
        'inference 1.5 s late, from the end of the horizon',
        PERIODS / rig.embodiment.rate_hz + SAMPLE_S,
        (base_ns - end_ns) * 1e-9,
        (arms_ns - end_ns) * 1e-9,
        status.reason,
        'itself',
        time.monotonic() - begun,
    )


def failing_inference(rig: Rig) -> Reaction:
    """Let inference raise; the moment is that of the status that says so."""
    rig.run_policy('raise_after=10')
    status = rig.wait_for_state(PolicyStatus.STATE_FAULT)
    arms_ns, base_ns = rig.wait_for_rest()
    begun = time.monotonic()
    rig.change_state(Transition.TRANSITION_DEACTIVATE)
    rig.change_state(Transition.TRANSITION_ACTIVATE)
    rig.wait_for_motion()
    since_ns = stamp_ns(status.header.stamp)
    return Reaction(
        'inference raises, from its status',
        PERIODS / rig.embodiment.rate_hz + SAMPLE_S,
        (base_ns - since_ns) * 1e-9,
        (arms_ns - since_ns) * 1e-9,
        status.reason,
        'deactivate, activate',
        time.monotonic() - begun,
    )


def killed_policy(rig: Rig) -> Reaction:
    """Kill the policy in motion."""
    process = rig.run_policy()
    time.sleep(1.0)
    process.send_signal(signal.SIGKILL)
    killed_ns = time.time_ns()
    process.wait()
    arms_ns, base_ns = rig.wait_for_rest()
    (base,) = (group for group in rig.embodiment.actions if group.output == 'twist')
    last_ns = stamp_ns(rig.received[base.topic][-1].header.stamp)
    after_end_ms = (arms_ns - horizon_ns(rig)) * 1e-6
    told = f'arms {after_end_ms:.0f} ms after the last waypoint was due; base '
    told += f'{(base_ns - last_ns) * 1e-6:.0f} ms after its last command'
    return Reaction(
        'kill -9 of the policy',
        CMD_VEL_TIMEOUT_NS * 1e-9 + PERIODS / rig.embodiment.rate_hz,
        (base_ns - killed_ns) * 1e-9,
        (arms_ns - killed_ns) * 1e-9,
        told,
        'a new node',
        None,
    )


def horizon_ns(rig: Rig) -> int:
    """Return when the last waypoint of the last motion that was published is due."""
    return max(
        stamp_ns(message.header.stamp) + stamp_ns(message.points[-1].time_from_start)
        for message in rig.trajectories({})
    )


def small_bundle() -> Path:
    """Export a small untrained policy once; again if the bundles' format has changed since."""
    bundle = ROOT / '.cache/benchmarks/tiny_mobile'
    try:
        Bundle.open(bundle)
    except BundleError:
        bundle.parent.mkdir(parents=True, exist_ok=True)
        command = ['pizero', 'export', '--random', 'tiny', '--embodiment', ROBOT]
        subprocess.run([*command, '--out', str(bundle), '--force'], check=True)
    return bundle


def show(reactions: list[Reaction]) -> None:
    """Print the table."""
    table = Table(box=None)
    for name in ('fault', 'bound s', 'base s', 'arms s', 'named as', 'goes on by', 'after s'):
        table.add_column(name, justify='right' if name.endswith(' s') else 'left')
    for each in reactions:
        base = _seconds(each.base_s)
        reason = each.diagnosis if len(each.diagnosis) < 70 else f'{each.diagnosis[:69]}…'
        table.add_row(
            each.name,
            _seconds(each.bound_s),
            base if each.in_time else f'[red]{base}[/]',
            _seconds(each.arms_s),
            reason,
            each.resumes_by,
            _seconds(each.resumed_s),
        )
    console.print(table)


def _seconds(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'


def main(words: list[str] | None = None) -> int:
    """Measure, print, and return 1 if ``--check`` finds a reaction that was late."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--bundle', type=Path, help=f'policy for {ROBOT} instead of a small one')
    parser.add_argument('--repeat', type=int, default=1, help='rounds; the slowest of each counts')
    parser.add_argument('--json', type=Path, metavar='FILE')
    parser.add_argument(
        '--check', action='store_true', help='exit 1 if a bound is not kept; for a quiet machine'
    )
    arguments = parser.parse_args(words)
    bundle = (arguments.bundle or small_bundle()).resolve()
    rounds: list[list[Reaction]] = []
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder), bundle) as rig:
        rig.start_robot()
        inference: tuple[Callable[[Rig], Reaction], ...] = (
            late_inference,
            failing_inference,
            killed_policy,
        )
        for _ in range(arguments.repeat):
            rig.run_policy()
            found = [sensor_case(rig, case) for case in STOPPING]
            found += [counted_case(rig, case) for case in COUNTED]
            rounds.append([*found, *(measure(rig) for measure in inference)])
    reactions = [max(each, key=lambda r: r.base_s or 0.0) for each in zip(*rounds, strict=True)]
    console.print(
        f'{rig.embodiment.rate_hz:g} Hz, chunks every {rig.embodiment.executed_steps} steps, '
        f'{rig.embodiment.published_steps} steps published; '
        f'{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; slowest of {len(rounds)}'
    )
    show(reactions)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(each) for each in reactions], indent=2))
    late = [each.name for each in reactions if not each.in_time]
    if arguments.check and late:
        console.print(f'[red]late:[/] {", ".join(late)}')
    return int(arguments.check and bool(late))


if __name__ == '__main__':
    sys.exit(main())
