"""From an environment's observation to arrays of fixed shapes, and from those to the features of a network.

An `Encoder` has two halves. On the host, ``encoder(observation)`` checks an observation and turns it into a small
pytree of NumPy arrays: pictures stay bytes, choices stay integers, words become counts, so that a replay of them is
small. Inside a network, ``encoder.features(encoded)`` turns those into floats (scaled, one-hot). It refuses what does
not fit before any member learns from it.

Gymnasium is imported only when a Gymnasium space is given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from consensus_imitation.core._observations import num_axes
from consensus_imitation.core._validation import check_integer
from consensus_imitation.ensembles.neural._encoding_parts import (
    BinaryLeaf,
    BoxLeaf,
    ChoiceLeaf,
    ChoicesLeaf,
    GridLeaf,
    Leaf,
    TextLeaf,
    box_scale,
)
from consensus_imitation.errors import ConfigurationError, ObservationError

if TYPE_CHECKING:
    from gymnasium import spaces

#: The words of MiniGrid's and BabyAI's missions.
MINIGRID_WORDS = (
    *("red", "green", "blue", "purple", "yellow", "grey"),
    *("ball", "box", "key", "door", "goal", "lava", "object"),
    *("go", "to", "get", "pick", "up", "fetch", "open", "put", "next", "near", "use", "toggle", "reach"),
    *(
        "the",
        "a",
        "an",
        "and",
        "then",
        "after",
        "you",
        "of",
        "on",
        "in",
        "it",
        "your",
        "left",
        "right",
        "front",
        "behind",
    ),
)


#: MiniGrid's own views have at most 25 cells a side; its wrappers draw each cell with 8 pixels, 40 a side and more.
_LARGEST_VIEW = 32


@dataclass(frozen=True)
class Encoder:
    """An encoder; make it with `make_encoder`. Equal spaces give equal encoders, so that compiled functions are shared.

    Attributes:
        root: what an observation consists of.
    """

    root: "Part"

    def __call__(self, observation: Any) -> Any:
        """Encode one observation: a pytree of arrays of fixed shapes.

        Raises:
            ObservationError: if the observation does not fit (wrong shape, NaN or infinity, missing or unknown key, an
                impossible number or word list); the message names the part.
        """
        return self.root.encode(observation, "observation", None)

    def batch(self, observations: Any) -> Any:
        """Encode B observations: the same pytree with leading axis B.

        Args:
            observations: what a Gymnasium vector environment returns (one batched array per part, texts as a sequence
                of strings), or a list of single observations.

        Raises:
            ObservationError: as for a single observation, or if the parts' numbers of observations differ.
        """
        if isinstance(observations, list) and not isinstance(self.root, Leaf):
            if not observations:
                raise ObservationError("a batch needs at least one observation; got an empty list")
            singles = [self(observation) for observation in observations]
            return jax.tree.map(lambda *parts: np.stack(parts), *singles)
        return self.root.encode(observations, "observations", _length(self.root, observations))

    def length(self, observations: Any) -> int | None:
        """Return how many observations a batch holds, None for a single one: by the first part, unchecked."""
        part: Part = self.root
        value: Any = observations
        while not isinstance(part, Leaf):
            if isinstance(part, DictPart):
                if not isinstance(value, Mapping):
                    return len(value) if isinstance(value, list) else None
                key, part = part.parts[0]
                value = value.get(key)
            else:
                part, value = part.parts[0], value[0] if isinstance(value, tuple | list) and value else None
        if isinstance(part, TextLeaf):
            return None if isinstance(value, str) or not hasattr(value, "__len__") else len(value)
        return len(value) if value is not None and num_axes(value) == np.ndim(part.zeros()) + 1 else None

    def features(self, encoded: Any) -> jax.Array:
        """Return all parts of one encoded observation as one vector, float32 [width]; pure JAX."""
        return self.root.features(encoded)

    @property
    def width(self) -> int:
        """Length of `features`."""
        return self.root.width

    def zeros(self) -> Any:
        """Return an encoded observation of zeros, which shows the shapes."""
        return self.root.zeros()


@dataclass(frozen=True)
class DictPart:
    """Named parts, in the order of their names."""

    parts: tuple[tuple[str, "Part"], ...]

    def encode(self, value: Any, where: str, length: int | None) -> dict[str, Any]:
        """Encode every part."""
        if not isinstance(value, Mapping):
            raise ObservationError(
                f"{where}: expected a dictionary with the keys {self._keys}; got {type(value).__name__}"
            )
        if set(value) != set(self._keys):
            missing = [key for key in self._keys if key not in value]
            unknown = [key for key in value if key not in self._keys]
            raise ObservationError(
                f"{where}: missing keys {missing}, unknown keys {unknown}; the space has {self._keys}"
            )
        return {key: part.encode(value[key], f"{where}[{key!r}]", length) for key, part in self.parts}

    def features(self, encoded: Any) -> jax.Array:
        """Return the parts' features, one after another."""
        return jax.numpy.concatenate([part.features(encoded[key]) for key, part in self.parts])

    @property
    def width(self) -> int:
        """Number of features."""
        return sum(part.width for _, part in self.parts)

    def zeros(self) -> dict[str, Any]:
        """Return an encoded value of zeros."""
        return {key: part.zeros() for key, part in self.parts}

    @property
    def _keys(self) -> list[str]:
        return [key for key, _ in self.parts]


