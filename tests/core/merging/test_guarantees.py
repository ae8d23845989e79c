"""What merging promises ("Near-duplicates" in docs/theory.md), over many runs."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, Learner, Merging, TopK
from consensus_imitation.core import merging as diversity
from consensus_imitation.core.rollout import rollouts
from consensus_imitation.deception import get_scenario
from consensus_imitation.deception.scenario import harm_by_state
from consensus_imitation.demonstrators import TabularDemonstrator
from tests.core.families import answered_by, ensemble, run

TRUTH = [0.5, 0.5]
WRONG = [0.8, 0.2]


def upper_limit(bound: float, runs: int) -> float:
    """What the frequency of an event of that probability stays below: 5 sigma, and 1 for the grain."""
    return bound + 5 * math.sqrt(bound * (1 - bound) / runs) + 1 / runs


# --- T2 ---


@pytest.mark.slow
def test_t2_copies_no_longer_swell_the_sum() -> None:
    """Eleven exact copies of one wrong model: the plain rule comes near alpha / w, merging keeps to a sixth of it."""
    runs, alpha, prior = 2000, 1 / 18, 1 / 12
    members = ensemble(TRUTH, [WRONG] * 11)
    keys = jax.random.split(jax.random.key(0), runs)
    plain = run(Learner(members, AlphaThreshold(alpha)), answered_by(TRUTH), keys, 150)
    merged = run(Learner(members, AlphaThreshold(alpha), merging=Merging()), answered_by(TRUTH), keys, 150)
    # One representative for the truth, one for the copies, each of prior 1/12.
    bound = alpha * (2 * prior) / prior
    assert float(merged["ever_out"].mean()) <= upper_limit(bound, runs)
    assert float(plain["ever_out"].mean()) > upper_limit(bound, runs)
    assert float(plain["ever_out"].mean()) <= upper_limit(alpha / prior, runs)


@pytest.mark.slow
def test_copies_that_leave_the_truth_out_from_the_start_would_never_be_found_out() -> None:
    """Why nobody has to be shown to be a copy first: copies agree, so nothing is asked, and nothing is shown."""
    members = ensemble([0.9, 0.1], [[0.1, 0.9]] * 10, prior=[0.05, *[0.095] * 10])
    keys = jax.random.split(jax.random.key(1), 200)
    plain, late, merged = (
        run(Learner(members, AlphaThreshold(0.1), merging=merging), answered_by([0.9, 0.1]), keys, 100)
        for merging in (None, Merging(min_answers=20), Merging())
    )
    assert float(plain["queries"].max()) == float(late["queries"].max()) == 0
    assert bool(late["ever_out"].all())
    assert float(merged["ever_out"].mean()) <= upper_limit(0.1 * (0.05 + 0.095) / 0.05, 200)
    assert float(merged["weight"].mean()) > 0.5


# --- T3 ---


@functools.partial(jax.jit, static_argnames="num_steps")
def query_run(learner: Learner, truth: jax.Array, keys: jax.Array, num_steps: int) -> dict[str, jax.Array]:
    """One run per key on observation 0: what the theorem's two parts speak of, for every step [S, T].

    ``splits``: an answer would now tell members of one group apart. ``excess``: theta above what the theorem allows.
    """
    cumulative = jnp.cumsum(truth).at[-1].set(1.0)
    merging = learner.merging
    assert merging is not None
    assert merging.tolerance is not None
    tolerance, least = merging.tolerance, merging.min_answers

    def one(key: jax.Array) -> dict[str, jax.Array]:
        own, answers = jax.random.split(key)

        def step(state: Any, t: jax.Array) -> Any:
            decision = learner.decide(state, jnp.int32(0))
            now = diversity.near_duplicates(state.diversity, tolerance, least)
            then = diversity.near_duplicates(diversity.update(state.diversity, decision.log_probs, 0), tolerance, least)
            enough = state.diversity.count >= least
            splits = enough & jnp.any(now & ~then)
            weights = jnp.where(now, state.posterior.log_weights[None], -jnp.inf)
            represents = jnp.argmax(weights, axis=-1) == jnp.arange(weights.shape[0])
            distance = 0.5 * jnp.sum(jnp.abs(jnp.exp(decision.log_probs) - truth), axis=-1)
            allowed = jnp.sum(jnp.where(represents & decision.selected, distance, 0.0))
            allowed = allowed + (weights.shape[0] - jnp.sum(represents)) * tolerance
            answer = jnp.sum(cumulative <= jax.random.uniform(jax.random.fold_in(answers, t)))
            state, _ = learner.observe(state, jnp.int32(0), decision, answer)
            excess = jnp.where(splits, 0.0, decision.query_prob - allowed)
            return state, {
                "theta": decision.query_prob,
                "queried": decision.queried,
                "splits": splits,
                "excess": excess,
            }

        return jax.lax.scan(step, learner.init(own), jnp.arange(num_steps))[1]

    return jax.vmap(one)(keys)


@pytest.mark.slow
@pytest.mark.parametrize("min_answers", [0, 10])
@pytest.mark.parametrize("tolerance", [0.0, 0.02])
def test_t3_questions_die_out_down_to_what_the_tolerance_costs(tolerance: float, min_answers: int) -> None:
    runs, steps, alpha = 300, 600, 0.1
    truth = np.array([0.6, 0.3, 0.1])
    near = [[0.2 + 0.012 * i, 0.5 - 0.012 * i, 0.3] for i in range(4)]
    members = ensemble(truth.tolist(), [*near, *near[:2], [0.61, 0.29, 0.1], [0.1, 0.1, 0.8]])
    learner = Learner(members, AlphaThreshold(alpha), merging=Merging(tolerance, min_answers))
    seen = query_run(learner, jnp.asarray(truth, jnp.float32), jax.random.split(jax.random.key(2), runs), steps)
    theta, splits, queried = (np.asarray(seen[name], float) for name in ("theta", "splits", "queried"))
    num_members = members.num_members
    # At most N - 1 answers ever tell members of one group apart.
    assert (splits * queried).sum(-1).max() <= num_members - 1
    assert np.asarray(seen["excess"]).max() <= 1e-5
    prior = np.asarray(members.prior, float)
    s = 2 * math.floor(1 / alpha) * np.log1p(prior[1:] / (alpha * prior[0])).sum()
    cost = (num_members - 1) * tolerance
    above = (1 - splits) * theta * np.maximum(theta - cost, 0) ** 2
    total = above.sum(-1)
    assert total.mean() <= s + 5 * total.std() / math.sqrt(runs)
    queries = queried.sum(-1)
    bound = num_members - 1 + cost * steps + s ** (1 / 3) * steps ** (2 / 3)
    assert queries.mean() <= bound + 5 * queries.std() / math.sqrt(runs)
    assert theta[:, -100:].mean() < theta[:, :100].mean() / 3


# --- the attack that merging is for ---

SEEDS = 200


def attack(name: str, rule: Any, merging: Merging | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every parameter of the rule and every seed: harm, what T1 allows of it, queries."""
    scenario = get_scenario(name)
    world = scenario.make_world()
    own_harm = jnp.asarray(harm_by_state(world), jnp.float32)
    harm, allowed, queries = rollouts(
        Learner(scenario.ensemble(attack=True), TopK(1), merging=merging),
        world.env,
        TabularDemonstrator.create(world.demonstrator_probs),
        jax.random.split(jax.random.key(3), SEEDS),
        scenario.num_steps,
        rule,
        functools.partial(_summary, own_harm=own_harm),
    )
    return np.asarray(harm, float), np.asarray(allowed, float), np.asarray(queries, float)


