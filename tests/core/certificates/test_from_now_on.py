"""The bounds from now on, T3 with free beta and with high probability: exact enumeration, and a control for each."""

import math
from fractions import Fraction
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, TopK
from consensus_imitation.core import bounds, from_now_on, posterior
from consensus_imitation.core.closeness import Closeness
from tests.core import oracle

from .statements import Case, Seen, answered, excess, grow, seen, worst_event

#: Of products of at most five numbers in double precision.
ROUNDING = 1e-9
RULES = ("alpha", "union", "intersection", "top-k")


def rules(kind: str, alpha: Fraction, k: int):
    """The library's rule, and the exact one."""
    ours, exact = AlphaThreshold(float(alpha)), oracle.alpha_threshold(alpha)
    if kind == "alpha":
        return ours, exact
    if kind == "top-k":
        return TopK(k), oracle.top_k(k)
    if kind == "union":
        return TopK(k) | ours, oracle.union(oracle.top_k(k), exact)
    return TopK(k) & ours, oracle.intersection(oracle.top_k(k), exact)


def case(seed: int, **changes):
    """The seed-th tree, and the library's rule for it."""
    rng = np.random.default_rng([3, seed])
    A, N = int(rng.integers(2, 4)), int(rng.integers(2, 5))
    alpha = Fraction(int(rng.integers(1, 9)), int(rng.choice([16, 40, 100])))
    ours, exact = rules(RULES[seed % 4], alpha, int(rng.integers(2, N + 1)))
    prior = tuple(Fraction(int(w)) for w in (np.ones(N) if seed % 3 == 0 else rng.integers(1, 9, N)))
    options = {
        "factor": float(rng.choice([1.2, 2.0])) if seed % 5 == 1 else None,
        "withdraws": seed % 5 == 2,
        "merges": seed % 5 == 3,
        "depth": 3 if A == 3 or seed % 5 == 2 else 4,
    } | changes
    return Case(seed, A, N, rule=exact, prior=prior, **options), ours


@cache
def tree(seed: int, **changes) -> tuple[Case, object, list[Seen]]:
    made, rule = case(seed, **changes)
    return made, rule, seen(grow(made))


TREES = 220


@pytest.mark.slow
def test_the_truth_stays_in_from_now_on() -> None:
    """At every history: P(out now or later | history) <= the rule's bound with the posterior as the prior (T2)."""
    worst, said = 0.0, 0
    for seed in range(TREES):
        _, rule, nodes = tree(seed)
        for at in nodes:
            weights = [float(w) for w in at.node.weights]
            bound = from_now_on.exclusion_bound(rule, weights, 0)
            assert at.first_out <= bound + ROUNDING, (seed, at.node.history)
            worst, said = max(worst, at.first_out / bound if 0 < bound < 1 else 0.0), said + (0 < bound < 1)
    assert said > 5000
    assert worst > 0.3  # ... and the comparison is not an empty one.


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("broken", ["absent", "own"])
def test_control_a_truth_that_is_none_or_learns_from_itself_goes_out_more_often(broken: str) -> None:
    beyond = 0
    for seed in range(120):
        _, rule, nodes = tree(seed, broken=broken, withdraws=False)
        bound = [from_now_on.exclusion_bound(rule, [float(w) for w in at.node.weights], 0) for at in nodes]
        beyond += sum(at.first_out > b + 1e-3 for at, b in zip(nodes, bound, strict=True))
    assert beyond > 3, beyond


@pytest.mark.slow
def test_the_credence_is_never_below_that_of_who_believes_the_posterior() -> None:
    worst = 0.0
    for seed in range(TREES):
        _, rule, nodes = tree(seed)
        for at in nodes:
            weights = np.array([float(w) for w in at.node.weights])
            believed, bound = float(weights @ at.out), from_now_on.credence(rule, weights)
            assert believed <= bound + ROUNDING
            worst = max(worst, believed / bound if 0 < bound < 1 else 0.0)
    assert worst > 0.2