@dataclass(frozen=True)
class TuplePart:
    """Parts in order."""

    parts: tuple["Part", ...]

    def encode(self, value: Any, where: str, length: int | None) -> tuple[Any, ...]:
        """Encode every part."""
        if not isinstance(value, (tuple, list)) or len(value) != len(self.parts):
            raise ObservationError(f"{where}: expected a tuple of {len(self.parts)} parts; got {_describe(value)}")
        return tuple(part.encode(value[i], f"{where}[{i}]", length) for i, part in enumerate(self.parts))

    def features(self, encoded: Any) -> jax.Array:
        """Return the parts' features, one after another."""
        return jax.numpy.concatenate([part.features(own) for part, own in zip(self.parts, encoded, strict=True)])

    @property
    def width(self) -> int:
        """Number of features."""
        return sum(part.width for part in self.parts)

    def zeros(self) -> tuple[Any, ...]:
        """Return an encoded value of zeros."""
        return tuple(part.zeros() for part in self.parts)


Part = Leaf | DictPart | TuplePart


def make_encoder(
    space: Any, *, vocabulary: Sequence[str] = (), buckets: int | None = None, grid: bool | None = None
) -> Encoder:
    """Return the encoder of an observation space.

    ============= ============================== ==========================================================
    space         encoded as                     features
    ============= ============================== ==========================================================
    Box           float32, or uint8 as it is     see below
    Discrete      int32 index                    one-hot
    MultiDiscrete int32 indices                  one-hot each
    MultiBinary   uint8                          0 and 1
    Text          uint8 counts of words          counts
    Dict, Tuple   nested                         one after another
    MiniGrid view uint8 ``[H, W, 3]``            one-hot of object, colour and state
    ============= ============================== ==========================================================

    A Box of integers with finite bounds is scaled to [0, 1]. A Box of floats stays as it is, except where its bounds
    are finite and larger than 10 (up to a million): then it is divided by the larger one. The encoder gathers no
    statistics during a run: they would change the meaning of what a network has learned.

    Args:
        space: a Gymnasium space; or an int n for ``Discrete(n)``; or a tuple of ints for an unbounded Box of floats of
            that shape; or an `Encoder`, which is returned.
        vocabulary: words to tell apart in texts (lower case; punctuation is ignored).
        buckets: further counters, for words outside the vocabulary, which share them by a checksum. 8 if None, or 64
            where there is no vocabulary either.
        grid: whether a Box ``[H, W, 3]`` of uint8 holds MiniGrid's object, colour and state numbers. If None: yes in a
            Dict with the keys ``image``, ``direction`` and ``mission``, unless a side is longer than 32: then it is a
            picture, drawn by one of MiniGrid's wrappers. The texts of such a Dict know MiniGrid's words in any case.

    Raises:
        ConfigurationError: if the space is of a kind that has no fixed shape (Sequence, Graph), or not a space.
        ImportError: if ``space`` is not an int or a tuple, and Gymnasium is not installed.

    Example:
        >>> from consensus_imitation.ensembles.neural.encoding import make_encoder
        >>> encoder = make_encoder((3,))
        >>> encoder([1.0, 2.0, 3.0]).dtype
        dtype('float32')
        >>> encoder([1.0, 2.0])
        Traceback (most recent call last):
        ...
        consensus_imitation.errors.ObservationError: observation: expected shape (3,); got (2,)
    """
    if isinstance(space, Encoder):
        return space
    given: Any = vocabulary
    if isinstance(given, str) or not all(isinstance(word, str) for word in given):
        raise ConfigurationError(f"vocabulary must be a sequence of words, got {vocabulary!r}")
    words = tuple(dict.fromkeys(word.lower() for word in vocabulary))
    if buckets is not None:
        check_integer("buckets", buckets, 0 if words else 1, "0 is possible with a vocabulary")
    if isinstance(space, int | np.integer):  # which a bool and a duration are to Python: their sizes are refused
        return Encoder(ChoiceLeaf(_positive(space), 0))
    if isinstance(space, tuple):
        return Encoder(BoxLeaf(tuple(_positive(size) for size in space), False, 0.0, 1.0))
    return Encoder(_from_gymnasium(space, words, buckets, grid))


