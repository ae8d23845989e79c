"""What is no action is refused at every entrance, for every kind of action, and nothing is learned from it."""

import datetime
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import TopK
from consensus_imitation.core.sampling_learner import SamplingLearner
from consensus_imitation.ensembles.any_action import discretised_logistic, from_functions
from consensus_imitation.errors import InvalidAnswerError
from consensus_imitation.imitator import SamplingImitator

from .test_imitator import ENSEMBLE, RULE, Space

DOSES = discretised_logistic(
    lambda dose, patient: (dose, jnp.zeros(2)), jnp.array([[10.0, 9.0], [12.0, 9.0]]), [0, 0], [50, 50]
)
GEARS = from_functions(
    sample=lambda own, seen, key: {"speed": own + jax.random.normal(key), "gear": jnp.int8(2)},
    log_prob=lambda own, seen, a: jnp.where(a["gear"] == 2, jax.scipy.stats.norm.logpdf(a["speed"], own), -jnp.inf),
    params=jnp.array([0.0, 3.0]),
)


class ArrayRaises:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("no array today")


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text today")


#: Whatever the members' actions are: two numbers.
ANYWHERE: dict[str, Any] = {
    "shape": [1],
    "scalar": 1,
    "text": "left",
    "texts": ["1", "2"],
    "none": None,
    "nothings": [None, None],
    "ragged": [[1], [1, 2]],
    "complex": np.array([1j, 0]),
    "dict": {"torque": 1},
    "true": True,
    "bools": [True, False],
    "one bool": [1, True],
    "numpy bools": np.ones(2, bool),
    "masked": np.ma.masked,
    "masked vector": np.ma.array([1, 2], mask=[False, True]),
    "masked all": np.ma.array([1, 2], mask=True),
    "masked floats": np.ma.array([1.0, 2.0], mask=[True, False]),
    "masked in a list": [np.ma.masked, 1],
    "durations": np.array([1, 2], "timedelta64[s]"),
    "duration in a list": [np.timedelta64(1, "s"), np.timedelta64(1, "s")],
    "dates": np.array(["2020-01-01", "2020-01-02"], "datetime64[D]"),
    "date": datetime.date(2020, 1, 1),
    "objects": np.array([1, 2], object),
    "bytes": b"ab",
    "set": {1, 2},
    "function": len,
    "array raises": ArrayRaises(),
    "unprintable": Unprintable(),
    "structured": np.array([(1, 2)], dtype=[("a", int), ("b", int)]),
}
FLOATS = {
    "nan": [np.nan, 0.0],
    "inf": [np.inf, 0.0],
    "too large for float32": [1e300, 0.0],
    "outside": [2.5, 0.0],
    "masked nan": np.ma.array([np.nan, 1.0], mask=[True, False]),
}
WHOLE = {
    "floats": [1.0, 2.0],
    "one float": [1, 2.0],
    "nan": [np.nan, 1],
    "too large for int32": [2**40, 1],
    "beyond 64 bits": [2**70, 1],
    "unsigned": np.array([2**32 + 1, 1], np.uint64),
}
STRUCTURED = {
    "part missing": {"speed": 1.0},
    "part too many": {"speed": 1.0, "gear": 2, "lights": 1},
    "float for an integer": {"speed": 1.0, "gear": 2.0},
    "does not fit": {"speed": 1.0, "gear": 300},
    "masked part": {"speed": np.ma.masked, "gear": 2},
    "duration": {"speed": 1.0, "gear": np.timedelta64(2, "s")},
    "bool": {"speed": 1.0, "gear": True},
    "list": [1.0, 2],
}

#: Members, what else the imitator is made of, no answers, and an answer.
KINDS: dict[str, tuple[Any, dict[str, Any], dict[str, Any], Any]] = {
    "floats": (ENSEMBLE, {"selection": RULE, "action_space": Space()}, ANYWHERE | FLOATS, [1, -1]),
    "integers": (DOSES, {"selection": TopK(2)}, ANYWHERE | WHOLE, [11, 9]),
    "structured": (GEARS, {"selection": TopK(2)}, STRUCTURED, {"speed": 1, "gear": 2}),
}


def asking(kind: str, demonstrator: Any = None) -> SamplingImitator:
    """One whose next step is a question."""
    ensemble, options, _, _ = KINDS[kind]
    learner = SamplingLearner(ensemble, options["selection"])
    state = learner.pose(learner.init(jax.random.key(0)))
    return SamplingImitator.from_state(state, ensemble, demonstrator, **options)


def answered(kind: str) -> Callable[[Any], Any]:
    """`decide` and `answer`; the question stays open in between."""
    imitator = asking(kind)
    decision = imitator.decide(np.zeros(2, np.float32))

    def say(answer: Any) -> Any:
        closed = imitator.answer(decision, answer)
        return imitator, closed

    say.imitator = imitator  # type: ignore[attr-defined]
    return say


def acted(kind: str) -> Callable[[Any], Any]:
    """`act`; the demonstrator is asked each time."""
    said: list[Any] = []
    imitator = asking(kind, lambda observation: said[-1])

    def say(answer: Any) -> Any:
        said.append(answer)
        return imitator, imitator.act(np.zeros(2, np.float32))

    say.imitator = imitator  # type: ignore[attr-defined]
    return say


ENTRANCES = {"answer": answered, "act": acted}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_what_is_no_action_is_refused_and_teaches_nothing(entrance: str, kind: str) -> None:
    say = ENTRANCES[entrance](kind)
    imitator = say.imitator  # type: ignore[attr-defined]
    weights = imitator.weights
    for name, bad in KINDS[kind][2].items():
        with pytest.raises(InvalidAnswerError, match="the demonstrator answered"):
            pytest.fail(f"{name} was taken for {say(bad)[1].action}")
        assert (imitator.num_steps, imitator.num_queries) == (0, 0), name
        np.testing.assert_array_equal(imitator.weights, weights)
    imitator, closed = say(KINDS[kind][3])
    assert (imitator.num_steps, imitator.num_queries) == (1, 1)
    jax.tree.map(np.testing.assert_array_equal, closed.action, KINDS[kind][3])


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize(
    "answer", [[1, -1], (1.0, -1.0), np.array([1, -1], np.int8), jnp.array([1.0, -1.0]), np.ma.array([1.0, -1.0])]
)
def test_numbers_are_taken_in_every_form(entrance: str, answer: Any) -> None:
    _, closed = ENTRANCES[entrance]("floats")(answer)
    assert closed.action.tolist() == [1.0, -1.0]
    assert closed.action.dtype == np.float32
