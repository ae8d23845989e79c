"""What voids a promise is never forgotten: every fact, by every way of going on."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import (
    AlphaThreshold,
    ConsensusImitator,
    InflationBudget,
    Merging,
    Minimum,
    MisspecificationAlarm,
    Patience,
    Reweighting,
    SafeAction,
    TopK,
    ensembles,
)
from consensus_imitation.core import _voids
from consensus_imitation.core._fingerprint import fingerprint
from consensus_imitation.core.aggregation import PosteriorMixture
from consensus_imitation.core.learner import Learner
from consensus_imitation.demonstrators import Demonstrator
from consensus_imitation.errors import ConsensusWarning

from .probe import crash

PROBS = np.array([[[0.5, 0.5, 0.0], [0.02, 0.98, 0.0]], [[0.1, 0.9, 0.0], [0.02, 0.98, 0.0]]])
MEMBERS = ensembles.tabular(PROBS)
RULE = TopK(1) | AlphaThreshold(0.01)


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def silent(observation: Any) -> int:
    raise TimeoutError("nobody is there")


def make(demonstrator: Any = lambda observation: 1, **more: Any) -> ConsensusImitator:
    return ConsensusImitator(MEMBERS, demonstrator, **{"selection": RULE, "seed": 0, **more})


def until_asked(imitator: ConsensusImitator, answer: int | None = None) -> None:
    """Steps until a question has been answered."""
    for _ in range(300):
        decision = imitator.decide(0)
        if decision.queried:
            imitator.answer(decision, 1 if answer is None else answer)
            return
    raise RuntimeError("nothing was asked")


def cleared(imitator: ConsensusImitator) -> None:
    until_asked(imitator, 2)  # which all members call impossible
    assert imitator.alarms
    imitator.clear_alarm()


def safe_action_taken(imitator: ConsensusImitator) -> None:
    for _ in range(300):
        if imitator.act(0).unanswered:
            return
    raise RuntimeError("somebody answered")


def rule_changed(imitator: ConsensusImitator) -> None:
    until_asked(imitator)
    imitator.aggregation = PosteriorMixture()
    imitator.aggregation = Minimum()


def gone_back(imitator: ConsensusImitator) -> None:
    earlier = imitator.state
    until_asked(imitator)
    imitator.restore(earlier)


FACTS: dict[str, tuple[Callable[[ConsensusImitator], None], int]] = {
    "an alarm was cleared": (cleared, _voids.CLEARED),
    "the safe action was taken": (safe_action_taken, _voids.UNANSWERED),
    "the rule was changed and changed back": (rule_changed, _voids.OTHER_RULES),
    "it went back": (gone_back, _voids.WENT_BACK),
}


def with_fact(name: str, **more: Any) -> ConsensusImitator:
    patience = Patience(timeout=60.0, then=SafeAction(0))
    imitator = make(silent if FACTS[name][0] is safe_action_taken else lambda observation: 1, patience=patience, **more)
    FACTS[name][0](imitator)
    return imitator


def again(imitator: ConsensusImitator, **more: Any) -> ConsensusImitator:
    return ConsensusImitator.from_state(imitator.state, MEMBERS, lambda observation: 1, selection=RULE, **more)


def into_another(imitator: ConsensusImitator) -> ConsensusImitator:
    other = make()
    other.restore(imitator.state)
    return other


def further(imitator: ConsensusImitator) -> ConsensusImitator:
    imitator = again(imitator)
    for _ in range(20):
        imitator.act(0)
    return imitator


def begun(imitator: ConsensusImitator) -> ConsensusImitator:
    imitator.begin_episode()
    return again(imitator)


def taught(imitator: ConsensusImitator) -> ConsensusImitator:
    imitator.pretrain([0, 1], [1, 1])
    return again(imitator)


def cleared_again(imitator: ConsensusImitator) -> ConsensusImitator:
    imitator.clear_alarm()
    return again(imitator)


def back_to_before(imitator: ConsensusImitator) -> ConsensusImitator:
    """What happened, happened."""
    imitator.restore(make().state)
    return imitator


def by_a_file(imitator: ConsensusImitator) -> ConsensusImitator:
    leaves, tree = jax.tree.flatten(imitator.state.replace(stream=imitator.state.stream.replace(key=None)))
    read = jax.tree.unflatten(tree, [jnp.asarray(np.asarray(leaf)) for leaf in leaves])
    state = read.replace(stream=read.stream.replace(key=imitator.state.stream.key))
    return ConsensusImitator.from_state(state, MEMBERS, selection=RULE)


def saved_and_loaded(imitator: ConsensusImitator) -> ConsensusImitator:
    with tempfile.TemporaryDirectory() as folder:
        imitator.save(f"{folder}/learned")
        return ConsensusImitator.load(f"{folder}/learned", MEMBERS, selection=RULE)


WAYS: dict[str, Callable[[ConsensusImitator], ConsensusImitator]] = {
    "from_state": again,
    "from_state twice": lambda imitator: again(again(imitator)),
    "restored by another": into_another,
    "with a state from before": back_to_before,
    "after more steps": further,
    "after an episode began": begun,
    "after studying": taught,
    "after clearing the alarm again": cleared_again,
    "from arrays": by_a_file,
    "saved and loaded": saved_and_loaded,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fact", FACTS)
def test_no_way_of_going_on_forgets(fact: str, way: str) -> None:
    imitator = with_fact(fact)
    (reason,) = _voids.reasons(FACTS[fact][1])
    assert reason in imitator.certificate().void
    after = WAYS[way](imitator)
    assert reason in after.certificate().void
    assert str(after.certificate()).startswith("NOTHING IS GUARANTEED")


@pytest.mark.parametrize("way", ["resumed after its end", "resumed without an end", "from_state with a journal"])
@pytest.mark.parametrize("fact", ["an alarm was cleared", "the safe action was taken"])
def test_nor_does_a_journal(tmp_path: Path, fact: str, way: str) -> None:
    """The other two cannot happen to a run with a journal: it has one rule, and only goes on."""
    (reason,) = _voids.reasons(FACTS[fact][1])
    if way == "from_state with a journal":
        again(with_fact(fact), journal=tmp_path / "run").close()
    else:
        imitator = with_fact(fact, journal=tmp_path / "run")
        if way == "resumed after its end":
            imitator.close()
        else:
            crash(imitator)
    resumed = ConsensusImitator.resume(tmp_path / "run", MEMBERS, selection=RULE)
    assert reason in resumed.certificate().void
    assert reason in again(resumed).certificate().void
    resumed.close()


#: What may be given to `from_state` in place of what the state was made with.
OTHERS: dict[str, dict[str, Any]] = {
    "selection": {"selection": TopK(2)},
    "its number": {"selection": TopK(1) | AlphaThreshold(0.02)},
    "aggregation": {"aggregation": Minimum(rounds=2)},
    "threshold": {"aggregation": Minimum(threshold=0.5)},
    "budget": {"inflation_budget": InflationBudget(2.0)},
    "alarm": {"alarm": MisspecificationAlarm(0.01)},
    "merging": {"merging": Merging()},
    "reweighting": {"reweighting": Reweighting(temper=0.5)},
}


@pytest.mark.parametrize("what", [*OTHERS, "prior"])
def test_other_rules_are_noticed(what: str) -> None:
    rules = {"selection": RULE, **OTHERS.get(what, {})}
    members = ensembles.tabular(PROBS, prior=[0.3, 0.7]) if what == "prior" else MEMBERS
    # A state that has room for what the other rules need.
    like = Learner(members, **{"budget" if name == "inflation_budget" else name: rule for name, rule in rules.items()})
    imitator = make()
    until_asked(imitator)
    filled = like.init(jax.random.key(0)).replace(
        posterior=imitator.state.posterior, stream=imitator.state.stream, rules=imitator.state.rules
    )
    other = ConsensusImitator.from_state(filled, members, **rules)
    (reason,) = _voids.reasons(_voids.OTHER_RULES)
    assert other.certificate().void == reason
    # In the beginning, before anything has happened, any rules may be chosen, with weights that are this prior's.
    fresh = ConsensusImitator.from_state(like.init(jax.random.key(0)).replace(rules=jnp.uint32(0)), members, **rules)
    assert fresh.certificate().void == ""


@pytest.mark.parametrize("way", ["from_state", "load", "restore", "from_state with a journal"])
def test_a_state_of_another_prior_is_noticed_before_anything_has_happened(tmp_path: Path, way: str) -> None:
    """The weights are the other prior's, and the certificate speaks of this one's."""
    before = ConsensusImitator(ensembles.tabular(PROBS, prior=[1e-6, 1]), selection=RULE, seed=0)
    if way == "load":
        before.save(tmp_path / "fresh")
        imitator = ConsensusImitator.load(tmp_path / "fresh", MEMBERS, selection=RULE)
    elif way == "restore":
        imitator = make()
        imitator.restore(before.state)
    else:
        more: dict[str, Any] = {"journal": tmp_path / "run"} if way.endswith("journal") else {}
        imitator = ConsensusImitator.from_state(before.state, MEMBERS, selection=RULE, **more)
    assert imitator.certificate(truth=0).void == _voids.reasons(_voids.OTHER_RULES)[0]
    # However the prior is scaled, it is the same one.
    same = ConsensusImitator(ensembles.tabular(PROBS, prior=[2, 6]), selection=TopK(1), seed=0)
    other = ConsensusImitator.from_state(same.state, ensembles.tabular(PROBS, prior=[0.25, 0.75]), selection=RULE)
    assert other.certificate().void == ""


class Vetoing(Demonstrator):
    """Answers by a coin, and raises when it hears of the imitator's action 1."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __call__(self, observation: Any) -> int:
        return int(self.rng.random() < 0.5)

    def observe(self, action: int, who: str) -> None:
        if who == "imitator" and action == 1:
            raise ValueError("not that one")


