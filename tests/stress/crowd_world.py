"""A small world for tests with many queries, and a NumPy oracle in float64 of what is learned from them."""

import dataclasses
import json
from typing import Any

import numpy as np

from consensus_imitation import ConsensusImitator, Decision, Query, TopK, ensembles

S, N, A = 7, 4, 3

#: [N, S, A]; no zeros, so that no answer is impossible.
PROBS = 0.02 / A + 0.98 * np.random.default_rng(7).dirichlet(np.ones(A), (N, S))


def members(probs: np.ndarray = PROBS) -> ensembles.Tabular:
    return ensembles.tabular(probs)


def python_members(probs: np.ndarray = PROBS) -> ensembles.Callables:
    return ensembles.callables([lambda observation, n=n: probs[n, int(observation)] for n in range(len(probs))], A)


def make(num_envs: int | None = None, demonstrator: Any = None, seed: int = 3, **more: Any) -> ConsensusImitator:
    return ConsensusImitator(members(), demonstrator, selection=TopK(2), seed=seed, num_envs=num_envs, **more)


def again(run_dir: Any, demonstrator: Any = None, **more: Any) -> ConsensusImitator:
    return ConsensusImitator.resume(run_dir, members(), demonstrator, selection=TopK(2), **more)


def asked(imitator: ConsensusImitator, observation: Any = 1, env: int | None = None) -> Decision:
    """Steps until one is a query; its decision, which waits."""
    for _ in range(200):
        decision = imitator.decide(observation, env=env)
        if np.any(decision.queried):
            return decision
    raise RuntimeError("nothing was asked in 200 steps")


def query_of(decision: Decision) -> Query:
    assert decision.query is not None
    return decision.query


def sent(query: Query, **changes: Any) -> Query:
    """The query as it comes back from afar, with some fields changed on the way."""
    return Query(**{**json.loads(json.dumps(dataclasses.asdict(query))), **changes})


def log_posterior(log_likelihoods: list[np.ndarray], num_members: int = N) -> np.ndarray:
    """Log-weights [N] relative to the heaviest, in float64, after answers that the members had called so likely."""
    total = np.sum([np.zeros(num_members), *log_likelihoods], axis=0, dtype=np.float64)
    return total - total.max()
