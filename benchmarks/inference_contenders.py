"""The same inference in several ways, each in a process of its own that works when it is told."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from pathlib import Path

Array = npt.NDArray[np.float32]

_SEED = 3
_READY_S = 600.0
"""A process that has not answered by then never will; the first compilation takes minutes."""


class Case(NamedTuple):
    """What one inference sees: cameras that are there, prompt tokens, Euler steps."""

    cameras: int
    tokens: int
    steps: int = 10

    def __str__(self) -> str:
        """Say it in words."""
        return f'{self.cameras} cameras, {self.tokens} tokens'


class Setup(NamedTuple):
    """What every process needs to know.

    Attributes:
        bundle: Folder of the exported policy.
        seed: Seed of its random weights, from which torch builds the same ones.
        threads: Threads inside an operator, None for one per core.
        compiled: Folder for what torch.compile makes.
    """

    bundle: Path
    seed: int
    threads: int | None
    compiled: Path


TITLES = {
    'eager padded': 'torch eager, 3 slots and longest prompt, masked',
    'eager exact': 'torch eager, exact work',
    'compile': 'torch.compile, exact work',
    'compile frozen': 'torch.compile, exact work, frozen weights',
    'plain': 'plain export: our graphs, default session',
    'cpu': 'pizero_ros, cpu, float32',
    'cpu_int8': 'pizero_ros, cpu_int8',
}
"""Contender → what it is; in the order of the table."""

TORCH = ('eager padded', 'eager exact', 'compile', 'compile frozen')


Maker: TypeAlias = 'Callable[[str, Setup], Callable[[Case], Callable[[], Array]]]'
"""Name, setup → case → what infers once and returns actions float32 [H, A]."""


class Contender:
    """One way to infer, in a process of its own, asleep unless it is asked."""

    def __init__(self, name: str, setup: Setup, maker: Maker | None = None) -> None:
        """Start the process.

        Args:
            name: One of ``TITLES``, or one that ``maker`` knows.
            setup: What it infers with.
            maker: Loads what it needs there, and returns what makes a case ready; None for that
                of the names in ``TITLES``.
        """
        self.name = name
        context = multiprocessing.get_context('spawn')
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, name, setup, maker), daemon=True
        )
        self._process.start()
        theirs.close()

    def prepare(self, case: Case) -> tuple[Array, float]:
        """Get ready for a case; return the actions, float32 [H, A], and the seconds it took."""
        return self._ask('prepare', case, 0)  # type: ignore[no-any-return]

    def time(self, case: Case, runs: int) -> list[float]:
        """Infer ``1 + runs`` times and return the seconds of all but the first."""
        return self._ask('time', case, runs)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(10.0)
        if self._process.is_alive():
            self._process.kill()

    def _ask(self, *question: Any) -> Any:
        try:
            self._pipe.send(question)
            if not self._pipe.poll(_READY_S):
                msg = f'{self.name}: no answer within {_READY_S:.0f} s'
                raise RuntimeError(msg)
            kind, answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            msg = f'{self.name}: the process died'
            raise RuntimeError(msg) from None
        if kind == 'error':
            msg = f'{self.name}: {answer}'
            raise RuntimeError(msg)
        return answer


def inputs_of(bundle: Any, case: Case) -> tuple[Any, Array]:
    """Return a case's inputs and its noise, the same in every process."""
    from pizero_ros.bench.inputs import ModelSpace, Size, noise

    size = Size(case.cameras, case.tokens, case.steps)
    return ModelSpace(bundle).before(size)[0], noise(bundle)


def _work(pipe: Connection, name: str, setup: Setup, make: Maker | None) -> None:
    """Answer questions until nobody asks any more."""
    os.environ['TORCHINDUCTOR_CACHE_DIR'] = str(setup.compiled)
    runs: dict[Case, Callable[[], Array]] = {}
    maker: Callable[[Case], Callable[[], Array]] | None = None
    while True:
        try:
            question, case, count = pipe.recv()
        except EOFError:
            return
        try:
            if question == 'prepare':
                start = time.perf_counter()
                maker = maker or (make or _maker)(name, setup)
                runs[case] = maker(case)
                actions = runs[case]()
                pipe.send(('done', (actions, time.perf_counter() - start)))
                continue
            run = runs[case]
            run()
            times = []
            for _ in range(count):
                start = time.perf_counter()
                run()
                times.append(time.perf_counter() - start)
            pipe.send(('done', times))
        except Exception:
            pipe.send(('error', traceback.format_exc()))


