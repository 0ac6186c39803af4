"""One configuration of the ROS latency benchmark, and what it takes to run it."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from latency_run import Plan, measure

from pizero_ros.demo.installation import free_domain
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.errors import BundleError
from pizero_ros.policy.bundle import Bundle

ROOT = Path(__file__).resolve().parents[1]
PROFILE = ROOT / 'config/fastdds_shm.xml'
ROBOT = 'sim_single_arm'


@dataclass(frozen=True)
class Case:
    """What is run; the defaults are the configuration that the targets are about.

    Attributes:
        cameras: How many, 1 to 3.
        size: Width and height of their pictures.
        rate_hz: Of each.
        transport: ``raw`` or ``compressed``.
        timing: ``free``, ``together`` or ``trigger`` (``camera_publisher.Robot``).
        profile: ``shipped`` or ``default``, of Fast DDS.
        braked: Whether the robot keeps its limits of acceleration, which random weights exceed at
            every step.
        executed_steps: Steps of 20 ms between two inferences.
        parameters: Names and values of others of the policy node.
    """

    cameras: int = 3
    size: tuple[int, int] = (640, 480)
    rate_hz: float = 30.0
    transport: str = 'raw'
    timing: str = 'free'
    profile: str = 'shipped'
    braked: bool = False
    executed_steps: int = 6
    parameters: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Name it as in a table."""
        width, height = self.size
        words = [f'{self.cameras} x {width}x{height} {self.transport}, {self.rate_hz:g} Hz']
        words += [] if self.timing == 'free' else [self.timing]
        words += [] if self.profile == 'shipped' else ['default DDS']
        words += ['braked'] if self.braked else []
        return ', '.join(words)

    def run(self, bundle: Path, seconds: float) -> dict[str, Any]:
        """Measure it.

        Args:
            bundle: What the policy node runs.
            seconds: Length of the measurement, after discovery.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            plan = Plan(
                embodiment=self._embodiment_file(folder),
                bundle=bundle.resolve(),
                width=self.size[0],
                height=self.size[1],
                timing=self.timing,
                seconds=seconds,
                executed_steps=self.executed_steps,
                domain=free_domain(),
                folder=folder,
                profile=PROFILE if self.profile == 'shipped' else None,
                parameters=dict(self.parameters),
            )
            return measure(plan)

    def _embodiment_file(self, folder: Path) -> Path:
        """Write the shipped robot with the cameras that are asked for."""
        robot = yaml.safe_load(Path(load_embodiment(ROBOT).source).read_text())
        robot['cameras'] = robot['cameras'][: self.cameras]
        for camera in robot['cameras']:
            camera['rate_hz'] = self.rate_hz
            camera['transport'] = self.transport
            if self.transport == 'compressed':
                camera['topic'] += '/compressed'
        for group in robot['actions']:
            for joint in group['joints']:
                # Random weights jump: a gate that refuses them would leave nothing to be timed,
                # and one that brakes every step of every chunk times what no trained policy asks
                # for.
                joint |= {'max_step': 100.0, 'velocity': 1000.0}
                if not self.braked:
                    joint['acceleration'] = 1e6
        path = folder / f'{ROBOT}.yaml'
        path.write_text(yaml.safe_dump(robot, sort_keys=False))
        return path


def small_bundle() -> Path:
    """Export a policy that is small but for its pictures, which have π0's 224 pixels.

    Done once; again if the bundles' format has changed since.
    """
    bundle = ROOT / '.cache/benchmarks/tiny_224'
    try:
        Bundle.open(bundle)
    except BundleError:
        bundle.parent.mkdir(parents=True, exist_ok=True)
        sizes = yaml.safe_load((ROOT / 'config/architectures/tiny.yaml').read_text())
        sizes['vision'] |= {'image_size': 224, 'patch': 28}
        architecture = bundle.with_suffix('.yaml')
        architecture.write_text(yaml.safe_dump(sizes))
        command = ['pizero', 'export', '--random', str(architecture), '--embodiment', ROBOT]
        subprocess.run([*command, '--out', str(bundle), '--force'], check=True)
    return bundle
