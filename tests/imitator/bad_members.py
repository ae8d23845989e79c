"""Outputs that are no prediction, and ensembles in which the last member gives them when it is shown `BAD`."""

import collections
import datetime
import decimal
import fractions
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from consensus_imitation import ensembles

N, A = 3, 3
#: Observations: predictions are sound on the first two, and the last member's are what is tested on the third.
CALM, OTHER, BAD = 0, 1, 2

NAN, INF = float("nan"), float("inf")
SOUND = np.array(
    [[[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2]], [[0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]]
)
LAST = np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]])
#: [N, S, A]
PROBS = np.concatenate([SOUND, LAST[None]])


class ArrayRaises:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("no array today")


class ArrayIsText:
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return "0.6 0.3 0.1"


class ArrayIsEmpty:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.zeros((0, A))


class ItemsRaise:
    def __len__(self) -> int:
        return A

    def __getitem__(self, i: int) -> float:
        raise LookupError("no item today")


class FloatRaises:
    def __float__(self) -> float:
        raise ArithmeticError("no number today")


class Liar(np.ndarray):
    """Says of everything that it is fine."""

    def __ge__(self, other: Any) -> Any:
        return np.ones(self.shape, bool)

    def astype(self, *_: Any, **__: Any) -> Any:
        return np.array([0.6, 0.3, 0.1])


class WordlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even a message")


def raises(error: BaseException) -> Callable[[], Any]:
    def member() -> Any:
        raise error

    return member


def recurses() -> Any:
    return recurses()


def divides_by_zero() -> Any:
    return [1 / 0, 0, 0]


def deleted() -> Any:
    array = jnp.array([0.6, 0.3, 0.1])
    array.delete()
    return array


#: What a Python function may return, or do, instead of predicting.
OUTPUTS: dict[str, Callable[[], Any]] = {
    "nan first": lambda: [NAN, 0.5, 0.5],
    "nan in the middle": lambda: [0.5, NAN, 0.5],
    "nan last": lambda: [0.5, 0.5, NAN],
    "all nan": lambda: np.full(A, NAN),
    "inf": lambda: [INF, 0.0, 0.0],
    "minus inf": lambda: [-INF, 0.5, 0.5],
    "inf and nan": lambda: [INF, NAN, 0.0],
    "negative": lambda: [1.1, -0.1, 0.0],
    "hardly negative": lambda: [0.5, 0.5, -1e-300],
    "sum above one": lambda: [0.5, 0.5, 0.5],
    "sum just above one": lambda: [0.5, 0.5, 0.001],
    "all ones": lambda: np.ones(A),
    "nothing at all": lambda: [0.0, 0.0, 0.0],
    "huge": lambda: [1e300, 0.0, 0.0],
    "huge integers": lambda: [10**30, 0, 0],
    "large integers": lambda: np.array([2**62, 1, 1]),
    "too short": lambda: [0.5, 0.5],
    "too long": lambda: [0.25] * 4,
    "empty": list,
    "scalar": lambda: 0.3,
    "row of rows": lambda: [[0.6, 0.3, 0.1]],
    "column": lambda: [[0.6], [0.3], [0.1]],
    "ragged": lambda: [[0.5], [0.5, 0.1], 0.2],
    "none": lambda: None,
    "none inside": lambda: [0.5, None, 0.5],
    "text": lambda: "0.6 0.3 0.1",
    "texts of numbers": lambda: ["0.6", "0.3", "0.1"],
    "bytes": lambda: b"abc",
    "dictionary": lambda: {0: 0.6, 1: 0.3, 2: 0.1},
    "set": lambda: {0.6, 0.3, 0.1},
    "generator": lambda: (p for p in (0.6, 0.3, 0.1)),
    "iterator": lambda: iter([0.6, 0.3, 0.1]),
    "deque of texts": lambda: collections.deque(["a", "b", "c"]),
    "function": lambda: divides_by_zero,
    "class": lambda: list,
    "ellipsis": lambda: ...,
    "complex": lambda: np.array([0.6 + 0j, 0.3, 0.1]),
    "objects": lambda: np.array([0.6, 0.3, 0.1], object),
    "fractions": lambda: [fractions.Fraction(1, 3)] * 3,
    "decimals": lambda: [decimal.Decimal("0.3")] * 3,
    "dates": lambda: np.array(["2020-01-01"] * 3, "datetime64[D]"),
    "times": lambda: [datetime.timedelta(1)] * 3,
    "records": lambda: np.zeros(A, [("p", float)]),
    "sparse": lambda: scipy.sparse.csr_array(np.array([[0.6, 0.3, 0.1]])),
    "jax nan": lambda: jnp.array([0.5, jnp.nan, 0.5]),
    "jax logits": lambda: jnp.array([2.0, -1.0, 0.5]),
    "jax key": lambda: jax.random.key(0),
    "jax deleted": deleted,
    "array raises": ArrayRaises,
    "array is text": ArrayIsText,
    "array is empty": ArrayIsEmpty,
    "items raise": ItemsRaise,
    "float raises": lambda: [FloatRaises()] * 3,
    "array that lies": lambda: np.array([NAN, NAN, NAN]).view(Liar),
    "raises": raises(RuntimeError("no prediction today")),
    "raises without words": raises(WordlessError()),
    "raises stop iteration": raises(StopIteration()),
    "raises memory error": raises(MemoryError()),
    "raises timeout": raises(TimeoutError("the model is far away")),
    "raises a group": raises(ExceptionGroup("two", [ValueError("a"), KeyError("b")])),
    "asserts": raises(AssertionError("it was thought to be impossible")),
    "recurses": recurses,
    "divides by zero": divides_by_zero,
}