@pytest.mark.parametrize("journal", [False, True])
def test_a_veto_by_exception_is_no_imitator_of_the_demonstrator(tmp_path: Path, journal: bool) -> None:
    members = ensembles.tabular(np.full((2, 1, 2), 0.5))
    more: dict[str, Any] = {"journal": tmp_path / "run"} if journal else {}
    imitator = ConsensusImitator(
        members, Vetoing(), selection=AlphaThreshold(0.01), seed=0, inflation_budget=InflationBudget(1.0), **more
    )
    actions = []
    while len(actions) < 60:
        try:
            actions.append(imitator.act(0).action)
        except ValueError:
            assert bool(imitator.state.stream.asking)
    assert np.mean(actions) < 0.45
    (reason,) = _voids.reasons(_voids.BROKEN_OFF)
    assert imitator.certificate().void == reason
    if journal:
        crash(imitator)
        resumed = ConsensusImitator.resume(
            tmp_path / "run", members, selection=AlphaThreshold(0.01), inflation_budget=InflationBudget(1.0)
        )
        assert resumed.certificate().void == reason
        resumed.close()


def test_a_warning_that_is_an_error_gives_no_second_draw() -> None:
    """Members declared normalised are examined where somebody is asked: that they are unusable is said there only."""
    probs = np.array([[[0.5, 0.5]], [[0.1, 0.9]]])
    imitator = ConsensusImitator(ensembles.tabular(probs), selection=RULE, seed=0)
    acting = imitator._live._acting
    first = acting.decided

    def warns(run: Any, recorder: Any, observation: Any, drawn: Any) -> Any:
        step = first(run, recorder, observation, drawn)
        if step.asks:
            warnings.warn("of what was drawn", ConsensusWarning, stacklevel=1)
        return step

    acting.decided = warns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConsensusWarning):
            until_asked(imitator)
    acting.decided = first
    assert bool(imitator.state.stream.asking)
    assert imitator.decide(0).query_prob == 1
    assert imitator.certificate().void == _voids.reasons(_voids.BROKEN_OFF)[0]


