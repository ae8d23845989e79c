"""A long run of one imitator: nothing grows, nothing is compiled again, and the posterior stays what it should be.

python -m tests.stress.crowd_soak --steps 1000000
python -m tests.stress.crowd_soak --steps 100000 --envs 8
python -m tests.stress.crowd_soak --steps 100000 --journal /tmp/run --group 100
python -m tests.stress.crowd_soak --steps 20000 --trace
"""

import argparse
import gc
import os
import resource
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from consensus_imitation import ConsensusImitator, Decision, TopK, ensembles
from consensus_imitation.imitator import kernels as compiled
from consensus_imitation.journal.directory import Journal

from .crowd_world import A, N, S

#: Steps until everything is compiled, and every bounded memory full: 1024 closed queries above all.
WARM_UP = 5_000

#: What a run may have more at its end than after the warm-up, whatever its length: bytes of resident memory, objects
#: that the garbage collector and JAX know, and bytes of Python objects; and of these more for each step. (One reference
#: kept for each step is 8 bytes.)
RSS_SLACK, OBJECTS_SLACK, PYTHON_SLACK, BYTES_PER_STEP = 24 << 20, 200, 32 << 10, 2.0

#: Nats by which the log-weights may be off.
TOLERANCE = 1e-3

#: Members that have much in common: about every fourth step is a query.
PROBS = 0.6 * np.random.default_rng(0).dirichlet(np.ones(A), S) + 0.4 * np.random.default_rng(1).dirichlet(
    np.ones(A), (N, S)
)

#: Functions of `compiled` that an imitator calls.
COMPILED = (
    *("decide", "decide_batch", "observe", "observe_batch"),
    *("numbers", "take_row", "put_row", "margins", "weights"),
)


