"""Members that withhold: what they do not say is asked about, and is no evidence ("Members that withhold")."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import (
    AlphaThreshold,
    ConsensusImitator,
    Learner,
    Merging,
    MisspecificationAlarm,
    Reweighting,
    TopK,
    ensembles,
)
from consensus_imitation.core import merging, posterior
from consensus_imitation.core.learner import score
from consensus_imitation.ensembles import Carry, Context, PureEnsemble, Training

from .compiled import decide, init, observe
from .families import answered_by, ensemble, run

# --- against NumPy in float64 ---


def scored(weights: np.ndarray, rows: np.ndarray, answer: int) -> np.ndarray:
    """Bayes' rule for what was said; who said nothing keeps its share."""
    mass = rows.sum(-1)
    speaks = mass > 0
    if not weights[speaks].sum():
        return weights
    given = np.where(speaks, rows[:, answer] / np.where(speaks, mass, 1.0), 0.0)
    mixture = weights[speaks] @ given[speaks] / weights[speaks].sum()
    new = weights * np.where(speaks, given, mixture)
    return new / new.sum()


@pytest.mark.parametrize("reweighting", [None, Reweighting()], ids=["Bayes", "reweighting"])
def test_weights_are_those_of_what_was_said(reweighting: Any) -> None:
    """Rows sum to anything from 1e-6 to one, or to nothing, for 200 answers."""
    rng = np.random.default_rng(0)
    N, A, T = 5, 4, 200
    law = rng.dirichlet(np.ones(A), (T, N))
    said = rng.choice([1.0, 0.9, 0.3, 1e-3, 1e-6, 0.0], (T, N), p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.1])
    answers = [int(rng.choice(A, p=p[0])) for p in law]
    prior = rng.dirichlet(np.ones(N))
    learner = Learner(ensembles.tabular(np.full((N, 1, A), 1 / A), prior), TopK(N), reweighting=reweighting)
    state = init(learner, jax.random.key(0))
    decision = decide(learner, state, 0)
    weights, evidence = prior, 0.0
    step = jax.jit(score)
    for t in range(T):
        with np.errstate(divide="ignore"):
            rows = jnp.asarray(np.log(law[t] * said[t][:, None]), jnp.float32)
        own = decision._replace(log_probs=rows, queried=jnp.array(True), invalid=jnp.asarray(said[t] == 0))
        updated, unexplained, info = step(state, own, answers[t], reweighting, jnp.asarray(prior, jnp.float32))
        speaks = said[t] > 0
        if weights[speaks].sum():
            mixture = weights[speaks] @ law[t, speaks, answers[t]] / weights[speaks].sum()
            assert float(info.evidence) == pytest.approx(np.log(mixture), abs=1e-4)
            evidence += float(info.evidence)
        weights = scored(weights, law[t] * said[t][:, None], answers[t])
        state = state.replace(posterior=updated, unexplained=unexplained)
        np.testing.assert_allclose(posterior.weights(state.posterior), weights, atol=2e-5)
    assert not bool(state.unexplained)
    assert evidence < -50


def test_how_much_was_said_does_not_matter_to_the_weights() -> None:
    """Exactly, for powers of two: the same law said with all of one's probability, or a 1024th of it."""
    rows = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.125, 0.5, 0.375]]))
    quiet = rows + jnp.log(jnp.array([[1.0], [2.0**-10]]))
    np.testing.assert_allclose(posterior.normalised(quiet), posterior.normalised(rows), atol=1e-6)
    nothing = jnp.full((1, 3), -jnp.inf)
    np.testing.assert_array_equal(posterior.normalised(nothing), nothing)


