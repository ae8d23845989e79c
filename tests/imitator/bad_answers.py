"""What is no answer: as a value, and as a reference to a query."""

import dataclasses
import datetime
import decimal
import fractions
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from consensus_imitation import Decision
from tests.stress.crowd_world import A, query_of


class IndexRaises:
    def __index__(self) -> int:
        raise RuntimeError("no index today")


class IndexIsSound:
    """Could be used as an index, and is no number."""

    def __index__(self) -> int:
        return 1


class ArrayRaises:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("no array today")


class ArrayRaisesValueError:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise ValueError("no array today")


class ArrayIsText:
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return "1"


class ArrayIs:
    """Is read as that very array, mask and all."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array


def holding_itself() -> list[Any]:
    """A list that never ends."""
    lists: list[Any] = []
    lists.append(lists)
    return lists


class Text(str):
    """A text that is not quite one."""


#: For one environment.
VALUES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "true": lambda: True,
    "false": lambda: False,
    "numpy true": lambda: np.True_,
    "one as a float": lambda: 1.0,
    "half": lambda: 0.5,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "negative zero": lambda: -0.0,
    "numpy float": lambda: np.float32(1),
    "complex": lambda: 1 + 0j,
    "A": lambda: A,
    "minus one": lambda: -1,
    "numpy A": lambda: np.int64(A),
    "numpy unsigned": lambda: np.uint8(255),
    "beyond 32 bits": lambda: 2**32 + 1,
    "beyond 64 bits": lambda: 2**64 + 1,
    "huge": lambda: 10**30,
    "text": lambda: "1",
    "kind of text": lambda: Text("1"),
    "bytes": lambda: b"1",
    "empty list": list,
    "list": lambda: [1],
    "tuple": lambda: (1,),
    "dictionary": lambda: {"action": 1},
    "set": lambda: {1},
    "range": lambda: range(2),
    "array": lambda: np.array([1]),
    "matrix": lambda: np.array([[1]]),
    "ragged": lambda: [[1], [1, 2]],
    "jax float": lambda: jnp.array(1.0),
    "jax array": lambda: jnp.array([1]),
    "decimal": lambda: decimal.Decimal(1),
    "fraction": lambda: fractions.Fraction(1),
    "date": lambda: datetime.date(2020, 1, 1),
    "function": lambda: changed,
    "object": object,
    "ellipsis": lambda: ...,
    "index raises": IndexRaises,
    "index is sound": IndexIsSound,
    "array raises a ValueError": ArrayRaisesValueError,
    "array is text": ArrayIsText,
    "masked": lambda: np.ma.masked,
    "masked integer": lambda: np.ma.array(1, mask=True),
    "masked integer in disguise": lambda: ArrayIs(np.ma.array(1, mask=True)),
    "duration": lambda: np.timedelta64(1, "s"),
    "array of a duration": lambda: np.array(1, "m8[D]"),
    "time": lambda: np.datetime64(1, "s"),
    "not a time": lambda: np.timedelta64("NaT", "s"),
    "object that is one": lambda: np.array(1, object),
    "record": lambda: np.array((1,), [("action", "i4")]),
    "holds itself": holding_itself,
}

#: For a batch of three in lockstep; a row that was queried reads what is wrong.
ROWS: dict[str, Callable[[], Any]] = {
    "one for all": lambda: 1,
    "too few": lambda: [1, 1],
    "too many": lambda: [1] * 4,
    "nested": lambda: [[1]] * 3,
    "ragged": lambda: [1, [1, 2], 1],
    "none": lambda: None,
    "dictionary": lambda: {0: 1, 1: 1, 2: 1},
    "set": lambda: {0, 1, 2},
    "text": lambda: "111",
    "floats": lambda: np.ones(3),
    "bools": lambda: np.ones(3, bool),
    "nan": lambda: [float("nan")] * 3,
    "out of range": lambda: [A] * 3,
    "texts": lambda: ["1", "1", "1"],
    "nobody": lambda: [None] * 3,
    "array raises": ArrayRaises,
    "masked": lambda: np.ma.array([1, 1, 1], mask=True),
    "list of masked": lambda: [np.ma.array(1, mask=True)] * 3,
    "masked in disguise": lambda: ArrayIs(np.ma.array([1, 1, 1], mask=True)),
    "durations": lambda: np.ones(3, "m8[s]"),
    "bytes": lambda: b"\1\1\1",
    "labelled": lambda: {2: 1, 1: 1, 0: 1}.values(),
}


def changed(**changes: Any) -> Callable[[Decision], Any]:
    """The query with other fields."""
    return lambda decision: dataclasses.replace(query_of(decision), **changes)


#: References to no query of this imitator: of the decision that waits, with words of the error.
REFERENCES: dict[str, tuple[Callable[[Decision], Any], str, str]] = {
    "none": (lambda decision: None, "InvalidAnswerError", "not the decision that waits.*got None"),
    "number": (lambda decision: query_of(decision).id, "InvalidAnswerError", "expected one that decide"),
    "text": (lambda decision: query_of(decision).run, "InvalidAnswerError", "expected one that decide"),
    "dictionary": (lambda decision: dataclasses.asdict(query_of(decision)), "InvalidAnswerError", "or its query"),
    "another run": (changed(run="0" * 32), "WrongQueryError", "another imitator"),
    "another observation": (changed(observation="0" * 64), "WrongQueryError", "another question"),
    "another environment": (changed(env=1), "WrongQueryError", "another question"),
    "another step": (changed(step=10_000), "WrongQueryError", "another question"),
    "never posed": (changed(id=10_000), "WrongQueryError", "never posed"),
    "before the first": (changed(id=-1), "WrongQueryError", "never posed"),
    "no number": (changed(id="0"), "InvalidAnswerError", "id of a query must be int"),
    "number that is none": (changed(id=0.5), "InvalidAnswerError", "id of a query must be int"),
}
