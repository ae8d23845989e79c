"""Pictures of gridworlds, as text and as RGB arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

AGENT = "A"

# The palette of Okabe and Ito, which stays distinct in the common forms of colour blindness, and greys.
TILE_COLOURS: dict[str, tuple[int, int, int]] = {
    "#": (64, 64, 64),  # wall
    ".": (245, 245, 240),  # floor
    "G": (0, 158, 115),  # goal
    "~": (213, 94, 0),  # cliff, lava
    "x": (230, 159, 0),  # forbidden ground
    "v": (86, 180, 233),  # vase
    ",": (190, 190, 190),  # what is left of it
    "*": (240, 228, 66),  # resource
    "L": (204, 121, 167),  # lever, fragile thing
    "1": (240, 228, 66),  # light on
    "0": (140, 140, 140),  # light off
    "e": (86, 180, 233),  # somebody watches
    "-": (140, 140, 140),  # nobody watches
    "!": (0, 0, 0),  # control was seized
}
#: What a tile is, in a word or two.
TILE_NAMES: dict[str, str] = {
    "#": "wall",
    ".": "floor",
    "G": "goal",
    "~": "harmful ground",
    "x": "forbidden ground",
    "v": "vase",
    ",": "broken vase",
    "*": "resource",
    "L": "lever or fragile",
    "1": "light on",
    "0": "light off",
    "e": "somebody watches",
    "-": "nobody watches",
    "!": "control was seized",
}
# Harmful ground is also striped, so that it does not depend on colour alone.
_STRIPED = frozenset("~x!")
_AGENT_COLOUR = (0, 114, 178)
_RIM_COLOUR = (255, 255, 255)


class Frame(NamedTuple):
    """One picture of a world.

    Attributes:
        rows: Strings of equal length, one character of `TILE_COLOURS` a tile.
        agent: Row and column of the agent.
    """

    rows: tuple[str, ...]
    agent: tuple[int, int]


def render_text(frame: Frame) -> str:
    """Draw a frame as text.

    Args:
        frame: The picture.

    Returns:
        One line a row, the agent as "A", no newline at the end.

    Example:
        >>> print(render_text(Frame(rows=("..G", "~~~"), agent=(0, 1))))
        .AG
        ~~~
    """
    rows = [list(row) for row in frame.rows]
    row, column = frame.agent
    rows[row][column] = AGENT
    return "\n".join("".join(line) for line in rows)


def render_rgb(frame: Frame, tile: int = 24) -> npt.NDArray[np.uint8]:
    """Draw a frame as an RGB picture, the agent as a disc.

    Args:
        frame: The picture.
        tile: Side of a tile in pixels, at least 6.

    Returns:
        uint8 [rows * tile, columns * tile, 3].

    Raises:
        ValueError: For tiles too small to see the agent in, or a character that is not in `TILE_COLOURS`.

    Example:
        >>> render_rgb(Frame(rows=("..G", "~~~"), agent=(0, 1)), tile=10).shape
        (20, 30, 3)
    """
    if tile < 6:
        raise ValueError(f"tile must be at least 6 pixels, got {tile}")
    unknown = sorted(set("".join(frame.rows)) - set(TILE_COLOURS))
    if unknown:
        raise ValueError(
            f"tiles without a colour: {unknown}. Use those that have one ({''.join(TILE_COLOURS)}), or give yours a "
            "colour in TILE_COLOURS and a name in TILE_NAMES (envs/rendering.py)"
        )
    colours = np.array([[TILE_COLOURS[char] for char in row] for row in frame.rows], np.float64)
    picture = colours.repeat(tile, axis=0).repeat(tile, axis=1)

    y, x = np.mgrid[:tile, :tile]
    striped = np.array([[char in _STRIPED for char in row] for row in frame.rows])
    stripes = np.tile((x + y) % max(tile // 3, 3) < max(tile // 10, 1), striped.shape)
    stripes &= striped.repeat(tile, axis=0).repeat(tile, axis=1)
    picture[stripes] = 0.5 * picture[stripes] + 0.5 * 255.0
    # A darker edge at the top and left of each tile draws the grid.
    picture[::tile] *= 0.85
    picture[:, ::tile] *= 0.85

    middle = (tile - 1) / 2
    distance = np.hypot(y - middle, x - middle) / tile
    row, column = frame.agent
    cell = picture[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
    cell[distance <= 0.42] = _RIM_COLOUR
    cell[distance <= 0.33] = _AGENT_COLOUR
    return picture.astype(np.uint8)
