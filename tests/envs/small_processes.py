"""Tables in NumPy, and processes whose every trajectory can be enumerated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from consensus_imitation.envs import Outcome, TabularEnv, compile_mdp


class Tables(NamedTuple):
    """NumPy copies of an environment's arrays."""

    next_state: np.ndarray
    probs: np.ndarray
    reward: np.ndarray
    harm: np.ndarray
    terminal: np.ndarray


def tables(env: TabularEnv) -> Tables:
    arrays = (env.next_state, env.outcome_probs, env.reward, env.harm, env.terminal)
    return Tables(*(np.asarray(array) for array in arrays))


def random_mdp(seed: int, horizon: int | None) -> TabularEnv:
    """Four states (the last one terminal), two actions, two outcomes, two starts, harm here and there."""
    rng = np.random.default_rng(seed)
    law = {}
    for state in range(3):
        for action in range(2):
            p = float(rng.uniform(0.2, 0.8))
            after = rng.choice(4, size=2, replace=False)
            law[state, action] = [
                Outcome(q, int(s), float(rng.normal()), bool(rng.random() < 0.4))
                for q, s in zip((p, 1.0 - p), after, strict=True)
            ]
    env, states = compile_mdp("random", 2, {0: 0.75, 1: 0.25}, lambda s, a: law[s, a], lambda s: s == 3, horizon)
    assert len(states) == 4
    return env
