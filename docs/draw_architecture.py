"""Draw ``docs/images/architecture.png``: the rooms of the package, and the ways of an observation and of an answer."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

PICTURE = Path(__file__).with_name("images") / "architecture.png"

#: Floors from the top: rooms (name, what it is for), which import from the floors below them only.
FLOORS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("cli", "the command line"), ("benchmarks", "speed, as ratios")),
    (("experiments", "a folder each; tasks, methods, one ledger"),),
    (("deception", "planted members, the suite"), ("envs", "worlds; import nothing of ours")),
    (("imitator", "the stateful shell: run, step, recorder, resume"),),
    (("demonstrators", "who answers: panel, patience, bots"),),
    (("ensembles", "what a member can be"), ("journal", "records and checkpoints on disk")),
    (("core", "the mathematics and the pure learner: no files, no clocks"),),
    (("errors", "every error and warning"),),
)
WIDTH, HEIGHT, GAP = 9.0, 0.72, 0.3


def draw(axes: Any) -> None:
    """Draw the rooms floor by floor, and the two ways beside them."""
    places: dict[str, tuple[float, float]] = {}
    for floor, rooms in enumerate(FLOORS):
        y = -floor * (HEIGHT + GAP)
        each = (WIDTH - 0.25 * (len(rooms) - 1)) / len(rooms)
        for number, (name, purpose) in enumerate(rooms):
            x = number * (each + 0.25)
            colour = "#fff4d6" if name == "imitator" else "#e8eef7"
            axes.add_patch(
                FancyBboxPatch((x, y), each, HEIGHT, boxstyle="round,pad=0.02", facecolor=colour, edgecolor="#38506b")
            )
            axes.text(x + 0.15, y + 0.44, name, weight="bold", size=10, va="center")
            axes.text(x + 0.15, y + 0.17, purpose, size=7.5, va="center", color="#333333")
            places[name] = (x + each, y + HEIGHT / 2)
    _way(
        axes,
        WIDTH + 0.35,
        [places[name][1] for name in ("imitator", "ensembles", "core")],
        "#1b6e3a",
        "an observation:\nthe shell copies it,\nthe members predict,\nthe core decides;\nan action, or a question",
    )
    _way(
        axes,
        WIDTH + 2.75,
        [places[name][1] for name in ("imitator", "demonstrators", "core", "journal")],
        "#8a3b12",
        "a question and its answer:\nthe demonstrator is asked,\nthe core reweights,\n"
        "the journal writes it\nbefore it counts",
    )
    axes.text(0, HEIGHT + 0.25, "imports run downward only", size=9, style="italic", color="#38506b")
    axes.set_xlim(-0.2, WIDTH + 5.0)
    axes.set_ylim(-len(FLOORS) * (HEIGHT + GAP) + 0.1, HEIGHT + 0.6)
    axes.axis("off")


def _way(axes: Any, x: float, stops: list[float], colour: str, text: str) -> None:
    """Draw one vertical line with a stop at each room that it passes, and what happens beside it."""
    low, high = min(stops), max(stops)
    axes.plot([x, x], [low, high], color=colour)
    for number, stop in enumerate(stops, 1):
        axes.plot([x], [stop], "o", color=colour, markersize=13)
        axes.text(x, stop, str(number), color="white", size=8, ha="center", va="center", weight="bold")
    axes.text(x - 0.15, high + 0.45, text, size=7.5, color=colour, va="bottom")


def main() -> None:
    """Write the picture."""
    figure, axes = plt.subplots(figsize=(10.5, 6.6))
    draw(axes)
    figure.savefig(PICTURE, dpi=110, bbox_inches="tight", metadata={"Software": None})


if __name__ == "__main__":
    main()
