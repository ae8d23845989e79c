"""Runs over any action space that keep a journal: a script of everything that can happen, done step by step."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import Journal, TopK
from consensus_imitation.errors import ConsensusWarning
from consensus_imitation.imitator import SamplingImitator

from .test_imitator import ENSEMBLE, RULE, expert, observations

B = 3
SEEN = observations(200)


def bits(imitator: SamplingImitator) -> list[bytes]:
    """All of its state, and what is counted beside it."""

    def data(leaf: Any) -> Any:
        return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    counted = (imitator.num_steps, imitator.num_queries, imitator.alarms, [one.query for one in imitator.pending])
    return [np.asarray(data(leaf)).tobytes() for leaf in jax.tree.leaves(imitator.state)] + [repr(counted).encode()]


def told(decision: Any) -> Any:
    """All that a decision says, to be compared bit for bit."""
    if decision is None:
        return None
    action = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(decision.action)]
    arrays = [getattr(decision, name).tobytes() for name in ("selected", "invalid", "log_densities")]
    said = (decision.queried, decision.dissenter, decision.step, decision.rule_fault, decision.env, decision.alarms)
    # The name of a run is random.
    query = None if decision.query is None else (decision.query.id, decision.query.observation, decision.query.env)
    return action, arrays, np.float64(decision.query_prob_estimate).tobytes(), said, query


def answer_latest(imitator: SamplingImitator) -> Any:
    """Answer what was asked last."""
    waiting = imitator.pending
    return told(imitator.answer(waiting[-1], expert(SEEN[waiting[-1].step]))) if waiting else None


def withdraw_first(imitator: SamplingImitator) -> Any:
    if imitator.pending:
        imitator.withdraw(imitator.pending[0])


def astonish(imitator: SamplingImitator) -> Any:
    """An answer that no member explains, which is alarming."""
    if not imitator.pending:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConsensusWarning)
        return told(imitator.answer(imitator.pending[-1].query, [5.0, 0.0]))


def decide(t: int, env: int | None = None) -> Callable[[SamplingImitator], Any]:
    def call(imitator: SamplingImitator) -> Any:
        if any(one.env == env for one in imitator.pending):
            return None
        return told(imitator.decide(SEEN[t], env))

    return call


def act(t: int, env: int | None = None) -> Callable[[SamplingImitator], Any]:
    def call(imitator: SamplingImitator) -> Any:
        if any(one.env == env for one in imitator.pending):
            return None
        return told(imitator.act(SEEN[t], env))

    return call


def script(num_envs: int | None) -> list[Callable[[SamplingImitator], Any]]:
    """Acts, questions that wait, answers, withdrawals, an alarm and its end; every entry one call at most."""
    envs = [None] if num_envs is None else list(range(num_envs))
    calls: list[Callable[[SamplingImitator], Any]] = []
    for t in range(8):
        calls += [decide(t, env) for env in envs]
        calls += [answer_latest, withdraw_first] if t % 3 == 1 else [answer_latest] * len(envs)
    calls += [decide(9, envs[0]), astonish, *(decide(10, env) for env in envs), answer_latest]
    calls += [SamplingImitator.clear_alarm, *(decide(11, env) for env in envs), *[answer_latest] * len(envs)]
    return calls


def make(journal: Any, num_envs: int | None = None, demonstrator: Any = expert) -> SamplingImitator:
    return SamplingImitator(ENSEMBLE, demonstrator, selection=RULE, seed=4, num_envs=num_envs, journal=journal)


def again(path: Path, demonstrator: Any = expert, **changes: Any) -> SamplingImitator:
    options: dict[str, Any] = {"ensemble": ENSEMBLE, "selection": RULE} | changes
    return SamplingImitator.resume(path, options.pop("ensemble"), demonstrator, **options)


def kept(
    path: Path, num_envs: int | None, copies: Path | None = None, **settings: Any
) -> tuple[list[Any], list[list[bytes]]]:
    """The whole script with a journal: what each call said, and the bits after it; a copy of the directory each."""
    imitator = make(Journal(path, **settings), num_envs)
    said: list[Any] = []
    after = [bits(imitator)]
    if copies is not None:
        shutil.copytree(path, copies / "0")
    for number, call in enumerate(script(num_envs), 1):
        said.append(call(imitator))
        after.append(bits(imitator))
        if copies is not None:
            shutil.copytree(path, copies / str(number))
    imitator.close()
    return said, after


__all__ = ["TopK", "act", "again", "bits", "kept", "make", "script", "told"]
