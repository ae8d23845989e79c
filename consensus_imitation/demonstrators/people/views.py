"""What a person is shown of a situation: text, a mission, a picture."""

import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_OBJECTS = ("?", ".", "#", ".", "D", "K", "B", "X", "G", "~", "@")
_WORDS = ("unseen", "empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava", "agent")
_COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
_DOORS = ("open", "closed", "locked")

_HIGHLIGHTED, _COLOUR = re.compile(r"\x1b\[[1-9][0-9;]*m(.*?)\x1b\[0?m"), re.compile(r"\x1b\[[0-9;]*m")

#: What the numbers of Gymnasium's own environments are called, by the beginning of the id.
_NUMBERS: dict[str, tuple[str, ...]] = {
    "CartPole": ("position", "velocity", "angle", "angular velocity"),
    "MountainCar": ("position", "velocity"),
    "Acrobot": ("cos 1", "sin 1", "cos 2", "sin 2", "angular velocity 1", "angular velocity 2"),
    "LunarLander": ("x", "y", "speed x", "speed y", "angle", "turning", "left leg touches", "right leg touches"),
    "Blackjack": ("sum", "dealer shows", "usable ace"),
}
#: So many numbers are listed; of more there is a summary.
_MOST = 24


@dataclass(frozen=True)
class View:
    """What there is to see.

    Attributes:
        text: several lines.
        mission: "" if there is none.
        picture: a PNG; None without one.
    """

    text: str
    mission: str = ""
    picture: bytes | None = None


def view(env: Any, observation: Any, picture: bool = False) -> View:
    """Return what a person is shown.

    Text is what the environment renders, if it renders text (``render_mode="ansi"``); a gridworld's map; the view of a
    MiniGrid agent, which is what members see, too; or otherwise the observation's numbers by name.

    Args:
        env: the environment; None if there is only the observation.
        observation: as the environment gave it.
        picture: whether to ask for a picture; there is one with ``render_mode="rgb_array"``.
    """
    image = png(env.render()) if picture and getattr(env, "render_mode", None) == "rgb_array" else None
    return View(_text(env, observation), mission_of(env, observation), image)


def mission_of(env: Any, observation: Any) -> str:
    """Return what is to be done, in words; "" if nobody says."""
    own = observation.get("mission") if isinstance(observation, Mapping) else None
    inner = getattr(env, "unwrapped", env)
    said = own if isinstance(own, str) else getattr(inner, "mission", "")
    return said if isinstance(said, str) else ""


def png(pixels: Any) -> bytes:
    """Return a picture, uint8 [H, W, 3], as a PNG."""
    image = np.ascontiguousarray(pixels, np.uint8)
    height, width = image.shape[:2]
    raw = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter, 0 for none
    raw[:, 1:] = image[..., :3].reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(raw.tobytes(), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _text(env: Any, observation: Any) -> str:
    if getattr(env, "render_mode", None) == "ansi":
        return _uncoloured(str(env.render()))
    world = getattr(getattr(env, "unwrapped", env), "world", None)
    if world is not None and hasattr(world, "render_text") and np.ndim(observation) == 0:
        return str(world.render_text(int(observation)))
    if isinstance(observation, Mapping) and np.ndim(observation.get("image", 0)) == 3:
        tiles = np.asarray(observation["image"])
        if tiles.shape[0] == tiles.shape[1] and tiles.shape[2] == 3 and tiles[..., 0].max() < len(_OBJECTS):
            return minigrid_text(tiles)
    return "\n".join(_numbers(env, observation))


def minigrid_text(tiles: np.ndarray) -> str:
    """Return a MiniGrid agent's view as text: it stands at ``^``, in the middle of the last line, and looks up.

    Args:
        tiles: uint8 [width, height, 3], kind, colour and state of each tile.
    """
    size = len(tiles)
    rows: list[str] = []
    seen: dict[str, str] = {}
    for y in range(size):
        cells: list[str] = []
        for x in range(size):
            kind, colour, state = (int(part) for part in tiles[x, y])
            here = (x, y) == (size // 2, size - 1)
            cell = _OBJECTS[kind]
            if kind >= 4 and kind != 10:
                colour_name = _COLOURS[colour] if colour < len(_COLOURS) else "?"
                cell += colour_name[0] if kind < 8 else ""
                name = _WORDS[kind] if kind >= 8 else f"{colour_name} {_WORDS[kind]}"
                if kind == 4 and state < len(_DOORS):
                    name = f"{_DOORS[state]} {name}"
                seen[cell] = f"you carry the {name}" if here else f"{cell} {name}, {_where(x, y, size)}"
            cells.append("^" if here else cell)
        rows.append(" ".join(f"{cell:<2}" for cell in cells).rstrip())
    legend = "; ".join(seen.values()) or "nothing to see but walls and floor"
    return "\n".join([*rows, legend])


def _uncoloured(text: str) -> str:
    """Text without colours; what was highlighted, often where the agent is, stands in brackets."""
    return _COLOUR.sub("", _HIGHLIGHTED.sub(r"[\1]", text))


def _where(x: int, y: int, size: int) -> str:
    ahead, aside = size - 1 - y, x - size // 2
    parts = [f"{ahead} ahead"] if ahead else []
    if aside:
        parts.append(f"{abs(aside)} to the {'right' if aside > 0 else 'left'}")
    return " and ".join(parts)


def _numbers(env: Any, observation: Any, name: str = "") -> list[str]:
    if isinstance(observation, Mapping):
        return [line for key, part in observation.items() for line in _numbers(env, part, f"{name}{key} ")]
    if isinstance(observation, str):
        return [f"{name.strip() or 'text'}: {observation}"]
    if isinstance(observation, tuple | list):
        observation = np.asarray(observation) if all(np.ndim(one) == 0 for one in observation) else observation
    if isinstance(observation, tuple | list):
        return [line for key, part in enumerate(observation) for line in _numbers(env, part, f"{name}{key} ")]
    values = np.asarray(observation)
    if values.ndim == 0:
        return [f"{name.strip() or 'state'}: {_number(values)}"]
    if values.size > _MOST:
        return [f"{name.strip() or 'observation'}: {values.dtype} {list(values.shape)}, mean {values.mean():.4g}"]
    flat = values.reshape(-1)
    env_id = str(getattr(getattr(env, "spec", None), "id", "")).rpartition("/")[2]
    known = next((own for start, own in _NUMBERS.items() if env_id.startswith(start)), ())
    names = known if not name and len(known) == flat.size else [f"{name}{i}" for i in range(flat.size)]
    return [f"{one}: {_number(value)}" for one, value in zip(names, flat, strict=True)]


def _number(value: Any) -> str:
    kind = np.asarray(value).dtype.kind
    return f"{float(value):.4g}" if kind == "f" else str(value.item() if hasattr(value, "item") else value)