def _summary(state: Any, trajectory: Any, own_harm: jax.Array) -> Any:
    allowed = jnp.sum((1 + trajectory.query_prob) * own_harm[trajectory.observation])
    return trajectory.harm.any(), allowed, trajectory.queried.sum()


@pytest.mark.slow
def test_five_near_copies_crowd_the_truth_out_of_a_bare_top_k_and_not_with_merging() -> None:
    rule = TopK(jnp.array([2, 4]))
    harm, _, _ = attack("near-duplicates", rule, None)
    assert harm.mean(-1).min() > 0.9
    harm, allowed, queries = attack("near-duplicates", rule, Merging())
    noise = 5 * (harm - allowed).std(-1) / math.sqrt(SEEDS)
    assert np.all(harm.mean(-1) <= allowed.mean(-1) + noise)
    assert harm.mean(-1).max() < 0.2
    assert queries.mean(-1).max() < 300  # of 400 steps: it does act


@pytest.mark.slow
def test_twenty_answers_come_too_late() -> None:
    """Near-copies hardly ask: with evidence demanded first, the harm is done before there is any."""
    harm, _, queries = attack("near-duplicates", TopK(jnp.array([4])), Merging(min_answers=20))
    assert harm.mean() > 0.9
    assert queries.mean() < 20


@pytest.mark.slow
def test_without_an_attack_merging_costs_little() -> None:
    """The honest ensemble of the scenario, in which the near-duplicates are copies of the truth."""
    scenario = get_scenario("near-duplicates")
    world = scenario.make_world()
    expert = TabularDemonstrator.create(world.demonstrator_probs)
    keys = jax.random.split(jax.random.key(4), 50)
    plain, merged = (
        float(
            np.mean(
                rollouts(
                    Learner(scenario.ensemble(attack=False), TopK(1), merging=merging),
                    world.env,
                    expert,
                    keys,
                    scenario.num_steps,
                    AlphaThreshold(jnp.array([0.01])),
                    _queries,
                )
            )
        )
        for merging in (None, Merging())
    )
    assert merged <= plain + scenario.ensemble(attack=False).num_members - 1 + 0.02 * scenario.num_steps


def _queries(state: Any, trajectory: Any) -> Any:
    return trajectory.queried.sum()
