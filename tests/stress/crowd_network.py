"""64 environments that share one imitator, and a network between it and its demonstrators that does all it can.

    python -m tests.stress.crowd_network --queries 100000
    python -m tests.stress.crowd_network --queries 100000 --way tell --journal /tmp/run --group 100

Every answer is computed from the question it belongs to, so that one which reaches another question is found out. One
demonstrator never answers: the others have to go on.
"""

import argparse
import asyncio
import dataclasses
import heapq
import itertools
import json
import random
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation import ConsensusImitator, Query, TopK, ensembles
from consensus_imitation.demonstrators import Patience
from consensus_imitation.errors import InvalidAnswerError
from consensus_imitation.journal.directory import Journal
from tests.imitator.probe import crash

ENVS, STUCK, N, A, SCENES = 64, 0, 4, 32, 16
S = ENVS * SCENES

#: [N, S, A]; members that agree on little: most steps are queries.
PROBS = 0.2 / A + 0.8 * np.random.default_rng(5).dirichlet(np.full(A, 0.2), (N, S))


def observation(env: int, step: int) -> int:
    """What an environment shows: no two of them ever show the same."""
    return env + ENVS * (step % SCENES)


def code(env: int, step: int, seen: int) -> int:
    """The answer to a question, and hardly to another."""
    return zlib.crc32(f"{env} {step} {seen}".encode()) % A


@dataclass
class Figures:
    """What happened.

    Attributes:
        way: how answers are given.
        queries: that were answered.
        crossed: answers that were taken for another question, or though they named none that was posed.
        repeated: answers that were taken for a repeat, and changed nothing.
        refused: answers that were refused, by what was wrong with them and by the error.
        resent: answers that were lost, and sent again; by ``act_async`` questions that were asked again.
        restarts: times that the run was taken up again.
        steps: of each environment.
        error: nats by which the log-weights are off.
        seconds: in all.
    """

    way: str
    queries: int = 0
    crossed: int = 0
    repeated: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    resent: int = 0
    restarts: int = 0
    steps: list[int] = field(default_factory=list)
    error: float = 0.0
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """For people."""
        others = [steps for env, steps in enumerate(self.steps) if env != STUCK]
        return [
            f"{self.way}: {self.queries} queries of {ENVS} environments answered in {self.seconds:.0f} s, "
            f"{self.queries / self.seconds:.0f} a second",
            f"  cross-delivered: {self.crossed}",
            f"  repeats taken without effect: {self.repeated}; lost and sent again: {self.resent}; "
            f"times taken up again: {self.restarts}",
            *(f"  refused, {what}: {count}" for what, count in sorted(self.refused.items())),
            f"  steps of the environment whose demonstrator is stuck: {self.steps[STUCK]}; "
            f"of the others: {min(others)} to {max(others)}",
            f"  log-weights off by {self.error:.2g} nats",
        ]


class Account:
    """What the posterior has to be, in float64: every answer once, scored by the tables."""

    def __init__(self) -> None:
        self._tables = np.log(PROBS / PROBS.sum(-1, keepdims=True)).astype(np.float32).astype(np.float64)
        self._total = np.zeros(N)

    def add(self, seen: int, action: int) -> None:
        """An answer."""
        self._total += self._tables[:, seen, action]

    def error(self, imitator: ConsensusImitator) -> float:
        """Nats by which the log-weights are off."""
        posterior = imitator.state.posterior
        found = np.asarray(posterior.log_weights, np.float64) + np.asarray(posterior.residual, np.float64)
        return float(np.abs(found - (self._total - self._total.max())).max())


# --- ask and tell, over the network ---


@dataclass(order=True)
class Message:
    """An answer on its way.

    Attributes:
        due: when it arrives.
        number: of the message.
        about: the question that it was computed from.
        fields: what it says that it is about.
        action: what it says.
        wrong: what the network did to it; "" for nothing, "lost" if it never arrives.
    """

    due: int
    number: int
    about: Query = field(compare=False)
    fields: dict[str, Any] = field(compare=False)
    action: int = field(compare=False)
    wrong: str = field(compare=False, default="")