def test_control_the_credence_is_none_of_who_believes_something_else() -> None:
    beyond = 0
    for seed in range(60):
        _, rule, nodes = tree(seed)
        for at in nodes:
            beyond += float(at.out.max()) > from_now_on.credence(rule, [float(w) for w in at.node.weights]) + 1e-3
    assert beyond > 20


def in_t3(seed: int) -> bool:
    """Whether T3 speaks of a tree: a rule with a least share, no near-duplicates, no question withdrawn."""
    return RULES[seed % 4] in ("alpha", "intersection") and seed % 5 not in (2, 3)


def test_the_sum_of_cubes_from_now_on() -> None:
    worst, compared = 0.0, 0
    for seed in range(TREES):
        if not in_t3(seed):
            continue
        _, rule, nodes = tree(seed)
        for at in nodes:
            if at.node.weights[0] == 0:
                continue
            s = bounds.cubed_query_bound(rule, [float(w) for w in at.node.weights], 0)
            assert at.cubed <= s + ROUNDING, (seed, at.node.history)
            worst, compared = max(worst, at.cubed / s if s else 0.0), compared + 1
    assert compared > 2000
    assert worst > 0.02


def test_the_sum_of_squares_over_answered_questions_whoever_is_silent() -> None:
    """The same limit as for cubes, with questions that are withdrawn, and steps that are questions for certain."""
    worst, compared, silent = 0.0, 0, 0
    for seed in range(TREES):
        if not counted(seed):
            continue
        made, rule, nodes = tree(seed)
        for at in nodes:
            if at.node.weights[0] == 0:
                continue
            s = bounds.cubed_query_bound(rule, [float(w) for w in at.node.weights], 0)
            assert at.squared <= s + ROUNDING, (seed, at.node.history)
            worst, compared = max(worst, at.squared / s if s else 0.0), compared + 1
            silent += made.withdraws
    assert compared > 2000
    assert silent > 300
    assert worst > 0.02


def counted(seed: int) -> bool:
    """Whether the sum over answered questions is bounded in a tree: as in T3, and questions may be withdrawn."""
    return RULES[seed % 4] in ("alpha", "intersection") and seed % 5 != 3


def _least_drop(trees: int = TREES, **changes) -> tuple[float, float]:
    """Of all trees: the least of (drop of the potential - what an answered question takes); and how tight it gets."""
    least = math.inf
    tight = 0.0
    for seed in range(trees):
        if not counted(seed):
            continue
        made, rule, nodes = tree(seed, **changes)
        share = rule.smallest_share
        for at in nodes:
            node, N = at.node, made.N
            if not node.children or node.weights[0] == 0:
                continue
            K = max(1, sum(w > 0 for w in node.weights[1:]))
            for scale in (0.03, 0.3, 1.0, 3.0):

                def potential(weights, scale: float = scale, share: float = share, N: int = N) -> float:
                    return sum(math.log1p(float(weights[n] / weights[0]) / (scale * share)) for n in range(1, N))

                after = sum(float(p[-1]) * potential(child.weights) for p, _, child in node.children if p[-1])
                asleep = max(node.withheld, Fraction(0)) == 1
                taken = float(answered(node) * excess(node) ** 2)
                wanted = 0.0 if asleep else 2 * taken / (K * (1 + scale) ** 2)
                drop = potential(node.weights) - after
                least, tight = min(least, drop - wanted), max(tight, wanted / drop if drop > 1e-6 else 0.0)
    return least, tight


def test_the_free_beta_of_t3_step_by_step() -> None:
    """Any beta: an answered question takes ``2 (theta - v)^2 / (K (1 + beta / alpha)^2)`` off the potential, at least.

    (In expectation, whatever decides whether to ask; so a step of T3 takes theta times that.)
    """
    least, tight = _least_drop()
    assert least >= -ROUNDING
    assert tight > 0.3


def test_control_answers_that_are_let_through_by_what_they_are() -> None:
    assert _least_drop(24, silenced=0, withdraws=False)[0] < -1e-3
    assert _worst_growth(10, silenced=0, withdraws=False)[0] > 1e-3


def test_the_process_of_the_limit_is_a_supermartingale() -> None:
    """``sqrt(x_n) e^(sum of h)`` over answered questions, and ``TV^2 <= 2 h``: all that the limit needs."""
    worst, tight = _worst_growth()
    assert worst <= ROUNDING
    assert tight > 0.9