def _maker(name: str, setup: Setup) -> Callable[[Case], Callable[[], Array]]:
    """Load what a contender needs once, whatever the case."""
    from pizero_ros.policy.bundle import Bundle

    bundle = Bundle.open(setup.bundle)
    if name in TORCH:
        return _torch_maker(name, bundle, setup)
    if name == 'plain':
        return _plain_maker(bundle)
    from pizero_ros.policy.runtime import Policy

    policy = Policy.load(bundle, 'cpu', setup.threads, variant=name)

    def make(case: Case) -> Callable[[], Array]:
        inputs, noise = inputs_of(bundle, case)
        policy.warm_up(case.cameras, case.tokens)
        return lambda: policy.infer(inputs, noise, case.steps).actions

    return make


def _plain_maker(bundle: Any) -> Callable[[Case], Callable[[], Array]]:
    """Run the reference graphs as a first script does: default sessions, arrays in and out."""
    import onnxruntime

    observe, denoise = (
        onnxruntime.InferenceSession(bundle.path / file, providers=['CPUExecutionProvider'])
        for file in ('observe.onnx', 'denoise.onnx')
    )
    names = [tensor.name for tensor in observe.get_outputs()]

    def make(case: Case) -> Callable[[], Array]:
        inputs, noise = inputs_of(bundle, case)
        seen = {
            'images': inputs.images,
            'tokens': inputs.tokens[None],
            'state': inputs.state[None],
        }

        def run() -> Array:
            cache = dict(zip(names, observe.run(None, seen), strict=True))
            x_t = noise[None]
            for k in range(case.steps, 0, -1):
                t = np.full(x_t.shape[:2], k / case.steps, np.float32)
                (velocity,) = denoise.run(None, {**cache, 'x_t': x_t, 't': t})
                x_t = x_t - np.float32(1 / case.steps) * velocity
            return x_t[0]  # type: ignore[no-any-return]

        return run

    return make


def _torch_maker(name: str, bundle: Any, setup: Setup) -> Callable[[Case], Callable[[], Array]]:
    """Build the torch model with the bundle's weights, eager or compiled."""
    import torch

    from pizero_ros.bench.flops import architecture_of
    from pizero_ros.model.flow_time import euler_grid
    from pizero_ros.model.pi0 import Pi0

    if setup.threads is not None:
        torch.set_num_threads(setup.threads)
    sizes = architecture_of(bundle.path, bundle.manifest.architecture)
    model = Pi0.random(sizes, setup.seed)
    observe, denoise = model.observe, model.denoise
    if name.startswith('compile'):
        if name == 'compile frozen':
            import torch._inductor.config

            torch._inductor.config.freezing = True
        # Two graphs, as our bundle has; with fixed sizes, which is the best that can be had.
        observe = torch.compile(observe, dynamic=False)
        denoise = torch.compile(denoise, dynamic=False)

    def make(case: Case) -> Callable[[], Array]:
        seen, start = conditioning(bundle, case, padded=name == 'eager padded')

        def run() -> Array:
            # As Pi0.sample does. Freezing needs no_grad; eager and compiled both like it.
            with torch.no_grad():
                cache = observe(seen)
                x_t = start
                dt = torch.tensor(-1.0 / case.steps)
                for at in euler_grid(case.steps):
                    t = torch.full(x_t.shape[:2], at)
                    x_t = x_t + dt * denoise(cache, x_t, t)
            actions: Array = x_t[0].numpy()
            return actions

        run()
        return run

    return make


def conditioning(bundle: Any, case: Case, *, padded: bool) -> tuple[Any, Any]:
    """Return what torch sees, and its noise.

    Args:
        bundle: The policy.
        case: How much it sees.
        padded: Fill up to all slots and the longest prompt, with blanks that are masked.
    """
    import torch
    from torch.nn import functional

    from pizero_ros.model.pi0 import Conditioning

    inputs, noise = inputs_of(bundle, case)
    images = torch.from_numpy(inputs.images)[None]
    tokens = torch.from_numpy(inputs.tokens)[None]
    state = torch.from_numpy(inputs.state)[None]
    start = torch.from_numpy(noise)[None]
    if not padded:
        return Conditioning(images, tokens, state), start
    model = bundle.manifest.model
    slots = len(model.slots) - case.cameras
    pads = model.prompt.max_tokens - case.tokens
    seen = Conditioning(
        images=functional.pad(images, (0, 0) * 3 + (0, slots)),
        tokens=functional.pad(tokens, (0, pads)),
        state=state,
        camera_mask=torch.arange(len(model.slots))[None] < case.cameras,
        token_mask=torch.arange(model.prompt.max_tokens)[None] < case.tokens,
    )
    return seen, start