def test_an_answer_scores_as_the_normalised_law_gives_it() -> None:
    """From the predictions as they came: one sums to a little more than one, one withholds, one is no law."""
    rows = jnp.log(jnp.array([[0.60005, 0.4], [0.3, 0.1], [0.9, 0.9], [0.5, 0.5]])).at[3, 1].set(jnp.nan)
    learner = Learner(ensembles.Tabular(rows[None], jnp.full(4, 0.25)), TopK(4))
    state = init(learner, jax.random.key(0))
    decision = decide(learner, state, 0)
    assert decision.invalid.tolist() == [False, False, True, True]
    assert float(decision.excess[0]) > 0
    found, _ = observe(learner, state, 0, decision._replace(queried=jnp.asarray(True)), 0)
    said = posterior.normalised(decision.usable)[:, 0]
    expected, _ = posterior.update(state.posterior, said, decision.invalid)
    np.testing.assert_allclose(found.posterior.log_weights, expected.log_weights, atol=1e-6)


# --- what was wrong: a member that withholds nothing takes over from cautious ones ---


def test_a_fixed_member_takes_nothing_over_from_cautious_networks() -> None:
    """Prior .001, and as good as an untrained network: three answers must not make it the heaviest."""
    networks = ensembles.mlp((2,), 2, num_members=4, hidden=(4,))
    assert networks.training.caution > 0
    fixed = ensembles.stacked(lambda logits, observation: logits, jnp.zeros((1, 2)), 2)
    members = ensembles.union(networks, fixed, prior=[*[0.999 / 4] * 4, 0.001])
    imitator = ConsensusImitator(members, lambda observation: 0, selection=TopK(3), seed=0)
    while imitator.num_queries < 3:
        imitator.act(np.zeros(2, np.float32))
    assert imitator.weights[-1] < 0.01
    np.testing.assert_allclose(imitator.weights[:-1].sum(), 1 - imitator.weights[-1], atol=1e-6)


class Hushed(PureEnsemble):
    """A table whose members withhold all but a share of what they would say; 0 says nothing."""

    table: ensembles.Tabular
    share: jax.Array  # [T, N], by the step, over and over

    @property
    def prior(self) -> jax.Array:
        return self.table.prior

    @property
    def num_members(self) -> int:
        return self.table.num_members

    @property
    def num_actions(self) -> int:
        return self.table.num_actions

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        whole = self.table.log_probs(carry, observation, context._replace(learned=()))
        return whole + jnp.log(self.share[context.step % self.share.shape[0]])[:, None]


TRUTH = [0.5, 0.5]


def hushed(others: list[list[float]], share: Any, prior: list[float] | None = None) -> Hushed:
    return Hushed(ensemble(TRUTH, others, prior), jnp.asarray(share, jnp.float32))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("share", [[[0.2, 1.0]], [[1.0, 1.0], [0.0, 1.0]], [[0.5, 0.9], [0.0, 0.1], [1e-3, 1.0]]])
def test_t2_holds_of_a_truth_that_withholds_and_is_silent_at_times(share: Any) -> None:
    """P(the truth is ever outside) <= alpha / w; scored by its raw mass it is thrown out in nearly all runs."""
    runs, alpha = 1000, 0.05
    members = hushed([[0.7, 0.3]], share)
    seen = run(
        Learner(members, AlphaThreshold(alpha)), answered_by(TRUTH), jax.random.split(jax.random.key(1), runs), 200
    )
    bound = alpha / 0.5
    assert float(seen["ever_out"].mean()) <= bound + 5 * np.sqrt(bound / runs)
    assert float(seen["queries"].mean()) > 20


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("share", [[0.9], [0.5], [0.0, 1.0]], ids=["a tenth", "half", "silent every other step"])
def test_t3_with_withheld_mass(share: list[float]) -> None:
    """Theta exceeds the withheld share by what disagreement costs, and that dies out as it does without."""
    runs, steps, alpha = 200, 400, 0.1
    others = [[0.8, 0.2], [0.3, 0.7]]
    # The second member withholds, and the truth never falls silent.
    members = hushed(others, [[1.0, one, 1.0] for one in share])
    keys = jax.random.split(jax.random.key(2), runs)
    seen = excess_run(Learner(members, AlphaThreshold(alpha)), keys, steps)
    theta, withheld = np.asarray(seen["theta"], float), np.asarray(seen["withheld"], float)
    assert np.all(theta >= withheld - 1e-5)
    s = 2 * 10 * 2 * np.log1p(1 / alpha)
    above = np.maximum(theta - withheld, 0)
    total = (theta * above**2).sum(-1)
    assert total.mean() <= s + 5 * total.std() / np.sqrt(runs)
    assert above[:, -50:].mean() < above[:, :50].mean() / 3


