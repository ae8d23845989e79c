"""What members withhold, apart from what they disagree about: two parts of the probability of asking."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Learner, TopK, ensembles
from consensus_imitation.core.rollout import rollout, start
from consensus_imitation.core.withholding import withheld
from consensus_imitation.demonstrators import TabularDemonstrator
from consensus_imitation.ensembles import Carry, Context, PureEnsemble, Training
from consensus_imitation.envs import make

N, A = 4, 3


class Tables(PureEnsemble):
    """Tables [N, S, A] whose rows may sum to less than one."""

    probs: Any

    @property
    def num_members(self) -> int:
        return self.probs.shape[0]

    @property
    def num_actions(self) -> int:
        return self.probs.shape[2]

    @property
    def prior(self) -> jax.Array:
        return jnp.full(self.num_members, 1 / self.num_members)

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        return jnp.log(self.probs[:, observation])


def members(seed: int) -> np.ndarray:
    """[N, A], which withhold anything from nothing to half."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(A), N) * rng.uniform(0.5, 1.0, (N, 1))


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_two_parts_are_theta_and_each_is_what_it_says(k: int) -> None:
    """Against NumPy in float64: 1 - the least mass, and the least mass - the mass of the minimum."""
    for seed in range(20):
        probs = members(seed)
        learner = Learner(ensembles.callables([lambda _, row=row: row for row in probs], A), TopK(k))
        imitator = ConsensusImitator(learner.ensemble, lambda _: 0, selection=TopK(k), seed=seed)
        decision = imitator.decide(0)
        chosen = probs[decision.selected]
        least = chosen.sum(-1).min()
        assert len(chosen) in (k, N)  # all are tied at first
        assert decision.withheld == pytest.approx(1 - least, abs=1e-6)
        rest = decision.query_prob - decision.withheld
        assert rest == pytest.approx(least - chosen.min(axis=0).sum(), abs=1e-6)


def test_members_that_agree_only_withhold_and_members_without_caution_only_disagree() -> None:
    agreed = np.outer([1.0, 0.8, 0.9, 0.6], [0.5, 0.3, 0.2])
    everyone = np.ones(N, bool)
    assert withheld(np.log(agreed), everyone, 0.4) == pytest.approx(0.4)
    frank = np.random.default_rng(0).dirichlet(np.ones(A), N).astype(np.float32)
    assert withheld(np.log(frank), everyone, 0.7) == 0
    # Who has no say withholds nothing from anybody, and an unusable member is not a cautious one.
    assert withheld(np.log(agreed), np.array([True, False, False, False]), 0.0) == 0
    broken = np.where(np.arange(N)[:, None] == 3, -np.inf, np.log(agreed))
    assert withheld(broken, everyone, 1.0) == pytest.approx(0.2)


@pytest.mark.filterwarnings("ignore::consensus_imitation.errors.ConsensusWarning")
def test_networks_alike_ask_by_caution_alone() -> None:
    """One network: whatever it asks, it asks because of c / (c + answers)."""
    one = ensembles.mlp((2,), 2, num_members=1, hidden=(4,), training=Training(caution=3.0))
    imitator = ConsensusImitator(one, lambda _: 1, selection=TopK(1), seed=0)
    for answers in range(4):
        decision = imitator.decide(np.ones(2, np.float32))
        assert decision.withheld == pytest.approx(min(0.999, 3 / (3 + answers)), abs=1e-5)
        assert decision.withheld == decision.query_prob
        while not decision.queried:
            decision = imitator.decide(np.ones(2, np.float32))
        imitator.answer(decision, 1)


def test_in_a_batch_there_is_one_for_each_environment() -> None:
    table = np.stack([members(0), members(1)], axis=1)  # [N, 2 observations, A]
    imitator = ConsensusImitator(Tables(jnp.asarray(table)), selection=TopK(N), seed=0, num_envs=2)
    parts = imitator.decide(np.array([0, 1])).withheld
    np.testing.assert_allclose(parts, 1 - table.sum(-1).min(axis=0), atol=1e-6)


def test_a_rollout_has_it_at_each_step() -> None:
    world = make("ring")
    table = np.stack([0.9 * world.demonstrator_probs, 0.7 * world.demonstrator_probs])
    learner = Learner(Tables(jnp.asarray(table)), TopK(2))
    expert = TabularDemonstrator.create(world.demonstrator_probs)
    _, trajectory = rollout(learner, world.env, expert, start(learner, world.env, jax.random.key(0)), 30)
    np.testing.assert_allclose(trajectory.withheld, 0.3, atol=1e-5)
    np.testing.assert_allclose(trajectory.query_prob, 0.3, atol=1e-5)
    assert isinstance(trajectory.withheld, jnp.ndarray)