@dataclass
class Figures:
    """What a run showed.

    Attributes:
        steps: after the warm-up.
        queries: of the whole run.
        seconds: for the steps after the warm-up.
        compiled: programs that were compiled after the warm-up.
        rss: bytes of resident memory, after the warm-up and then ten times.
        objects: that the garbage collector and JAX know, likewise.
        python: bytes of Python objects, if they were traced, likewise.
        smallest: the lightest member's log-weight, by the account.
        error: nats by which the log-weights are off.
    """

    steps: int
    queries: int = 0
    seconds: float = 0.0
    compiled: int = 0
    rss: list[int] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)
    python: list[int] = field(default_factory=list)
    smallest: float = 0.0
    error: float = 0.0

    @property
    def grown(self) -> int:
        """Bytes of resident memory, after the warm-up."""
        return self.rss[-1] - self.rss[0]

    @property
    def left_behind(self) -> int:
        """Bytes of Python objects that the second half of the run left behind, if they were traced."""
        return self.python[-1] - self.python[len(self.python) // 2] if self.python else 0

    def complaints(self) -> list[str]:
        """What is not as it should be."""
        found: list[str] = []
        if self.compiled:
            found.append(f"{self.compiled} programs were compiled after the warm-up")
        if self.grown > RSS_SLACK:
            found.append(f"resident memory grew by {self.grown / 2**20:.1f} MiB")
        if self.objects[-1] - self.objects[0] > OBJECTS_SLACK:
            found.append(f"{self.objects[-1] - self.objects[0]} objects are left behind")
        if self.left_behind > PYTHON_SLACK + BYTES_PER_STEP * self.steps / 2:
            found.append(f"{self.left_behind / self.steps * 2:.1f} bytes are left behind by each step")
        if not self.error <= TOLERANCE:
            found.append(f"log-weights are off by {self.error:.2g} nats")
        return found

    def lines(self) -> list[str]:
        """For people."""
        rss = ", ".join(f"{value / 2**20:.1f}" for value in self.rss)
        found = [
            f"{self.steps} steps after {WARM_UP} to warm up, {self.queries} queries, "
            f"{self.seconds / self.steps * 1e6:.0f} us per step",
            f"resident memory [MiB]: {rss}",
            f"objects: {', '.join(map(str, self.objects))}",
            f"programs compiled after the warm-up: {self.compiled}",
            f"log-weights, down to {self.smallest:.6g} nats, off by {self.error:.2g}",
        ]
        if self.python:
            found.append(f"Python objects left behind by the second half: {self.left_behind} bytes")
        return [*found, *(f"WRONG: {line}" for line in self.complaints())]


@dataclass
class World:
    """Observations in a row, a demonstrator that draws from the first member, and a float64 account of its answers.

    Attributes:
        counts: int [S, A], answers given.
    """

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    counts: np.ndarray = field(default_factory=lambda: np.zeros((S, A), np.int64))

    def answer(self, observation: int) -> int:
        """Of the demonstrator."""
        action = min(int(np.searchsorted(np.cumsum(PROBS[0, observation]), self.rng.random())), A - 1)
        self.counts[observation, action] += 1
        return action

    def log_weights(self) -> np.ndarray:
        """What the posterior has to be: [N], the heaviest 0."""
        # As the members have them, in float32, summed up in float64.
        tables = np.log(PROBS).astype(np.float32).astype(np.float64)
        total = np.einsum("sa,nsa->n", self.counts, tables)
        return total - total.max()


def programs() -> int:
    """How many programs the shell's functions are compiled to."""
    return sum(getattr(compiled, name)._cache_size() for name in COMPILED)


def resident() -> int:
    """Bytes of this process's memory that lie in RAM; where that is not told, the most that ever did."""
    gc.collect()
    told = Path("/proc/self/statm")
    if told.exists():
        return int(told.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def traced(wanted: bool) -> Iterator[None]:
    if wanted:
        tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def traced_size() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def act(imitator: ConsensusImitator, world: World, t: int) -> Decision:
    """One step: of the only environment; or of one of them, that is answered by hand if it is asked."""
    observation = t % S
    if imitator.num_envs is None:
        return imitator.act(observation)
    decision = imitator.decide(observation, env=t % imitator.num_envs)
    if decision.query is None:
        return decision
    return imitator.answer(decision.query, world.answer(observation))


def soak(steps: int, num_envs: int | None = None, journal: Journal | None = None, trace: bool = False) -> Figures:
    """Run, and measure.

    Args:
        steps: after the warm-up.
        num_envs: environments that go on by themselves; None for one, and `act`.
        journal: where to write.
        trace: Python objects, too (slow).
    """
    world, figures = World(), Figures(steps)
    members = ensembles.tabular(PROBS)
    asked: dict[str, Any] = {} if num_envs else {"demonstrator": world.answer}
    imitator = ConsensusImitator(members, selection=TopK(N), seed=0, num_envs=num_envs, journal=journal, **asked)
    with traced(trace), imitator:
        for t in range(WARM_UP):
            act(imitator, world, t)
        before, began = programs(), time.perf_counter()
        marks = [round(steps * i / 10) for i in range(11)]
        for t in range(steps + 1):
            if t == marks[len(figures.rss)]:
                figures.rss.append(resident())
                figures.objects.append(len(gc.get_objects()) + len(jax.live_arrays()))
                if trace:
                    figures.python.append(traced_size())
            if t < steps:
                act(imitator, world, WARM_UP + t)
        figures.seconds = time.perf_counter() - began
        figures.compiled = programs() - before
        figures.queries = imitator.num_queries
        if figures.queries != world.counts.sum():
            raise RuntimeError(f"{world.counts.sum()} answers were given, {figures.queries} are counted")
        posterior = imitator.state.posterior
        found = np.asarray(posterior.log_weights, np.float64) + np.asarray(posterior.residual, np.float64)
        expected = world.log_weights()
        figures.smallest, figures.error = float(expected.min()), float(np.abs(found - expected).max())
    return figures


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--envs", type=int, help="environments that go on by themselves")
    parser.add_argument("--journal", type=Path, help="directory to write the run to")
    parser.add_argument("--group", type=int, default=100, help="calls per transaction")
    parser.add_argument("--trace", action="store_true", help="trace Python objects, too")
    options = parser.parse_args(arguments)
    journal = None if options.journal is None else Journal(options.journal, group=options.group)
    figures = soak(options.steps, options.envs, journal, options.trace)
    print("\n".join(figures.lines()))  # noqa: T201
    return int(bool(figures.complaints()))


if __name__ == "__main__":
    sys.exit(main())
