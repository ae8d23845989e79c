"""The compared methods: budgets, labels, gates, and what the demonstrator is told."""

from typing import Any

import numpy as np
import pytest

from consensus_imitation import ensembles
from consensus_imitation.ensembles import Training, tabular
from consensus_imitation.experiments import CompareConfig, methods
from consensus_imitation.experiments.compare import one_run
from consensus_imitation.experiments.compare.one_run import COLUMNS, CURVE_COLUMNS, run_method
from consensus_imitation.experiments.methods import (
    BudgetSpentError,
    CountedDemonstrator,
    Dagger,
    EnsembleDagger,
    NearestNeighbours,
    SafeDagger,
    Setup,
    ThriftyDagger,
)

from .tiny import ROOMS, Rooms, Watching, expert, rooms

#: Without caution: what a gate asks is then its own doing.
TRAINING = Training(learning_rate=0.02, batch_size=16, updates=2, every=2, capacity=256, caution=0.0)
RIGHT = np.eye(2)[np.arange(ROOMS) % 2]
#: Three members that do not learn (nor take long to compile): careful, undecided, and unsure in one room.
FIXED = np.stack([0.9 * RIGHT + 0.05, 0.4 * RIGHT + 0.3, 0.8 * RIGHT + 0.1])
FIXED[2, 5] = 0.45, 0.55


def make_members(num_outputs: int | None) -> Any:
    return ensembles.mlp(ROOMS, num_outputs or 2, num_members=3, hidden=(8,), training=TRAINING)


def setup(answering: Any = expert, budget: int = 60, horizon: int = 400, seed: int = 0) -> Setup:
    return Setup(make_members, CountedDemonstrator(answering, budget), horizon, seed)


def play(method: Any, steps: int, demonstrator: CountedDemonstrator) -> list[int]:
    """Run until the steps or the answers are used up; returns what was executed."""
    env, executed = Rooms(), []
    observation, _ = env.reset(seed=0)
    method.begin_episode()
    while len(executed) < steps and not demonstrator.spent:
        executed.append(method.act(observation))
        observation, _, terminated, truncated, _ = env.step(executed[-1])
        if terminated or truncated:
            observation, _ = env.reset()
            method.begin_episode()
    return executed


@pytest.fixture
def fixed_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_run, "members_for", lambda *_: lambda outputs: tabular(FIXED))


def sized(queries: int, num_steps: int, evaluations: int, episodes: int) -> CompareConfig:
    sizes = {"num_members": 3, "evaluations": evaluations, "episodes": episodes}
    return CompareConfig("rooms", queries=queries, num_steps=num_steps, **sizes)


@pytest.mark.slow
@pytest.mark.usefixtures("fixed_members")
@pytest.mark.parametrize("name", [*methods.names(), "minimum-3"])
def test_no_method_exceeds_its_budget(name: str) -> None:
    """A few hundred steps: answers are counted, never exceeded, and every step of learning is told of."""
    watching = Watching()
    budget = 60
    config = sized(budget, 300, evaluations=3, episodes=10)
    task = rooms(build_demonstrator=lambda env, seed, epsilon: watching)
    rows, curve = run_method(task, config, name, 0)
    last = rows[-1]
    assert len(watching.asked) == last["answers"] <= budget
    assert last["steps"] == 300
    assert last["final"] is True
    assert [row["final"] for row in rows[:-1]] == [False] * (len(rows) - 1)
    assert all(tuple(row) == COLUMNS for row in rows)
    assert all(tuple(row) == CURVE_COLUMNS for row in curve)
    assert len(watching.told) == 300 - last["deployed_steps"]
    assert np.all(np.diff([row["answers"] for row in rows]) >= 0)
    assert last["deployed_steps"] == 0 or last["answers"] == budget
    assert last["success"] == 1.0  # the members' favourite is right in every room


@pytest.mark.slow
def test_the_minimum_learns_within_its_budget() -> None:
    """With members that are networks, from nothing; guessing solves 1 episode in 64."""
    rows, _ = run_method(rooms(), sized(150, 600, evaluations=2, episodes=10), "minimum", 0)
    assert rows[-1]["success"] > 0.2
    assert rows[-1]["log_loss"] < 0.9 * np.log(2)


@pytest.mark.usefixtures("fixed_members")
def test_the_methods_differ_only_in_when_they_ask_and_how_they_act() -> None:
    """Behavioural cloning asks at every step; the horizon's rate is what `random` asks at."""
    counts = {}
    for name in ("bc", "random", "dagger"):
        rows, _ = run_method(rooms(), sized(40, 400, evaluations=1, episodes=2), name, 0)
        spent = next((row["steps"] for row in rows if row["answers"] == 40), 400)
        counts[name] = spent, rows[-1]["answers"]
    assert counts["bc"] == (40, 40)
    assert counts["dagger"] == (40, 40)
    # Binomial(400, 0.1): 5 sigma is 30.
    assert abs(counts["random"][1] / counts["random"][0] - 0.1) < 5 * np.sqrt(0.09 / 400)


def test_a_spent_demonstrator_refuses() -> None:
    counted = CountedDemonstrator(expert, budget=2)
    assert (counted(3), counted(4)) == (1, 0)
    with pytest.raises(BudgetSpentError, match="all 2 answers are spent"):
        counted(5)
    assert counted.answers == 2