def _worst_growth(trees: int = TREES, **changes) -> tuple[float, float]:
    """By how much the process grows in expectation, at most; and how near it comes to staying the same."""
    worst, tight = -math.inf, 0.0
    for seed in range(trees):
        made, _, nodes = tree(seed, **changes)
        for at in nodes:
            node = at.node
            if not node.children or node.weights[0] == 0:
                continue
            truth = [float(p) for p in node.members[0]]
            for n in range(1, made.N):
                mass, x = sum(node.members[n]), float(node.weights[n] / node.weights[0])
                h = 0.0
                if mass:
                    row = [float(p / mass) for p in node.members[n]]
                    h = 1 - sum(math.sqrt(p * q) for p, q in zip(truth, row, strict=True))
                    far = sum(abs(p - q) for p, q in zip(truth, row, strict=True)) / 2
                    assert far**2 <= 2 * h + ROUNDING
                after = sum(
                    float(p[-1])
                    * math.sqrt(child.weights[n] / child.weights[0])
                    * math.exp(h if child.history[-1][1] == "q" else 0.0)
                    for p, _, child in node.children
                    if p[-1]
                )
                worst = max(worst, after - math.sqrt(x))
                tight = max(tight, after / math.sqrt(x) if h > 0.01 and x else 0.0)
                # So does the sum over steps of T3, where the chance of an answer takes the place of an answer.
                plain = sum(
                    float(p[-1]) * math.sqrt(child.weights[n] / child.weights[0])
                    for p, _, child in node.children
                    if p[-1]
                )
                worst = max(worst, plain - math.sqrt(x) * math.exp(-float(answered(node)) * h))
    return worst, tight


def test_the_limit_of_cubes_over_many_runs_at_a_level_that_can_fail() -> None:
    """Members that err a little, long runs: the share of runs whose sum ever exceeds S is at most delta."""
    rng = np.random.default_rng(0)
    runs, steps, alpha = 2000, 400, 0.3
    truth, other = np.array([0.5, 0.5]), np.array([[0.75, 0.25], [0.25, 0.75]])
    limits = {d: bounds.cubed_query_limit(AlphaThreshold(alpha), [1, 1, 1], 0, d) for d in (0.05, 0.5, 1.0)}
    total = _sum_of_cubes(rng, runs, steps, alpha, truth, np.vstack([truth, other]))
    for delta, limit in limits.items():
        assert np.mean(total > limit) <= delta + 5 * math.sqrt(delta * (1 - delta) / runs) + 1 / runs
    # The control: the demonstrator is neither of two members, it alternates, and its answers tell neither apart.
    control = _sum_of_cubes(rng, 2, 2000, 0.1, None, other)
    assert np.all(control > bounds.cubed_query_limit(AlphaThreshold(0.1), [1, 1], 0, 0.05))


@pytest.mark.parametrize("streams", [1, 6])
def test_squares_over_answered_questions_at_a_level_that_can_fail(streams: int) -> None:
    """B streams in lockstep, questions that get no answer by a coin: the sum over all of them rarely exceeds S_B."""
    rng, alpha, runs = np.random.default_rng(streams), 0.1, 1500
    law, other = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    ratio = np.log(other / law)
    for silence in (0.0, 0.5, 0.95):
        log_x, squares, cubes = np.zeros(runs), np.zeros(runs), np.zeros(runs)
        for _ in range(4000 if silence > 0.9 else 400):
            both = np.abs(log_x) <= -math.log(alpha)
            if not both.any():
                break
            asked = both[:, None] & (rng.random((runs, streams)) < 0.4)
            said = asked & (rng.random((runs, streams)) >= silence)
            # After a question without an answer the next one is about something on which both agree.
            cubes += np.where(both, 0.4**3 * (~(asked & ~said)).sum(-1), 0.0)
            squares += 0.4**2 * said.sum(-1)
            answers = (rng.random((runs, streams)) < law[1]).astype(int)
            log_x += np.where(said, ratio[answers], 0.0).sum(-1)
        for delta in (0.05, 0.5, 1.0):
            limit = bounds.cubed_query_limit(AlphaThreshold(alpha), [1, 1], 0, delta, num_streams=streams)
            assert np.mean(squares > limit) <= delta + 5 * math.sqrt(delta * (1 - delta) / runs) + 1 / runs
        assert squares.mean() <= streams * bounds.cubed_query_bound(AlphaThreshold(alpha), [1, 1], 0)
    # The control: what a sum over all steps would have said.
    assert np.mean(cubes > bounds.cubed_query_limit(AlphaThreshold(alpha), [1, 1], 0, 0.05, num_streams=streams)) > 0.08


