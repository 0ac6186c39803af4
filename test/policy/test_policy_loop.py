"""The inference thread by itself: what becomes of an inference that outlives it."""

import threading

import numpy as np

from pizero_ros.control.commander import Commander
from pizero_ros.control.modes import make_scheduler
from pizero_ros.embodiment.load import load_embodiment
from pizero_ros.nodes.policy_loop import PolicyLoop
from pizero_ros.observation.assembler import ObservationAssembler
from pizero_ros.policy.opened import open_policy

NOW_NS = 1_700_000_000_000_000_000


class Picture:
    """A sensor_msgs/Image."""

    height, width, encoding, step = 24, 32, 'rgb8', 96
    data = np.arange(24 * 96, dtype=np.uint32).astype(np.uint8).tobytes()


class HangingPredictor:
    """A predictor that returns when it is let go."""

    def __init__(self, predictor):
        self._predictor = predictor
        self.inputs = predictor.inputs
        self.entered, self.released = threading.Event(), threading.Event()

    def __call__(self, *given, **named):
        chunk = self._predictor(*given, **named)
        self.entered.set()
        assert self.released.wait(30)
        return chunk


def test_chunk_of_an_inference_that_outlives_its_loop_is_dropped(tiny_bundle):
    robot = load_embodiment('sim_single_arm')
    assembler = ObservationAssembler(robot)
    for camera in robot.cameras:
        assembler.image(camera.topic, Picture(), NOW_NS, NOW_NS)
    for source in robot.state:
        names = [joint.name for joint in source.joints]
        values = [robot.neutral[name] for name in names]
        assembler.joint_state(source.topic, names, values, [], [], NOW_NS, NOW_NS)
    predictor = HangingPredictor(open_policy(tiny_bundle, robot))
    published, finished = [], []
    commander = Commander(robot, make_scheduler('async', robot))
    loop = PolicyLoop(
        robot,
        assembler,
        predictor,
        commander,
        now_ns=lambda: NOW_NS + 1,
        prompt=lambda: 'wave',
        publish=lambda commands: published.append(commands) or True,
        finished=finished.append,
        refused=lambda kind, text: published.append((kind, text)),
        failed=lambda error: published.append(error),
    )
    loop.start()
    thread = next(t for t in threading.enumerate() if t.name == 'pizero_inference')
    assert predictor.entered.wait(30)
    assert not loop.stop(timeout_s=0.1)
    predictor.released.set()
    thread.join(30)
    assert not thread.is_alive()
    assert published == finished == []
    # And the robot may be activated again.
    commander.reset()
    assert commander.wants_inference(NOW_NS + 2)