def num_actions_of(action_space: Any) -> int:
    """Return A, the number of actions of a space.

    Args:
        action_space: ``Discrete(n)`` that starts at 0, or the int n.

    Raises:
        ConfigurationError: for any other space.
        ImportError: if it is not an int, and Gymnasium is not installed.

    Example:
        >>> from consensus_imitation.ensembles.neural.encoding import num_actions_of
        >>> num_actions_of(4)
        4
    """
    if isinstance(action_space, int | np.integer):
        return check_integer("the number of actions", action_space, 1)
    spaces = _spaces()
    if not isinstance(action_space, spaces.Discrete):
        raise ConfigurationError(
            f"actions must be numbered, Discrete(n); got {action_space}. For Box actions see "
            "consensus_imitation.ensembles.any_action, for MultiDiscrete number the combinations in a wrapper"
        )
    if action_space.start != 0:
        raise ConfigurationError(
            f"actions must be numbered from 0; got {action_space}: shift them in a wrapper, e.g. "
            f"gymnasium.wrappers.TransformAction(env, lambda action: action + {action_space.start}, "
            f"gymnasium.spaces.Discrete({action_space.n})), and have the demonstrator answer likewise"
        )
    return _positive(action_space.n)


def check_num_actions(action_space: Any, num_actions: int) -> None:
    """Refuse an action space with more or fewer actions than the members have.

    Args:
        action_space: of the environment, as `num_actions_of` takes it.
        num_actions: A, of the members.

    Raises:
        ConfigurationError: with the number of each; or if the actions are not numbered from 0.
        ImportError: as `num_actions_of`.

    Example:
        >>> from consensus_imitation.ensembles.neural.encoding import check_num_actions
        >>> check_num_actions(2, 2)
        >>> try:
        ...     check_num_actions(2, 3)
        ... except ValueError as error:
        ...     print(str(error).split(":")[0])
        the environment has 2 actions, but the members choose among 3
    """
    available = num_actions_of(action_space)
    if available != num_actions:
        raise ConfigurationError(
            f"the environment has {available} actions, but the members choose among {num_actions}: construct the "
            "ensemble for the environment's action_space"
        )