def _sum_of_cubes(
    rng, runs: int, steps: int, alpha: float, truth: np.ndarray | None, members: np.ndarray
) -> np.ndarray:
    answered = np.zeros(runs, int)
    log_weights, total = np.zeros((runs, len(members))), np.zeros(runs)
    for _ in range(steps):
        w = np.exp(log_weights - log_weights.max(-1, keepdims=True))
        heavier = np.where(w[:, None, :] > w[:, :, None] * (1 + 1e-9), w[:, None, :], 0.0).sum(-1)
        chosen = w >= alpha * (heavier + w)
        theta = 1 - np.where(chosen[..., None], members, np.inf).min(1).sum(-1)
        total += theta**3
        asked = rng.random(runs) < theta
        answer = answered % 2 if truth is None else (rng.random(runs) < truth[1]).astype(int)
        answered += asked
        log_weights += np.where(asked[:, None], np.log(members[:, answer].T), 0.0)
    return total


def test_what_is_left_of_a_budget() -> None:
    """At every history: no event gets more than ``C e^-L`` times likelier than for a demonstrator that takes over."""
    compared, tight = 0, -1.0
    for seed in range(1, 200, 5):
        made, _, nodes = tree(seed)
        assert made.factor is not None
        for at in nodes:
            left = from_now_on.factor_left(made.factor, at.node.ledger)
            excess = worst_event(made, at.node, left)
            assert excess <= at.first_out + ROUNDING
            compared, tight = compared + 1, max(tight, excess - at.first_out)
    assert compared > 1000


def test_control_without_the_budget_or_with_too_little_left_of_it() -> None:
    beyond = 0
    for seed in range(1, 200, 5):
        made, _, nodes = tree(seed, factor=None)
        beyond += sum(worst_event(made, at.node, 1.2) > at.first_out + 1e-3 for at in nodes)
    assert beyond > 20


@pytest.mark.parametrize("share", [Fraction(1, 10), Fraction(1, 2)])
def test_a_member_that_is_only_close(share: Fraction) -> None:
    """``P(out) <= e^E alpha / w`` with E the most that the tree's answers can add up to."""
    for seed in range(0, 120, 4):
        made, rule, nodes = tree(seed, close=share, sleeps=False, withdraws=False, depth=3)
        eps: dict[object, float] = {}
        for at in reversed(nodes):
            node = at.node
            own = made.demonstrator(node.history)
            here = max(math.log(float(p / q)) if q else math.inf for p, q in zip(own, node.members[0], strict=True))
            most = 0.0
            for _, _, child in node.children:
                asked = child.history[-1][1] == "q"
                most = max(most, eps[child.history] + (max(0.0, here) if asked else 0.0))
            eps[node.history] = most
        for at in nodes:
            exclusion = from_now_on.exclusion_bound(rule, [float(w) for w in at.node.weights], 0)
            bound = from_now_on.close_exclusion_bound(exclusion, eps[at.node.history])
            assert at.first_out <= bound + ROUNDING