def excess_run(learner: Learner, keys: jax.Array, num_steps: int) -> dict[str, jax.Array]:
    """Theta, and the largest share that a selected member withheld, at every step [S, T]."""

    @jax.jit
    def all_runs(learner: Learner, keys: jax.Array) -> dict[str, jax.Array]:
        def one(key: jax.Array) -> dict[str, jax.Array]:
            own, answers = jax.random.split(key)

            def step(state: Any, t: jax.Array) -> Any:
                decision = learner.decide(state, jnp.int32(0))
                answer = jax.random.bernoulli(jax.random.fold_in(answers, t), TRUTH[1]).astype(jnp.int32)
                withheld = 1.0 - jnp.exp(decision.log_probs).sum(-1)
                most = jnp.max(jnp.where(decision.selected, withheld, 0.0))
                state, _ = learner.observe(state, jnp.int32(0), decision, answer)
                return state, {"theta": decision.query_prob, "withheld": most}

            return jax.lax.scan(step, learner.init(own), jnp.arange(num_steps))[1]

        return jax.vmap(one)(keys)

    return all_runs(learner, keys)


# --- the alarm and the merging speak of the same laws ---


def test_alarm_merging_and_weights_take_members_by_what_they_said() -> None:
    """Everything that is kept of an answer is the same, whether members withhold or not."""
    rows = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.69, 0.2, 0.11], [0.2, 0.2, 0.6]]))
    quiet = rows + jnp.log(jnp.array([[1.0], [0.25], [1e-3]]))
    learner = Learner(
        ensembles.tabular(np.full((3, 1, 3), 1 / 3)), TopK(3), alarm=MisspecificationAlarm(), merging=Merging()
    )
    ends = []
    for predicted in (rows, quiet):
        state = init(learner, jax.random.key(0))
        for answer in (0, 2, 0):
            decision = decide(learner, state, 0)._replace(queried=jnp.array(True), log_probs=predicted)
            state, _ = observe(learner, state, 0, decision, answer)
        ends.append((state.posterior, state.alarm, state.diversity))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *ends)
    together = merging.near_duplicates(ends[1][2], 0.02)
    assert together[0].tolist() == [True, True, False]  # copies that withhold differently are copies


def test_who_says_nothing_tells_nobody_apart() -> None:
    """Else copies would fall silent in turn, count as many, and still be scored nearly alike."""
    rows = jnp.log(jnp.array([[0.7, 0.3], [0.7, 0.3], [0.1, 0.9]]))
    silent = jnp.where(jnp.array([[False], [True], [False]]), -jnp.inf, rows)
    state = merging.update(merging.update(merging.init(3), silent, 0), rows, 0)
    assert merging.near_duplicates(state, 0.0)[0].tolist() == [True, True, False]
    assert float(state.distance[0, 2]) == pytest.approx(0.6, abs=1e-6)


def test_all_members_of_one_default_ensemble_are_scored_as_before() -> None:
    """They withhold the same share, which cancels."""
    assert Training().caution > 0
    rows = jnp.log(jnp.array([[0.7, 0.3], [0.2, 0.8]]))
    one, _ = posterior.update(posterior.init([0.5, 0.5]), posterior.normalised(rows + jnp.log(0.01))[:, 0])
    other, _ = posterior.update(posterior.init([0.5, 0.5]), (rows + jnp.log(0.01))[:, 0])
    np.testing.assert_allclose(posterior.weights(one), posterior.weights(other), atol=1e-6)