@pytest.mark.parametrize("num_envs", [None, 2])
def test_going_back_to_before_a_question_does_not_give_back_what_it_cost(num_envs: int | None) -> None:
    """Else whoever restores after each question makes the imitator as bold as if none had been asked."""
    members = ensembles.tabular(np.array([[[0.5, 0.5]], [[0.75, 0.25]]]))
    imitator = ConsensusImitator(
        members,
        selection=AlphaThreshold(1e-4),
        seed=3,
        num_envs=num_envs,
        inflation_budget=InflationBudget(1.25**2 + 1e-3),
    )
    env, free = (None if num_envs is None else 1), 0
    for _ in range(12):
        before = imitator.state
        decision = imitator.decide(0, env=env)
        if decision.queried:
            cost = np.array(imitator.ledger)
            free += not decision.handed_over
            imitator.restore(before)
            np.testing.assert_array_equal(imitator.ledger, cost)
            decision = imitator.decide(0, env=env)
            imitator.answer(decision, 0)
    assert free <= 2
    assert np.max(imitator.ledger) <= np.log(1.25**2 + 1e-3)
    assert np.max(imitator.ledger) > 0.4
    assert imitator.certificate().void == ""


def test_clearing_while_nothing_is_wrong_keeps_the_bets() -> None:
    """Else each clearing would give the alarm another chance to be false."""
    imitator = make(alarm=MisspecificationAlarm(0.01))
    imitator.pretrain([0] * 6, [0, 0, 0, 0, 1, 0])
    before = np.asarray(imitator.state.alarm.log_e)
    assert before.max() > 1
    imitator.clear_alarm()
    np.testing.assert_array_equal(imitator.state.alarm.log_e, before)
    assert imitator.certificate().void == ""
    imitator = make(alarm=MisspecificationAlarm(0.01))
    until_asked(imitator)
    until_asked(imitator, 2)
    assert imitator.state.unexplained
    assert np.asarray(imitator.state.alarm.log_e).any()
    imitator.clear_alarm()
    assert not np.asarray(imitator.state.alarm.log_e).any()
    assert imitator.certificate().void


