"""What every selection rule and every aggregation rule owes, to be tested by whoever writes one.

An imitator checks at every decision that a rule gives a mask, or a law (`_rule_checks`). It takes on trust what a rule
promises about itself. The two functions here put those promises to the test, on many drawn weights and predictions.
They can find a promise that is false; they cannot prove one. Each takes a second or two: call them in your tests.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core._rule_checks import check_aggregation, check_selection, law_of
from consensus_imitation.core._tree import jit
from consensus_imitation.core._validation import check_integer
from consensus_imitation.core.laws import ROUNDING, ActionLaw, veto_factor
from consensus_imitation.errors import RuleContractError

#: How near a threshold a member may be in either direction, in nats, without being looked at: float32 rounds.
_CLEAR = 1e-3
_PRIORS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 0.9, 1.0)


def check_selection_rule(rule: Any, num_members: int, *, by_weight: bool = True, seed: int = 0) -> None:
    """Raise unless a selection rule does what all of them owe, and keeps what it promises, at drawn weights.

    It is checked that the rule

    * passes the checks of an imitator (`ConfigurationError`), and gives the same alone, in a batch and compiled;
    * selects somebody, whatever the weights, members that are ruled out (weight zero) among them;
    * does not depend on a common factor of the weights;
    * says by ``margins`` how far a weight can fall: a little less keeps the member, a little more leaves it out;
    * selects at least ``tolerated_members + 1`` (T1), at most ``largest_set``, and nobody below ``smallest_share``;
    * gives as ``exclusion_bound`` a probability that does not grow with the prior weight, and none below what can
      happen: if it leaves out a member with some share of the weight, then a truth whose share falls there by one
      answer, which it had called unlikely, is left out with that probability (the converse of T2).

    Args:
        rule: a `SelectionRule` with plain numbers as parameters.
        num_members: N, at least 1.
        by_weight: whether members are told apart by their weights alone. Then the heaviest is selected, with all that
            are heavier than any other selected one, in whatever order they stand. False for a rule that knows places,
            for example one that always selects a member that you trust.
        seed: of the drawn weights.

    Raises:
        RuleContractError: saying what is violated, and at which weights.
        ConfigurationError: if an imitator would refuse the rule.

    Example:
        >>> from consensus_imitation import AlphaThreshold, TopK
        >>> from consensus_imitation.core.rule_contract import check_selection_rule
        >>> check_selection_rule(TopK(2) | AlphaThreshold(0.1), num_members=5)
    """
    N = check_integer("num_members", num_members, 1)
    check_selection(rule, N)
    rng = np.random.default_rng(seed)
    rows = _drawn_weights(N, rng)
    masks, margins = _selected(rule, rows)
    _check_masks(rule, rows, masks, margins)
    _check_margins(rule, rows, masks, margins)
    _check_sizes(rule, rows, masks)
    _check_exclusion(rule, rows, masks)
    if by_weight:
        _check_order(rule, rows, masks, margins, rng)


def check_aggregation_rule(rule: Any, num_members: int, num_actions: int, *, seed: int = 0) -> None:
    """Raise unless an aggregation rule does what all of them owe, and keeps what it declares, on drawn predictions.

    It is checked that the rule

    * passes the checks of an imitator (`ConfigurationError`), and gives the same alone, in a batch and compiled;
    * gives a law: probabilities that sum to one with that of asking, whatever valid or unusable predictions and
      whichever selected members it gets (where nobody is selected, an imitator asks whatever the rule gives);
    * lets every selected member veto as strongly as it declares (``veto_factor``, T1), and then asks for certain where
      nobody is selected, or a selected member has no usable prediction;
    * never lets an outcome become likelier than ``log_inflation`` says (T5), whichever selected member answers.

    Args:
        rule: an `Aggregation` with plain numbers as parameters.
        num_members: N, at least 1.
        num_actions: A, at least 1.
        seed: of the drawn predictions.

    Raises:
        RuleContractError: saying what is violated, and by which predictions.
        ConfigurationError: if an imitator would refuse the rule.

    Example:
        >>> from consensus_imitation import Minimum
        >>> from consensus_imitation.core.rule_contract import check_aggregation_rule
        >>> check_aggregation_rule(Minimum(rounds=2), num_members=4, num_actions=3)
    """
    N, A = check_integer("num_members", num_members, 1), check_integer("num_actions", num_actions, 1)
    check_aggregation(rule, N, A)
    rng = np.random.default_rng(seed)
    probs, log_weights, selected = _drawn_predictions(N, A, rng)
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs).astype(np.float32)
    laws, faulty = _laws(rule, log_probs, log_weights, selected)
    own, query, inflation = (np.asarray(part, np.float64) for part in laws)
    for i in np.flatnonzero(np.asarray(faulty) & np.any(selected, axis=1)):
        raw = rule(jnp.asarray(log_probs[i]), jnp.asarray(log_weights[i]), jnp.asarray(selected[i]))
        _broken(rule, f"gives {_law_said(raw)}, which is no law, for {_case(probs[i], selected[i])}")
    for i in range(0, len(probs), max(1, len(probs) // 4)):
        alone, _ = law_of(rule, *(jnp.asarray(part[i]) for part in (log_probs, log_weights, selected)))
        if not np.allclose(alone.probs, own[i], atol=ROUNDING) or abs(float(alone.query_prob) - query[i]) > ROUNDING:
            _broken(rule, f"gives one law alone and another in a batch, for {_case(probs[i], selected[i])}")
    _check_veto(rule, probs, selected, own, query)
    _check_inflation(rule, probs, selected, own, query, inflation)


# --- selection ---

_selected = jit(lambda rule, rows: (jax.vmap(rule)(rows), jax.vmap(rule.margins)(rows)))
_masks = jit(lambda rule, rows: jax.vmap(rule)(rows))


def _drawn_weights(N: int, rng: np.random.Generator) -> np.ndarray:
    """Return log-weights without ties: float32 [R, N]; drawn ones, and one member at every share."""
    drawn = rng.normal(size=(40, N)) * rng.choice([0.3, 3.0, 12.0], (40, 1))
    near = -0.01 * np.arange(N)
    falling = np.tile(near, (60, 1))
    falling[:, -1] -= np.linspace(0.0, 15.0, 60)
    return np.concatenate([drawn, falling, falling[:, ::-1], near[None]]).astype(np.float32)


def _check_masks(rule: Any, rows: np.ndarray, masks: np.ndarray, margins: np.ndarray) -> None:
    N = rows.shape[1]
    ruled_out = np.zeros((N, N), np.float32)
    ruled_out[np.tril_indices(N, -1)] = -np.inf
    for several, found in ((rows, masks), (ruled_out, np.asarray(_masks(rule, ruled_out)))):
        for row in several[~np.any(found, axis=1)]:
            _broken(rule, f"selects nobody {_at(row)}")
    clear = ~(np.abs(margins) < _CLEAR)
    for factor in (-7.0, 30.0):
        moved = np.asarray(_masks(rule, (rows + np.float32(factor)).astype(np.float32)))
        for i in np.flatnonzero(np.any((moved != masks) & clear, axis=1)):
            _broken(rule, f"selects others if all weights have a common factor more: {_at(rows[i])}")
    for i in range(0, len(rows), len(rows) // 4):
        if np.any((np.asarray(rule(jnp.asarray(rows[i]))) != masks[i]) & clear[i]):
            _broken(rule, f"selects others alone than in a batch {_at(rows[i])}")


def _check_margins(rule: Any, rows: np.ndarray, masks: np.ndarray, margins: np.ndarray) -> None:
    for i in np.flatnonzero(np.any(np.isnan(margins), axis=1)):
        _broken(rule, f"has margins that are NaN {_at(rows[i])}")
    wrong = np.where(np.asarray(masks), np.asarray(margins) < -_CLEAR, np.asarray(margins) > _CLEAR)
    for i in np.flatnonzero(np.any(wrong, axis=1)):
        _broken(rule, f"has margins {_short(margins[i])} and the mask {masks[i].tolist()} {_at(rows[i])}")
    cases = [
        (i, n) for i, n in zip(*np.nonzero(masks), strict=True) if np.isfinite(margins[i, n]) and margins[i, n] >= 0
    ]
    if not cases:
        return
    i, n = (np.array(part) for part in zip(*cases, strict=True))
    place = np.arange(len(cases))
    for more, kept, what in ((-_CLEAR, True, "less"), (_CLEAR, False, "more")):
        fallen = rows[i].copy()
        fallen[place, n] -= np.maximum(0.0, np.asarray(margins)[i, n] + more)
        # Where it cannot fall by less, nothing is shown.
        shown = (np.asarray(margins)[i, n] + more >= 0) | (more > 0)
        after = np.asarray(_masks(rule, fallen.astype(np.float32)))[place, n]
        for case in np.flatnonzero((after != kept) & shown):
            row, member = rows[i[case]], n[case]
            _broken(
                rule,
                f"says that member {member} can fall by {margins[i[case], member]:.4g} nats, and "
                f"{'leaves it out' if kept else 'keeps it'} when it has fallen by a little {what} {_at(row)}",
            )


def _check_sizes(rule: Any, rows: np.ndarray, masks: np.ndarray) -> None:
    sizes = np.sum(masks, axis=1)
    for i in np.flatnonzero(sizes <= rule.tolerated_members):
        _broken(
            rule,
            f"promises a quorum that tolerates {rule.tolerated_members} dishonest members (tolerated_members), and "
            f"selects {sizes[i]} {_at(rows[i])}",
        )
    for i in np.flatnonzero(sizes > rule.largest_set):
        _broken(
            rule,
            f"says that it selects at most {rule.largest_set} (largest_set), and selects {sizes[i]} {_at(rows[i])}",
        )
    weights = np.exp(rows - rows.max(axis=1, keepdims=True)).astype(np.float64)
    heavier = np.sum(np.where(weights[:, None, :] >= weights[:, :, None], weights[:, None, :], 0.0), axis=2)
    least = np.min(np.where(masks, weights / heavier, np.inf), axis=1)
    for i in np.flatnonzero(least < rule.smallest_share - ROUNDING):
        _broken(
            rule,
            f"says that it selects nobody below a share of {rule.smallest_share} of the weight ranked so far "
            f"(smallest_share), and selects one with {least[i]:.4g} {_at(rows[i])}",
        )


def _check_exclusion(rule: Any, rows: np.ndarray, masks: np.ndarray) -> None:
    N = rows.shape[1]
    bounds = {prior: float(rule.exclusion_bound(prior, N)) for prior in _PRIORS}
    for (prior, bound), (_, next_bound) in zip(bounds.items(), [*list(bounds.items())[1:], (1.0, 0.0)], strict=True):
        if not 0.0 <= bound <= 1.0 or next_bound > bound:
            _broken(
                rule, f"has exclusion_bound({prior}, {N}) = {bound}: it must be in [0, 1], and not grow with the prior"
            )
    weights = np.exp(rows - rows.max(axis=1, keepdims=True)).astype(np.float64)
    shares = weights / weights.sum(axis=1, keepdims=True)
    for i, n in zip(*np.nonzero(~np.asarray(masks)), strict=True):
        share = shares[i, n]
        for prior, bound in bounds.items():
            if not 0.0 < share < prior < 1.0:
                continue
            # All others call one action certain, the truth calls it so likely; if it is the answer, the truth is here.
            chance = share / (1 - share) * (1 - prior) / prior
            if bound < chance * (1 - _CLEAR):
                _broken(
                    rule,
                    f"promises that a truth of prior weight {prior} is left out with probability at most {bound:.4g} "
                    f"(exclusion_bound), but it leaves out member {n} {_at(rows[i])}: one answer brings a truth there "
                    f"with probability {chance:.4g}",
                )


def _check_order(rule: Any, rows: np.ndarray, masks: np.ndarray, margins: np.ndarray, rng: np.random.Generator) -> None:
    clear = ~(np.abs(margins) < _CLEAR)
    heaviest = np.argmax(rows, axis=1)
    for i in np.flatnonzero(~np.asarray(masks)[np.arange(len(rows)), heaviest]):
        _broken(rule, f"leaves out the heaviest member {_at(rows[i])}")
    lightest = np.min(np.where(masks, rows, np.inf), axis=1, keepdims=True)
    for i in np.flatnonzero(np.any(((rows >= lightest) != masks) & clear, axis=1)):
        _broken(rule, f"passes over a heavier member: it selects {masks[i].tolist()} {_at(rows[i])}")
    order = rng.permutation(rows.shape[1])
    other = np.asarray(_masks(rule, rows[:, order]))
    for i in np.flatnonzero(np.any((other != np.asarray(masks)[:, order]) & clear[:, order], axis=1)):
        _broken(rule, f"selects others if the members stand in another order {_at(rows[i])}")


# --- aggregation ---

_laws = jit(lambda rule, *drawn: jax.vmap(lambda *one: law_of(rule, *one))(*drawn))


def _drawn_predictions(N: int, A: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return predictions [R, N, A], log-weights [R, N] and who is selected [R, N]: in the last cases nobody."""
    probs = np.concatenate([rng.dirichlet(np.full(A, alpha), (30, N)) for alpha in (0.2, 1.0, 20.0)])
    probs[::5] *= rng.random((len(probs[::5]), N, 1))  # what withholds
    probs[1::7, 0] = np.eye(A)[rng.integers(A, size=len(probs[1::7]))]
    log_weights = (rng.normal(size=(len(probs), N)) * 3).astype(np.float32)
    selected = rng.random((len(probs), N)) < 0.7
    selected[np.arange(len(probs)), rng.integers(N, size=len(probs))] = True
    unusable = probs[:10].copy()
    unusable[:, -1] = 0.0
    everybody, nobody = np.ones((10, N), bool), np.zeros((5, N), bool)
    return (
        np.concatenate([probs, unusable, probs[:5]]),
        np.concatenate([log_weights, log_weights[:15]]),
        np.concatenate([selected, everybody, nobody]),
    )


