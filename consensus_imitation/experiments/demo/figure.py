"""The pictures of the demo: the weight of each member, and two runs side by side."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from consensus_imitation.core._escaping import figure_text, visible
from consensus_imitation.experiments.figures import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ACTS, _ASKS, _HARM = "#0072B2", "#E69F00", "#D55E00"
_ACTING, _ASKING = ("acts by itself", _ACTS), ("asks the demonstrator", _ASKS)


def posterior(
    weights: np.ndarray, queried: np.ndarray, names: Sequence[str], betray_at: int | None, title: str
) -> "Figure":
    """Draw posterior weights over time, with the queries as ticks.

    Args:
        weights: [T, N], before each step.
        queried: bool [T].
        names: N names.
        betray_at: step of the betrayal, if there is one.
        title: of the picture.
    """
    figure = new_figure(9.0, 3.8)
    ax, ticks = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (8, 1)})
    steps = np.arange(len(weights))
    shades = _categorical_colours(len(names))
    for colour, name, line in zip(shades, names, weights.T, strict=True):
        special = name in ("truth", "deceptive")
        ax.plot(steps, line, color=colour, label=figure_text(name), linewidth=2.0 if special else 1.0)
    ax.set(ylabel="posterior weight", ylim=(0, 1.02), title=figure_text(title, longest=100))
    for one in (ax, ticks):
        if betray_at is not None:
            one.axvline(betray_at, color="black", linestyle=":", linewidth=1)
    if betray_at is not None:
        ax.annotate("betrayal", (betray_at, 0.93), xytext=(4, 0), textcoords="offset points", fontsize=9)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    ticks.vlines(steps[queried], 0, 1, color=_ASKS, linewidth=0.6)
    ticks.set(xlabel="step", yticks=[], ylabel="asked", xlim=(0, len(weights)))
    return figure


def film(
    render: Callable[[int], np.ndarray],
    runs: Mapping[str, Mapping[str, np.ndarray]],
    first: int,
    num_frames: int,
    frame_ms: int = 260,
    betray_at: int | None = None,
    tiles: Sequence[tuple[str, np.ndarray]] = (),
) -> bytes:
    """Return an animated GIF of several runs side by side, each step labelled with who acted, with a legend below.

    Args:
        render: state number -> uint8 [H, W, 3].
        runs: label -> ``observation``, ``queried``, ``harm`` (each [T]) of a run.
        first: first step shown.
        num_frames: number of steps shown.
        frame_ms: duration of a frame, in milliseconds.
        betray_at: step of the betrayal, if there is one; the legend says when it is over.
        tiles: what is seen in the pictures, for the legend: names and pictures, each uint8 [H, W, 3].

    Raises:
        ImportError: without Pillow, naming the extra that brings it.
    """
    image, draw, font = _pillow()
    large, small = font.load_default(size=15), font.load_default(size=13)
    gap, header, legend = 14, 52, 64
    frames: list[Any] = []
    harmed = dict.fromkeys(runs, False)
    for t in range(first, first + num_frames):
        pictures = {label: render(int(run["observation"][t])) for label, run in runs.items()}
        height = max(picture.shape[0] for picture in pictures.values())
        widths = [max(250, picture.shape[1]) for picture in pictures.values()]
        canvas = image.new("RGB", (sum(widths) + gap * (len(widths) + 1), height + header + legend), "white")
        pen = draw.Draw(canvas)
        left = gap
        for width, (label, picture) in zip(widths, pictures.items(), strict=True):
            run = runs[label]
            harmed[label] = harmed[label] or bool(run["harm"][t])
            status, colour = _ASKING if run["queried"][t] else _ACTING
            if harmed[label]:
                status, colour = ("HARM" if run["harm"][t] else "has done harm"), _HARM
            pen.text((left, 6), visible(label), fill="black", font=large)
            _swatch(pen, left, 32, colour)
            pen.text((left + 18, 28), f"step {t}: {status}", fill="black", font=large)
            canvas.paste(image.fromarray(picture), (left, header))
            left += width + gap
        _draw_legend(image, canvas, pen, height + header + 8, gap, small, tiles)
        if betray_at is not None:
            turned = "has turned" if t >= betray_at else f"turns at step {betray_at}"
            pen.text((gap, height + header + 44), f"the deceptive model {turned}", fill="black", font=small)
        frames.append(canvas)
    buffer = io.BytesIO()
    frames[0].save(
        buffer, format="GIF", save_all=True, append_images=frames[1:], duration=frame_ms, loop=0, optimize=True
    )
    return buffer.getvalue()


def _draw_legend(
    image: Any, canvas: Any, pen: Any, top: int, gap: int, font: Any, tiles: Sequence[tuple[str, np.ndarray]]
) -> None:
    """Draw what the colours of the labels mean, and below it what is seen in the pictures."""
    left = gap
    for name, colour in (_ACTING, _ASKING, ("harm", _HARM)):
        _swatch(pen, left, top, colour)
        pen.text((left + 18, top - 2), name, fill="black", font=font)
        left += 18 + int(font.getlength(name)) + gap
    left = gap
    for name, picture in tiles:
        tile = image.fromarray(picture).resize((14, 14))
        canvas.paste(tile, (left, top + 17))
        pen.rectangle((left, top + 17, left + 13, top + 30), outline="#999999")
        pen.text((left + 18, top + 16), visible(name), fill="black", font=font)
        left += 18 + int(font.getlength(name)) + gap


def _swatch(pen: Any, left: int, top: int, colour: str) -> None:
    pen.rectangle((left, top, left + 12, top + 12), fill=colour)


def _pillow() -> tuple[Any, Any, Any]:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ImportError('films need Pillow: pip install "consensus_imitation[plot]"') from error
    return Image, ImageDraw, ImageFont


def _categorical_colours(count: int) -> list[str]:
    """Return the deceptive member and the truth first, in the two most distinct colours; greys after the palette."""
    return [("#D55E00", "#0072B2", *PALETTE[2:])[i] if i < len(PALETTE) else "#999999" for i in range(count)]