def test_the_same_rules_are_the_same() -> None:
    """The control: however their numbers are typed."""
    imitator = make(inflation_budget=InflationBudget(2))
    until_asked(imitator)
    same = ConsensusImitator.from_state(
        imitator.state, MEMBERS, selection=TopK(jnp.int32(1)) | AlphaThreshold(jnp.float32(0.01)),
        inflation_budget=InflationBudget(2.0),
    )  # fmt: skip
    assert same.certificate().void == imitator.certificate().void == ""


def test_the_fingerprint_is_the_same_when_it_is_traced() -> None:
    for rule in (TopK(3), TopK(2) | AlphaThreshold(0.25), InflationBudget(3.0), PosteriorMixture()):
        plain = int(fingerprint(rule))
        assert int(jax.jit(fingerprint)(rule)) == plain
        doubled = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * 2), rule)
        if jax.tree.leaves(rule):
            assert np.asarray(jax.vmap(fingerprint)(doubled)).tolist() == [plain, plain]


def test_an_unusable_prediction_is_remembered() -> None:
    """Such a member asks without losing weight: no bound on questions is left, whether alarms are cleared or not."""
    ill = [np.nan] * 3
    good = [0.2, 0.8, 0.0]
    members = ensembles.callables([lambda observation: ill if observation == 1 else good, lambda observation: good], 3)
    imitator = ConsensusImitator(members, lambda observation: 1, selection=AlphaThreshold(0.01), seed=0)
    assert np.isfinite(imitator.certificate().queries_bound)
    imitator.act(1)
    imitator.clear_alarm()
    imitator.act(0)  # it is well again
    for one in (
        imitator,
        ConsensusImitator.from_state(imitator.state, members, selection=AlphaThreshold(0.01)),
    ):
        assert one.certificate().queries_bound == np.inf
        assert one.certificate().void == ""


def test_studied_steps_are_counted_in_the_state() -> None:
    imitator = make()
    imitator.pretrain([0] * 5, [1] * 5)
    imitator.pretrain([0] * 300, [1] * 300)
    assert int(again(imitator).state.studied) == 305


def test_all_reasons_are_said() -> None:
    imitator = with_fact("an alarm was cleared")
    gone_back(imitator)
    said = imitator.certificate().void
    for fact in (_voids.CLEARED, _voids.WENT_BACK):
        assert _voids.reasons(fact)[0] in said