def _check_veto(rule: Any, probs: np.ndarray, selected: np.ndarray, own: np.ndarray, query: np.ndarray) -> None:
    factor = veto_factor(rule)
    if not math.isfinite(factor):
        return
    # Nobody gives what nobody selected gives.
    least = np.min(np.where(selected[..., None], probs, np.inf), axis=1)
    least = np.where(np.any(selected, axis=1)[:, None], least, 0.0)
    for i in np.flatnonzero(np.any(own > factor * least + ROUNDING, axis=1)):
        _broken(
            rule,
            f"declares that one member's veto leaves at most {factor} times what it gives (veto_factor), and gives "
            f"{_short(own[i])} for {_case(probs[i], selected[i])}",
        )
    certain = ~np.any(least > 0, axis=1)
    for i in np.flatnonzero(certain & (query < 1 - ROUNDING)):
        _broken(
            rule, f"does not ask for certain where no selected member allows anything: {_case(probs[i], selected[i])}"
        )


def _check_inflation(
    rule: Any, probs: np.ndarray, selected: np.ndarray, own: np.ndarray, query: np.ndarray, inflation: np.ndarray
) -> None:
    whole = selected & (np.abs(np.sum(probs, axis=2) - 1.0) < ROUNDING)
    # What the rule gives, and what the member answers when it is asked.
    outcome = own[:, None, :] + query[:, None, None] * probs
    most = np.exp(np.minimum(inflation, 700.0))[:, None, None] * probs
    exceeds = whole[..., None] & (outcome > most + 2 * ROUNDING) & np.isfinite(inflation)[:, None, None]
    for i in np.flatnonzero(np.any(exceeds, axis=(1, 2))):
        n, a = (part[0] for part in np.nonzero(exceeds[i]))
        _broken(
            rule,
            f"declares a log_inflation of {inflation[i]:.4g}, and makes action {a} {outcome[i, n, a]:.4g} likely where "
            f"member {n}, which answers, gives it {probs[i, n, a]:.4g}, for {_case(probs[i], selected[i])}",
        )


# --- what is said ---


def _broken(rule: Any, what: str) -> None:
    raise RuleContractError(f"the rule {rule!r:.200} {what}")


def _at(row: np.ndarray) -> str:
    return f"at the log-weights {_short(row)}"


def _case(probs: np.ndarray, selected: np.ndarray) -> str:
    return f"the predictions {[_short(row) for row in probs]}, of which {selected.tolist()} are selected"


def _law_said(law: ActionLaw) -> str:
    return f"probs {_short(np.asarray(law.probs))}, query_prob {law.query_prob} and log_inflation {law.log_inflation}"


def _short(numbers: Any) -> list[float]:
    return [float(f"{number:.4g}") for number in np.asarray(numbers).tolist()]
