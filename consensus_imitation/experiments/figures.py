"""The common parts of pictures: an empty figure, colours, axes. The first picture imports matplotlib."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consensus_imitation.experiments.results import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, which people with any colour vision can tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")

_LINES = ("-", "--", ":")
_RATE_TICKS = (0.0, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0)


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure, in inches.

    Raises:
        ImportError: without matplotlib, naming the extra.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "consensus_imitation[plot]"') from error
    # Figure without pyplot: no window, no global state, no display needed.
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.set_facecolor("white")
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write a PNG."""
    figure.savefig(path, dpi=130)


def as_png(figure: "Figure") -> bytes:
    """Return the picture as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def draw_band(
    ax: "Axes", x: np.ndarray, values: np.ndarray, style: Mapping[str, Any], label: str | None = None
) -> None:
    """Draw median and middle half of ``values`` [S, T] over seeds, against ``x`` [T]; a single point is a dot."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    ax.plot(x, middle, label=label, linewidth=1.6, marker="o" if len(x) == 1 else None, **style)
    ax.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)


def line_style(number: int) -> dict[str, Any]:
    """Return the colour and kind of the line of that number: all colours with full lines first."""
    return {"color": PALETTE[number % len(PALETTE)], "linestyle": _LINES[number // len(PALETTE) % len(_LINES)]}


def rate_axis(ax: "Axes") -> None:
    """Make the upward axis one of rates: linear up to 1%, logarithmic above.

    So it shows zero, and also rates that differ a hundredfold.
    """
    ax.set_yscale("symlog", linthresh=0.01)
    ax.set_yticks(_RATE_TICKS, [f"{100 * tick:g}%" for tick in _RATE_TICKS])
    ax.minorticks_off()
    ax.set_ylim(-0.0008, 1.3)


def query_rates(steps: np.ndarray, answers: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Return the query rate over the later half of the steps so far, so that the window grows with the time.

    Args:
        steps: [P], ascending.
        answers: [S, P], of each run by then.
        least: count at least so many queries in a window.

    Returns:
        [S, P].
    """
    halves = np.searchsorted(steps, steps / 2, side="right") - 1
    earlier = np.where(halves >= 0, answers[:, halves], 0.0)
    width = steps - np.where(halves >= 0, steps[halves], 0)
    return np.maximum(answers - earlier, least) / width


def num_seeds(rows: Sequence[Row]) -> int:
    """Return how many seeds the rows are of."""
    return len({row["seed"] for row in rows})