def _from_gymnasium(space: Any, words: tuple[str, ...], buckets: int | None, grid: bool | None) -> Part:
    spaces = _spaces()
    match space:
        case spaces.Box():
            return _box(space, bool(grid))
        case spaces.Discrete():
            return ChoiceLeaf(_choices(space.n), _start(space.start))
        case spaces.MultiDiscrete():
            starts = np.broadcast_to(space.start, space.nvec.shape)
            sizes, firsts = np.ravel(space.nvec), np.ravel(starts)
            if not sizes.size:
                raise ConfigurationError(f"cannot encode {space}, which holds nothing")
            return ChoicesLeaf(tuple(space.nvec.shape), tuple(map(_choices, sizes)), tuple(map(_start, firsts)))
        case spaces.MultiBinary():
            return BinaryLeaf(tuple(space.shape))
        case spaces.Dict():
            if {"image", "direction", "mission"} == set(space.spaces):
                words = words or MINIGRID_WORDS
                grid = max(space["image"].shape or (0,)) <= _LARGEST_VIEW if grid is None else grid
            parts = sorted(space.spaces.items())
            return DictPart(tuple((key, _from_gymnasium(part, words, buckets, grid)) for key, part in parts))
        case spaces.Tuple():
            return TuplePart(tuple(_from_gymnasium(part, words, buckets, grid) for part in space.spaces))
        case spaces.Text():
            return _text(words, buckets)
        case spaces.Space() if any(kind.__name__ == "MissionSpace" for kind in type(space).__mro__):
            return _text(words, buckets)  # MiniGrid's, recognised without importing MiniGrid
        case _:
            raise ConfigurationError(
                f"cannot encode {space}: give a Gymnasium Box, Discrete, MultiDiscrete, MultiBinary, Text, Dict or "
                "Tuple, an int (Discrete) or a tuple of ints (shape of a Box)"
            )


def _box(space: "spaces.Box", grid: bool) -> Leaf:
    shape = tuple(int(size) for size in space.shape)
    if grid and space.dtype == np.uint8 and len(shape) == 3 and shape[-1] == 3:
        return GridLeaf(shape[:2])
    whole = np.dtype(space.dtype).kind in "iub"
    offset, scale = box_scale(np.asarray(space.low, np.float64), np.asarray(space.high, np.float64), whole)
    return BoxLeaf(shape, space.dtype == np.uint8, offset, scale)


def _text(words: tuple[str, ...], buckets: int | None) -> TextLeaf:
    if buckets is None:
        buckets = 8 if words else 64
    return TextLeaf(words, buckets)


def _choices(number: Any) -> int:
    return check_integer("the number of choices of a space", number, 1, "each is a feature")


def _start(number: Any) -> int:
    """Return the first choice; the last one also has to be a number of 64 bits."""
    if not abs(int(number)) <= 2**62:
        raise ConfigurationError(f"choices must be numbered from -2**62 to 2**62; got a space that starts at {number}")
    return int(number)


def _positive(size: Any) -> int:
    return check_integer("a size of a space", size, 1, "sizes are positive")


def _length(part: Part, value: Any) -> int:
    """Return how many observations a batch holds, by its first leaf."""
    while not isinstance(part, Leaf):
        if isinstance(part, DictPart):
            key, part = part.parts[0]
            if not isinstance(value, Mapping) or key not in value:
                raise ObservationError(f"observations: expected a dictionary of batched parts with the key {key!r}")
            value = value[key]
        else:
            if not isinstance(value, tuple) or len(value) != len(part.parts):
                raise ObservationError(f"observations: expected a tuple of {len(part.parts)} batched parts")
            part, value = part.parts[0], value[0]
    if isinstance(value, str) or not hasattr(value, "__len__"):
        raise ObservationError(f"observations: expected a batch with a leading axis; got {_describe(value)}")
    if getattr(value, "ndim", None) == 0:
        raise ObservationError("observations: expected a batch with a leading axis; got a single number")
    return len(value)


def _describe(value: Any) -> str:
    return f"{type(value).__name__} of length {len(value)}" if hasattr(value, "__len__") else type(value).__name__


def _spaces() -> Any:
    try:
        from gymnasium import spaces
    except ImportError as error:
        raise ImportError(
            'spaces other than an int or a tuple of ints need Gymnasium: pip install "consensus_imitation[gym]"',
            name="gymnasium",
        ) from error
    return spaces