class Network:
    """Delays, reorders, duplicates, loses and corrupts answers. What is lost is sent again.

    Args:
        seed: of all of it.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._number = itertools.count()
        self._under_way: list[Message] = []
        self._posed: list[Query] = []
        self.now = 0

    def ask(self, query: Query, seen: int) -> None:
        """Put a question to its demonstrator."""
        self._posed = [*self._posed[-200:], query]
        if query.env == STUCK:
            return
        action = code(query.env or 0, query.step, seen)
        self._send(query, action)
        for delay in (3, 30, 3000):
            if self._rng.random() < 0.07:
                self._send(query, action, delay=delay)
        if self._rng.random() < 0.1:
            self._send(query, (action + self._rng.randrange(1, A)) % A, delay=500, wrong="another answer, later")
        if self._rng.random() < 0.3:
            self._corrupt(query, action)

    def arrived(self) -> list[Message]:
        """What arrives until now; lost answers are sent again."""
        self.now += 1
        found: list[Message] = []
        while self._under_way and self._under_way[0].due <= self.now:
            found.append(heapq.heappop(self._under_way))
        for message in found:
            if message.wrong == "lost":
                self._send(message.about, message.action)
        return found

    def _send(self, query: Query, action: int, delay: int = 0, wrong: str = "", **changes: Any) -> None:
        due = self.now + 1 + delay + int(self._rng.expovariate(1 / 3)) + (delay and self._rng.randrange(delay))
        if not wrong and not delay and self._rng.random() < 0.1:
            due, wrong = due + 10, "lost"
        fields = json.loads(json.dumps({**dataclasses.asdict(query), **changes}))
        heapq.heappush(self._under_way, Message(due, next(self._number), query, fields, action, wrong))

    def _corrupt(self, query: Query, action: int) -> None:
        """Send one that claims to be about something else in one respect, or in all but one."""
        other = dataclasses.asdict(self._rng.choice(self._posed))
        own = dataclasses.asdict(query)
        name = self._rng.choice(["run", "id", "observation", "env", "step", "all but the observation", "action"])
        if name == "action":
            self._send(query, self._rng.choice([-1, A, 2**31]), wrong="no action")
        elif name == "run":
            self._send(query, action, wrong="another run", run=f"{self._rng.getrandbits(128):032x}")
        elif name.startswith("all"):
            if other["observation"] != own["observation"]:
                self._send(query, action, wrong=name, **{**other, "observation": own["observation"]})
        elif other[name] != own[name]:
            self._send(query, action, wrong=f"another {name}", **{name: other[name]})
        else:
            self._send(query, action, wrong="never posed", id=query.id + 10**6)


def tell(queries: int, journal: Journal | None = None, restarts: int = 0, seed: int = 0) -> Figures:
    """Answers by ``answer(query, action)``.

    Args:
        queries: until so many are answered.
        journal: where to write.
        restarts: how often the run is broken off without a word, and taken up again; needs a journal.
        seed: of everything.
    """
    figures, account, network = Figures("ask and tell"), Account(), Network(seed)
    members = ensembles.tabular(PROBS)
    imitator = ConsensusImitator(members, selection=TopK(N), seed=seed, num_envs=ENVS, journal=journal)
    began, steps, waiting = time.perf_counter(), [0] * ENVS, set[int]()
    breaks = [queries * (i + 1) // (restarts + 1) for i in range(restarts)]

    def deliver(message: Message) -> None:
        before = imitator.num_queries
        try:
            closed = imitator.answer(Query(**message.fields), message.action)
        except InvalidAnswerError as error:
            figures.refused[f"{message.wrong or 'long after'}: {type(error).__name__}"] += 1
            if not message.wrong and message.about.env in waiting and message.about.step == steps[message.about.env]:
                raise RuntimeError(f"a good answer to {message.about} was refused") from error
            closed = None
        if closed is None:
            if imitator.num_queries != before:
                raise RuntimeError("an answer that was refused has taught something")
            return
        about = message.about
        seen = observation(about.env or 0, about.step)
        right = closed.query == about and closed.action == code(about.env or 0, about.step, seen)
        figures.crossed += bool(message.wrong) or not right
        if imitator.num_queries == before:
            figures.repeated += 1
            return
        figures.queries += 1
        account.add(seen, closed.action)
        waiting.discard(about.env or 0)
        steps[about.env or 0] += 1

    # One answer that reached another question is enough: what comes after it is of no use.
    while not figures.crossed and (figures.queries < queries or len(waiting) > 1):
        for env in range(ENVS):
            if env in waiting or figures.queries >= queries:
                continue
            decision = imitator.decide(observation(env, steps[env]), env=env)
            if decision.query is None:
                steps[env] += 1
            else:
                waiting.add(env)
                network.ask(decision.query, observation(env, steps[env]))
        for message in network.arrived():
            if message.wrong == "lost":
                figures.resent += 1
            else:
                deliver(message)
        if breaks and figures.queries >= breaks[0] and journal is not None:
            breaks.pop(0)
            imitator = _taken_up(imitator, journal, members)
            figures.restarts += 1
    for _ in range(10_000):  # what is under way still
        for message in network.arrived():
            if message.wrong != "lost" and not figures.crossed:
                deliver(message)
    return _finished(figures, imitator, account, steps, began)


def _taken_up(imitator: ConsensusImitator, journal: Journal, members: Any) -> ConsensusImitator:
    """The same run, after its process has ended without a word."""
    waited = [decision.query for decision in imitator.pending]
    crash(imitator)
    again = ConsensusImitator.resume(journal.path, members, selection=TopK(N))
    if [decision.query for decision in again.pending] != waited:
        raise RuntimeError("other queries wait than before")
    return again


def _finished(
    figures: Figures, imitator: ConsensusImitator, account: Account, steps: list[int], began: float
) -> Figures:
    figures.seconds = time.perf_counter() - began
    figures.steps, figures.error = steps, account.error(imitator)
    counted = np.asarray(imitator.state.stream.step).tolist()
    if figures.crossed:
        return figures
    if counted != steps or imitator.num_queries != figures.queries:
        raise RuntimeError(f"{imitator.num_queries} answers, steps {counted}; expected {figures.queries}, {steps}")
    if [decision.env for decision in imitator.pending] not in ([], [STUCK]):
        raise RuntimeError("queries wait that were answered")
    imitator.close()
    return figures


# --- act_async, in one event loop ---


class Remote:
    """The demonstrator of one environment, far away: slow, and now and then its answer is lost, or the connection.

    Args:
        env: of which environment.
        figures: where it counts what was asked again.
        seed: of its moods.
    """

    def __init__(self, env: int, figures: Figures, seed: int) -> None:
        self._env, self._figures, self._rng = env, figures, random.Random(seed)
        self.step = 0
        self.asked: list[int] = []

    async def __call__(self, seen: int) -> int:
        """The code of the question, sooner or later."""
        self.asked.append(seen)
        if self._env == STUCK:
            await asyncio.Event().wait()
        for _ in range(self._rng.randrange(4)):
            await asyncio.sleep(self._rng.choice([0, 0, 0.001]))
        mood = self._rng.random()
        if mood < 0.01:
            self._figures.resent += 1
            await asyncio.sleep(30)
            return (code(self._env, self.step, seen) + 1) % A  # too late: to be thrown away
        if mood < 0.03:
            self._figures.resent += 1
            raise ConnectionError("lost")
        return code(self._env, self.step, seen)


def act(queries: int, seed: int = 0, timeout: float = 0.25) -> Figures:
    """Answers to ``act_async``: one task for each environment.

    Args:
        queries: until so many are answered.
        seed: of everything.
        timeout: seconds after which a question is asked again.
    """
    figures, account = Figures("act_async"), Account()
    remotes = [Remote(env, figures, seed + env) for env in range(ENVS)]
    imitator = ConsensusImitator(
        ensembles.tabular(PROBS), remotes, selection=TopK(N), seed=seed, num_envs=ENVS,
        patience=Patience(timeout=timeout, then="block"),
    )  # fmt: skip
    began = time.perf_counter()

    async def live(env: int) -> None:
        remote = remotes[env]
        while figures.queries < queries and not figures.crossed:
            seen = observation(env, remote.step)
            remote.asked.clear()
            closed = await imitator.act_async(seen, env=env)
            if closed.queried:
                figures.queries += 1
                account.add(seen, closed.action)
                right = closed.action == code(env, remote.step, seen) and set(remote.asked) == {seen}
                figures.crossed += not (right and closed.env == env and closed.step == remote.step)
            elif remote.asked:
                raise RuntimeError("somebody was asked without a query")
            remote.step += 1
            await asyncio.sleep(0)

    async def crowd() -> None:
        stuck, *others = (asyncio.create_task(live(env)) for env in range(ENVS))
        await asyncio.gather(*others)
        if not stuck.done() and [decision.env for decision in imitator.pending] != [STUCK]:
            raise RuntimeError("the stuck environment does not wait")
        stuck.cancel()
        await asyncio.wait([stuck])

    asyncio.run(crowd())
    return _finished(figures, imitator, account, [remote.step for remote in remotes], began)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=100_000, help="to be answered, in each way")
    parser.add_argument("--way", choices=["both", "tell", "act"], default="both")
    parser.add_argument("--journal", type=Path, help="directory to write the run to (--way tell)")
    parser.add_argument("--group", type=int, default=100, help="calls per transaction")
    parser.add_argument("--restarts", type=int, default=0, help="times to break off and take up again; with a journal")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    journal = None if options.journal is None else Journal(options.journal, group=options.group)
    ways: dict[str, Callable[[], Figures]] = {
        "tell": lambda: tell(options.queries, journal, options.restarts, options.seed),
        "act": lambda: act(options.queries, options.seed),
    }
    bad = 0
    for name, way in ways.items():
        if options.way in ("both", name):
            figures = way()
            print("\n".join(figures.lines()), flush=True)  # noqa: T201
            bad += figures.crossed + (not figures.error < 1e-3)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
