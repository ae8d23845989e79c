"""Which actions there are, what they are called, and which key means which."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consensus_imitation.errors import ConfigurationError

#: What a page and a terminal need themselves: help, undo, "I don't know", take over.
RESERVED = {"?": "help", "u": "undo", "i": "I don't know", "t": "take over"}

#: The key of an action of that name, where it is free.
_USUAL = {
    "left": "a", "right": "d", "forward": "w", "up": "w", "north": "w", "down": "s", "south": "s", "west": "a",
    "east": "d", "stay": "s", "pickup": "e", "drop": "q", "toggle": "f", "done": "x", "nothing": "s", "noop": "s",
    "left engine": "a", "right engine": "d", "main engine": "w",
}  # fmt: skip
_OTHERS = "1234567890bcghjklmnoprvyz"

#: Names of Gymnasium's own environments, which do not say them: by the beginning of the id.
_NAMES: dict[str, tuple[str, ...]] = {
    "FrozenLake": ("left", "down", "right", "up"),
    "CliffWalking": ("up", "right", "down", "left"),
    "Taxi": ("south", "north", "east", "west", "pickup", "drop"),
    "CartPole": ("left", "right"),
    "MountainCar": ("left", "nothing", "right"),
    "Acrobot": ("left", "nothing", "right"),
    "LunarLander": ("nothing", "left engine", "main engine", "right engine"),
    "Blackjack": ("stick", "hit"),
}


@dataclass(frozen=True)
class Actions:
    """The actions of an environment.

    Attributes:
        names: A of them, each once.
        keys: A of them, each once.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]

    def find(self, text: str) -> int | None:
        """Return the action that a key, a name or a number (if no key is one) means; None if none."""
        if text in self.keys:
            return self.keys.index(text)
        if text in self.names:
            return self.names.index(text)
        return int(text) if text.isascii() and text.isdigit() and int(text) < len(self.names) else None


def actions_of(env: Any, keys: Any = None, names: Sequence[str] | None = None) -> Actions:
    """Return the actions of an environment, with a name and a key each.

    Names come from ``names``; the environment (MiniGrid's ``actions``, a gridworld's ``action_names``, Atari's
    ``get_action_meanings()``); what is known of Gymnasium's own; or are "action 0" and so on. Keys come from ``keys``;
    the environment's ``get_keys_to_action()``, of which combinations of several keys are left out; usual ones (w, a, s,
    d for up, left, down, right); or digits and letters.

    Args:
        env: a Gymnasium environment with numbered actions.
        keys: for some actions or all: ``{key: action}`` as Gymnasium's ``keys_to_action``, or A keys in a sequence.
        names: A names.

    Raises:
        ConfigurationError: if the actions are not numbered, a key is no single character, means two actions, or is one
            that the page and the terminal need themselves, or a name appears twice.

    Example:
        >>> import gymnasium
        >>> from consensus_imitation.demonstrators.people.keys import actions_of
        >>> actions_of(gymnasium.make("FrozenLake-v1"))
        Actions(names=('left', 'down', 'right', 'up'), keys=('a', 's', 'd', 'w'))
    """
    num_actions = _num_actions(env)
    found = tuple(str(name) for name in (names if names is not None else _names(env, num_actions)))
    if len(found) != num_actions or len(set(found)) < num_actions:
        raise ConfigurationError(f"names must be {num_actions} different ones, one for each action; got {found}")
    given = _given(keys, num_actions) if keys is not None else _own(env, num_actions)
    taken = dict(given)
    for action, name in enumerate(found):
        if action in taken:
            continue
        free = [one for one in (_USUAL.get(name, ""), *_OTHERS) if one and one not in taken.values()]
        if free:
            taken[action] = free[0]
        else:
            raise ConfigurationError(
                f"there are {num_actions} actions and no keys left: answer by name or number is not enough for a "
                "person; choose fewer actions, or name their keys"
            )
    return Actions(found, tuple(taken[action] for action in range(num_actions)))


def _num_actions(env: Any) -> int:
    space = getattr(env, "single_action_space", getattr(env, "action_space", None))
    count = getattr(space, "n", None)
    if count is None or int(getattr(space, "start", 0)) != 0:
        raise ConfigurationError(
            f"a person answers by numbered actions, from 0; the environment's action space is {space!r}: wrap it, or "
            "pass the environment"
        )
    return int(count)


def _names(env: Any, num_actions: int) -> Sequence[str]:
    inner = getattr(env, "unwrapped", env)
    actions = getattr(inner, "actions", None)
    if isinstance(actions, type) and issubclass(actions, enum.IntEnum) and len(actions) >= num_actions:
        return [actions(number).name for number in range(num_actions)]
    world = getattr(inner, "world", None)
    known = getattr(world, "action_names", None)
    if known is None and callable(getattr(inner, "get_action_meanings", None)):
        known = [str(one).lower() for one in inner.get_action_meanings()]
    if known is None:
        env_id = str(getattr(getattr(env, "spec", None), "id", "")).rpartition("/")[2]
        known = next((own for start, own in _NAMES.items() if env_id.startswith(start)), None)
    if known is not None and len(known) == num_actions and len(set(known)) == num_actions:
        return [str(one) for one in known]
    return [f"action {number}" for number in range(num_actions)]


def _own(env: Any, num_actions: int) -> dict[int, str]:
    """The environment's own keys, as far as they are single characters that nobody else needs."""
    give = getattr(getattr(env, "unwrapped", env), "get_keys_to_action", None)
    if not callable(give):
        return {}
    found: dict[int, str] = {}
    own: Any = give()
    for combination, action in own.items():
        key = _single(combination)
        if key is None or key in RESERVED or not 0 <= int(action) < num_actions or key in found.values():
            continue
        found.setdefault(int(action), key)
    return found


def _given(keys: Any, num_actions: int) -> dict[int, str]:
    pairs = list(keys.items()) if isinstance(keys, Mapping) else [(key, i) for i, key in enumerate(keys)]
    found: dict[int, str] = {}
    for combination, action in pairs:
        key = _single(combination)
        if key is None:
            raise ConfigurationError(f"a key is one printable character, not {combination!r}")
        if key in RESERVED:
            raise ConfigurationError(f"the key {key!r} means {RESERVED[key]!r} here: choose another")
        number = action if isinstance(action, int | np.integer) and not isinstance(action, bool) else -1
        if not 0 <= number < num_actions:
            raise ConfigurationError(f"key {key!r} stands for {action!r}, which is none of the {num_actions} actions")
        if key in found.values() or int(number) in found:
            raise ConfigurationError(f"key {key!r} and action {number} may appear once only among the keys")
        found[int(number)] = key
    return found


def _single(combination: Any) -> str | None:
    """A key as one lower-case character, from what Gymnasium's tables hold: "w", ord("w"), ("w",)."""
    if isinstance(combination, tuple | list):
        parts: Any = combination
        return _single(parts[0]) if len(parts) == 1 else None
    if isinstance(combination, int) and 32 < combination < 127:
        combination = chr(combination)
    if isinstance(combination, str) and len(combination) == 1 and combination.isprintable() and combination != " ":
        return combination.lower()
    return None