@pytest.mark.slow
def test_dagger_labels_everything_and_executes_its_own_guesses_in_the_end() -> None:
    watching = Watching()
    given = setup(watching, budget=100)
    method = Dagger(given, decay=0.5)
    executed = play(method, 1000, given.demonstrator)
    assert len(watching.asked) == len(executed) == 100
    assert [action for action, _ in watching.told] == executed
    who = [by for _, by in watching.told]
    assert who[:5] == ["demonstrator"] * 5  # the first round of twenty
    assert who[-25:] == ["imitator"] * 25  # beta is below 2^-14
    # What is executed on the demonstrator's turn is its label.
    turns = [(a, o) for (a, by), o in zip(watching.told, watching.asked, strict=True) if by == "demonstrator"]
    assert all(action == expert(observation) for action, observation in turns)
    assert any(action != expert(o) for action, o in zip(executed, watching.asked, strict=True))


@pytest.mark.slow
def test_safedagger_asks_where_its_classifier_foresees_a_mistake() -> None:
    given = setup(budget=400)
    method = SafeDagger(given, initial=0.1)
    play(method, 300, given.demonstrator)
    before = given.demonstrator.answers
    assert before < 300  # the classifier lets it act
    assert method.classifier.num_queries == before  # and has learned from every answer

    method._safety = type("Afraid", (), {"predict": lambda self, observation: (1, None)})()
    method.act(3)
    assert given.demonstrator.answers == before + 1
    method._safety = type("Bold", (), {"predict": lambda self, observation: (0, None)})()
    for room in range(ROOMS):
        method.act(room)
    assert given.demonstrator.answers == before + 1


@pytest.mark.slow
@pytest.mark.parametrize(("doubt", "asks"), [(1.0, False), (0.0, True)])
def test_ensembledagger_asks_by_its_limit_after_the_initial_answers(doubt: float, asks: bool) -> None:
    given = setup(budget=100)
    method = EnsembleDagger(given, doubt=doubt, discrepancy=1.0, initial=0.2)
    executed = play(method, 60, given.demonstrator)
    assert len(executed) == 60
    assert given.demonstrator.answers == (60 if asks else 20)


def test_nearest_asks_where_the_answered_observations_are_far() -> None:
    """Against every distance to those before, in NumPy, for two numbers of very different size."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(60, 2)).astype(np.float32) * np.float32([1, 100])

    def members(_: int | None) -> Any:
        return ensembles.mlp((2,), 2, num_members=2, hidden=(4,), training=TRAINING)

    given = Setup(members, CountedDemonstrator(lambda _: 1, 1000), 400, 0)
    method = NearestNeighbours(given, limit=0.4, neighbour=2, initial=0.005)
    answered: list[Any] = []
    for observation in seen:
        known = np.array(answered, float).reshape(-1, 2)
        apart = np.sort(np.hypot(*((known - observation) / known.std(axis=0)).T)) if len(known) > 1 else [np.inf] * 2
        asks = len(known) < 5 or apart[1] > 0.4
        before = given.demonstrator.answers
        method.act(observation)
        assert given.demonstrator.answers - before == asks
        if asks:
            answered.append(observation)
    assert 10 < len(answered) < 50


@pytest.mark.slow
def test_thriftydagger_keeps_to_its_rate() -> None:
    given = setup(budget=400, horizon=10_000)
    method = ThriftyDagger(given, rate=0.25, initial=0.05)
    executed = play(method, 800, given.demonstrator)
    rate = (given.demonstrator.answers - 20) / (len(executed) - 20)
    # The rate is off by at most the way that the threshold's logarithm went, over step size and time (and noise-free).
    drift = abs(np.log(method.threshold) - np.log(0.01)) / 0.05 / (len(executed) - 20)
    assert abs(rate - 0.25) <= drift + 0.01
    assert 0.1 < rate < 0.4


@pytest.mark.slow
def test_log_losses_are_of_predictions_made_before_learning() -> None:
    """The first answer to untrained members costs about ln 2; after many it costs little; a rerun says the same."""
    losses = []
    for _ in range(2):
        given = setup(budget=120)
        method = methods.make_method("bc", given)
        play(method, 200, given.demonstrator)
        losses.append(method.log_losses)
    assert losses[0] == losses[1]
    assert len(losses[0]) == 120
    assert abs(losses[0][0] - np.log(2)) < 0.4
    assert np.mean(losses[0][-20:]) < 0.5 * np.mean(losses[0][:20])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("minimun", "did you mean 'minimum'"),
        ("nothing-like-it", "there are minimum, bc"),
        ("bc-3", "takes no number"),
        ("maxprob-high", "comes a number"),
        ("minimum-2.5", "k must be an integer"),
        ("maxprob-1.5", "threshold must lie in"),
        ("dagger-2", "decay must lie in"),
        ("safedagger-2", "initial must lie in"),
        ("nearest--1", "limit must be a distance"),
        ("thriftydagger-1", "rate must lie in"),
    ],
)
def test_names_that_are_none(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        methods.make_method(name, setup())