def test_control_a_member_that_is_only_close_goes_out_more_often_than_one_that_is_equal() -> None:
    """A rival equals the demonstrator, (0.9, 0.1); member g says (0.5, 0.5). Twelve answers, exactly."""
    alpha, out = 0.05, np.zeros(13)
    paths = {(): 1.0}
    for k in range(13):
        for answers, p in paths.items():
            rare = sum(answers)
            ratio = 1.8 ** (k - rare) * 0.2**rare  # of the rival's weight to that of g
            ahead = [1.8 ** (j - sum(answers[:j])) * 0.2 ** sum(answers[:j]) for j in range(k + 1)]
            out[k] += p * any(1 / (1 + x) < alpha for x in [*ahead, ratio])
        paths = {(*a, b): p * (0.1 if b else 0.9) for a, p in paths.items() for b in (0, 1)} if k < 12 else paths
    exclusion = from_now_on.exclusion_bound(AlphaThreshold(alpha), [0.5, 0.5], 0)
    assert out[12] > 3 * exclusion
    for k in range(13):
        assert out[k] <= from_now_on.close_exclusion_bound(exclusion, k * math.log(1.8))


def test_the_limit_of_closeness_holds_after_every_answer() -> None:
    """Means that change with every answer, over many runs; the control is the mean of what was seen, with no room."""
    rng = np.random.default_rng(1)
    runs, answers, delta = 150, 200, 0.1
    wrong = plain = 0
    for _ in range(runs):
        seen_so_far, means = Closeness.nothing(2), 0.0
        ever = ever_plain = False
        for k in range(answers):
            p = rng.uniform(0.05, 0.95)
            probs = np.array([[0.9 * p + 0.05, 0.95 - 0.9 * p], [0.5, 0.5]])
            truth = np.array([p, 1 - p])
            ratio = probs.mean(0) / probs
            means += float(truth @ ratio[0])
            seen_so_far = seen_so_far.after(np.zeros(2), np.log(probs), int(rng.random() < 1 - p))
            limit = seen_so_far.mean_excess(0, delta)
            ever |= means / (k + 1) - 1 > limit + 1e-12
            ever_plain |= means > seen_so_far.total[0]
        wrong, plain = wrong + ever, plain + ever_plain
    assert wrong / runs <= delta + 5 * math.sqrt(delta * (1 - delta) / runs)
    assert plain / runs > 0.5


def test_the_limit_of_closeness_holds_where_the_largest_ratio_grows_with_what_is_seen() -> None:
    """The mixture is the demonstrator, (0.95, 0.05); what the member gives the rare answer falls by ten at each one."""
    rng, delta, runs, hits = np.random.default_rng(0), 0.2, 120, 250
    wrong, least = 0, math.inf
    for _ in range(runs):
        rare, total, count, means, ever = 1e-2, 0.0, 0, 0.0, False
        for waits in rng.geometric(0.05, hits).tolist():
            # The limit is least where it has been longest since the last rare answer.
            often, seldom = 0.95 / (1 - rare), 0.05 / rare
            mean = 0.95 * often + 0.05 * seldom
            before = Closeness(np.array([total + (waits - 1) * often]), np.array([seldom]), count + waits - 1)
            if before.count:
                sofar = means + (waits - 1) * mean
                ever |= sofar / before.count - 1 > before.mean_excess(0, delta) * (1 + 1e-9)
            total, count, means = float(before.total[0]) + seldom, count + waits, means + waits * mean
            rare /= 10
        wrong += ever
    assert wrong / runs <= delta
    # Fixed rates cost little where one of them fits: a mean of 1.1 with ratios up to 4, after 4000 answers.
    least = Closeness(np.array([4400.0]), np.array([4.0]), 4000).mean_excess(0, delta)
    assert least < 0.25


def test_answers_that_come_at_once_are_weighed_one_after_another() -> None:
    """X is multiplied by the product of the ratios: by the posterior's own rule, with a member that sleeps."""
    with np.errstate(divide="ignore"):
        said = np.log(np.array([[[0.5, 0.5], [0.95, 0.05], [0.0, 0.0]], [[0.5, 0.5], [0.2, 0.8], [0.3, 0.7]]]))
    log_weights = np.log([0.5, 0.3, 0.2])
    state, seen_so_far, weights = posterior.init(np.exp(log_weights)), Closeness.nothing(3), log_weights
    for row, answer in ((said[0], 0), (said[1], 1), (said[0], 1)):
        seen_so_far = seen_so_far.after(weights, row, answer)
        weights = Closeness.reweighed(weights, row, answer)
        asleep = jnp.array(np.all(np.isneginf(row), axis=-1))
        state, _ = posterior.update(state, jnp.asarray(row[:, answer], jnp.float32), asleep)
        theirs = np.asarray(posterior.weights(state))
        np.testing.assert_allclose(np.exp(weights - np.logaddexp.reduce(weights)), theirs, rtol=1e-5)
    for nobody in (np.full((2, 2), -np.inf), np.array([[0.0, -np.inf], [0.0, -np.inf]])):
        assert Closeness.reweighed(np.zeros(2), nobody, 1).tolist() == [0.0, 0.0]