#: Rows of log-probabilities that a member in pure JAX may give.
ROWS: dict[str, list[float]] = {
    **{f"nan at {i}": [NAN if i == j else float(np.log(0.5)) for j in range(A)] for i in range(A)},
    **{f"inf at {i}": [INF if i == j else -INF for j in range(A)] for i in range(A)},
    "all nan": [NAN] * A,
    "all inf": [INF] * A,
    "nothing at all": [-INF] * A,
    "inf and nan": [INF, NAN, -INF],
    "sum above one": np.log([0.5, 0.5, 0.1]).tolist(),
    "one above one": np.log([1.2, 0.0001, 0.0001]).tolist(),
    "probabilities for logarithms": [0.6, 0.3, 0.1],
    "huge": [3e38, -3e38, 0.0],
}

#: Those that are tried in batches and unions, too.
FEW = ("nan in the middle", "sum above one", "too long", "none", "generator", "raises", "array raises")


def python_members(output: Callable[[], Any]) -> ensembles.Ensemble:
    """Functions; what the last one is on `BAD` is tested."""

    def sound(n: int) -> Callable[[Any], Any]:
        return lambda observation: PROBS[n, int(observation)]

    def last(observation: Any) -> Any:
        return output() if int(observation) == BAD else LAST[int(observation)]

    return ensembles.callables([sound(0), sound(1), last], A)


def joined_members(output: Callable[[], Any]) -> ensembles.Ensemble:
    """The same, with the first two members in pure JAX."""

    def last(observation: Any) -> Any:
        return output() if int(observation) == BAD else LAST[int(observation)]

    return ensembles.union(ensembles.tabular(SOUND), ensembles.callables([last], A))


def pure_members(row: list[float]) -> ensembles.Ensemble:
    """Tables; the last one's row for `BAD` is tested."""
    tables = ensembles.tabular(PROBS)
    return tables.replace(table=tables.table.at[BAD, N - 1].set(jnp.asarray(row, jnp.float32)))


def network_members(row: list[float]) -> ensembles.Ensemble:
    """Parameters that are logits; those of the last member for `BAD` are tested."""
    logits = np.log(PROBS).astype(np.float32)
    logits[N - 1, BAD] = row
    return ensembles.stacked(_row, jnp.asarray(logits), A)


def _row(own: jax.Array, observation: jax.Array) -> jax.Array:
    return own[observation]