def test_the_numbers_of_a_uniform_prior_over_eight() -> None:
    rule, prior = AlphaThreshold(0.002), [1 / 8] * 8
    s = bounds.cubed_query_bound(rule, prior, 0)
    assert s == pytest.approx(248.5, abs=0.1)
    assert round(bounds.expected_queries_bound(s, 10_000)) == 2918
    assert round(bounds.cubed_query_limit(rule, prior, 0, 0.05)) == 887


def test_what_comes_gets_surer_as_evidence_comes_in() -> None:
    rule = AlphaThreshold(0.002)
    before = None
    for heavy in (0.125, 0.5, 0.9, 0.999):
        weights = [heavy, *[(1 - heavy) / 7] * 7]
        now = (
            from_now_on.exclusion_bound(rule, weights, 0),
            from_now_on.credence(rule, weights),
            bounds.cubed_query_bound(rule, weights, 0),
            bounds.cubed_query_limit(rule, weights, 0, 0.05),
        )
        assert before is None or all(a <= b for a, b in zip(now, before, strict=True))
        before = now
    assert now[0] < 0.0021
    assert now[1] < 0.0031
    assert now[2] < 15
    assert now[3] < 700
    assert bounds.cubed_query_limit(rule, [1.0, 0.0], 0, 0.05) == 0
    assert bounds.cubed_query_limit(rule, [1.0, 1e-60], 0, 0.05) == 0  # it would have to come back first


def test_t4_with_high_probability_from_its_formula() -> None:
    found = bounds.unlikeliness_limit(1e-9, exclusion=0.01, limit=8.0, delta=0.02, num_steps=27)
    assert found == pytest.approx(min(1.0, 0.03 + math.exp(9 * 2) * 1e-9))
    assert bounds.unlikeliness_limit(0.0, 0.01, math.inf, 0.02, 10) == pytest.approx(0.03)
    assert bounds.unlikeliness_limit(1e-300, 0.01, math.inf, 0.02, 10) == 1
    # Rare events: better than the bound by Markov's inequality.
    s, S = (bounds.cubed_query_bound(r, [1, 1], 0) for r in [AlphaThreshold(0.1)] * 2)
    S = bounds.cubed_query_limit(AlphaThreshold(0.1), [1, 1], 0, 0.01)
    assert bounds.unlikeliness_limit(1e-30, 0.0, S, 0.01, 50) < bounds.unlikeliness_bound(1e-30, 0.0, s, 50)


@pytest.mark.parametrize("value", [-0.1, 0.0, 1.1, math.nan])
def test_levels_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="delta"):
        bounds.cubed_query_limit(AlphaThreshold(0.1), [1, 1], 0, value)
    with pytest.raises(ValueError, match="delta"):
        bounds.unlikeliness_limit(0.1, 0.1, 1.0, value, 10)
    with pytest.raises(ValueError, match="delta"):
        Closeness.nothing(2).mean_excess(0, value)


def test_other_arguments_out_of_range_are_refused() -> None:
    for call in (
        lambda: from_now_on.factor_left(0.5, 0.0),
        lambda: from_now_on.factor_left(2.0, -1.0),
        lambda: from_now_on.exclusion_bound(TopK(1), [1.0], 1),
        lambda: from_now_on.close_exclusion_bound(2.0, 0.0),
        lambda: from_now_on.close_exclusion_bound(0.1, -1.0),
        lambda: bounds.unlikeliness_limit(0.1, 0.1, 1.0, 0.1, 0),
    ):
        with pytest.raises(ValueError, match=r"must|truth"):
            call()
