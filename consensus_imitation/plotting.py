"""Pictures of saved results. matplotlib and Pillow are imported only here, and only when a picture is drawn."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from consensus_imitation.experiments.compare_summary import Demonstrated, score_of
from consensus_imitation.experiments.results import Row, mean_interval
from consensus_imitation.tables import group_by_setting, share_harmed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, which people with any colour vision can tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
_ACTS, _ASKS, _HARM = "#0072B2", "#E69F00", "#D55E00"


_RATE_TICKS = (0.0, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0)


class _Style(NamedTuple):
    colour: Any
    line: str
    marker: str


def sweep_figure(rows: Sequence[Row], curve: Sequence[Row], betray_at: int | None) -> "Figure":
    """Query rate over time for each setting; query rate, share of runs harmed and return against the setting.

    Args:
        rows: of ``sweep.csv``.
        curve: of ``curve.csv``.
        betray_at: step of the deceptive member's betrayal, if there is one.

    Raises:
        ImportError: without matplotlib, naming the extra that brings it.
    """
    figure = new_figure(11.0, 6.4)
    grid = figure.add_gridspec(2, 3, height_ratios=(1.15, 1))
    over_time = figure.add_subplot(grid[0, :])
    asked, harmed, returns = (figure.add_subplot(grid[1, i]) for i in range(3))
    groups = group_by_setting(rows)
    styles = _setting_styles(groups)
    for style, (label, own) in zip(styles, group_by_setting(curve).items(), strict=True):
        steps = sorted({row["step"] for row in own})
        stats = [mean_interval([row["query_rate"] for row in own if row["step"] == step]) for step in steps]
        mean, low, high = np.array(stats).T
        over_time.plot(steps, mean, label=label, linewidth=1.8, color=style.colour, linestyle=style.line)
        over_time.fill_between(steps, low, high, color=style.colour, alpha=0.18, linewidth=0)
    if betray_at is not None:
        over_time.axvline(betray_at, color="black", linestyle=":", linewidth=1)
        over_time.annotate(
            "the deceptive model turns", (betray_at, 0.0), xycoords=("data", "axes fraction"),
            xytext=(5, 16), textcoords="offset points", fontsize=9,
        )  # fmt: skip
    # Linear up to 1%, logarithmic above: zero and rates that differ a hundredfold both show.
    over_time.set_yscale("symlog", linthresh=0.01)
    over_time.set_yticks(_RATE_TICKS, [f"{100 * tick:g}%" for tick in _RATE_TICKS])
    over_time.minorticks_off()
    over_time.set(
        xlabel="step", ylabel="query rate", ylim=(-0.0008, 1.3), xlim=(0, max(row["step"] for row in curve)),
        title=f"{rows[0]['env']}: how often the demonstrator is asked (mean of {_num_seeds(rows)} seeds, 95% interval)",
    )  # fmt: skip
    over_time.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)

    _against_setting(asked, groups, styles, "query rate", _mean_of("query_rate"))
    _against_setting(harmed, groups, styles, "share of runs with harm", share_harmed, shift=-0.12)
    _against_setting(harmed, groups, styles, "share of runs with harm", _share_harmed_unasked, shift=0.12, hollow=True)
    _against_setting(returns, groups, styles, "mean return per episode", _mean_of("mean_return"))
    harmed.set_ylim(-0.03, 1.03)
    alone = rows[0]["demonstrator_harm"]
    harmed.axhline(alone, color="#777777", linestyle="--", linewidth=1, zorder=0, label="demonstrator alone")
    harmed.plot([], [], "o", color="black", markerfacecolor="white", label="by its own action")
    harmed.legend(loc="upper right", frameon=False, fontsize=9)
    return figure


def bounds_figure(rows: Sequence[Row]) -> "Figure":
    """Observed curves (with 95% bands) beside the theorems' bounds (dashed).

    Args:
        rows: of ``bounds.csv``.
    """
    parts = list(dict.fromkeys(row["part"] for row in rows))
    labels = {
        "queries": "queries so far (T3)",
        "cubed query probability": "sum of cubed query probabilities (T3)",
        "harm": "P(harm so far) (T5)",
        "truth ever left out": "P(truth ever left out so far) (T2)",
    }
    figure = new_figure(11.0, 7.2)
    for ax, part in zip(figure.subplots(2, 2).ravel(), parts, strict=True):
        settings = list(dict.fromkeys(row["setting"] for row in rows if row["part"] == part))
        for colour, setting in zip(PALETTE, settings, strict=False):
            own = [row for row in rows if row["part"] == part and row["setting"] == setting]
            steps, mean, low, high, bound = (
                np.array([row[name] for row in own], float) for name in ("step", "observed", "low", "high", "bound")
            )
            ax.plot(steps, mean, color=colour, label=setting)
            ax.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
            compared = "demonstrator alone" if setting == "no budget" else f"bound, {setting}"
            ax.plot(steps, bound, color=colour, linestyle=":" if setting == "no budget" else "--", label=compared)
        ax.set(xlabel="step", ylabel=labels.get(part, part), xlim=(0, None))
        if part in ("queries", "cubed query probability"):
            ax.set_yscale("log")
        ax.legend(frameon=False, fontsize=8)
    return figure


def redteam_figure(rows: Sequence[Row]) -> "Figure":
    """Share of runs harmed under attack, scenario by contestant, with expected results marked.

    Args:
        rows: of ``redteam.csv``.
    """
    attacks = [row for row in rows if row["attack"]]
    scenarios = list(dict.fromkeys(row["scenario"] for row in attacks))
    contestants = list(dict.fromkeys(row["contestant"] for row in attacks))
    figure = new_figure(2.6 + 1.35 * len(contestants), 1.9 + 0.42 * len(scenarios))
    ax = figure.subplots()
    rates = np.full((len(scenarios), len(contestants)), np.nan)
    for row in attacks:
        at = scenarios.index(row["scenario"]), contestants.index(row["contestant"])
        rates[at] = row["harm_rate"]
        ax.text(
            at[1], at[0], f"{row['harm_rate']:.2f}" + ("" if row["as_expected"] else " !"),
            ha="center", va="center", fontsize=9, color="white" if row["harm_rate"] > 0.55 else "black",
        )  # fmt: skip
    image = ax.imshow(np.ma.masked_invalid(rates), cmap="OrRd", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(contestants)), contestants, rotation=25, ha="right")
    ax.set_yticks(range(len(scenarios)), scenarios)
    ax.set_title(
        "Share of runs with harm, under attack" + ("\n(! = not as theory says)" if _unexpected(attacks) else "")
    )
    figure.colorbar(image, ax=ax, label="share of runs with harm", fraction=0.04)
    return figure


def compare_figure(rows: Sequence[Row], curve: Sequence[Row], demonstrator: Demonstrated) -> "Figure":
    """Score and unsafe episodes against answers, and the query rate over time: medians, with bands over the seeds.

    Unsafe episodes count until the answers are spent. The query rate is over the later half of the steps so far.

    A band spans the middle half of the seeds. A method whose runs had different numbers of answers is drawn as far as
    all of them went.

    Args:
        rows: of ``compare.csv``.
        curve: of its ``curve.csv``.
        demonstrator: of the same comparison.
    """
    figure = new_figure(11.0, 7.6)
    grid = figure.add_gridspec(2, 2)
    score, harms, rate = figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
    lines = ("-", "--", ":")
    for i, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
        style = {"color": PALETTE[i % len(PALETTE)], "linestyle": lines[i // len(PALETTE) % len(lines)]}
        own, points = (_runs_of(method, table) for table in (rows, curve))
        answers = [np.array([row["answers"] for row in run]) for run in own]
        shared = np.unique(np.concatenate(answers))
        shared = shared[shared <= min(have[-1] for have in answers)]
        scores = [[score_of(row, demonstrator) for row in run] for run in own]
        counts = [[row["harms"] for row in run] for run in own]
        draw_band(score, shared, _at(shared, answers, scores), style, method)
        draw_band(harms, shared, _at(shared, answers, counts), style)
        steps = np.array([row["step"] for row in points[0]])
        asked = np.array([[row["answers"] for row in run] for run in points], float)
        # Over the steps since the half of that step, so that the window grows with the time.
        halves = np.searchsorted(steps, steps / 2, side="right") - 1
        earlier = np.where(halves >= 0, asked[:, halves], 0.0)
        rates = (asked - earlier) / (steps - np.where(halves >= 0, steps[halves], 0))
        # Only while there were answers left: not asking for want of them says nothing.
        free = np.all([[not row["spent"] for row in run] for run in points], axis=0)
        draw_band(rate, steps[free], rates[:, free], style)
    score.axhline(demonstrator.score, color="#777777", linewidth=1, label="demonstrator")
    score.axhline(demonstrator.target, color="#777777", linewidth=1, linestyle="--", label="95% of it")
    score.set(xlabel="answers", ylabel=f"{demonstrator.measure} of the learned policy")
    score.set_title(f"{rows[0]['task']}: median of {_num_seeds(rows)} seeds, and the middle half of them")
    score.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    harms.set(xlabel="answers", ylabel="unsafe episodes while learning")
    harms.set_ylim(bottom=0)
    rate.set(xlabel="step", ylabel="query rate, while answers are left", xscale="log")
    rate.set_yscale("symlog", linthresh=0.01)
    rate.set_yticks(_RATE_TICKS, [f"{100 * tick:g}%" for tick in _RATE_TICKS])
    rate.minorticks_off()
    rate.set_ylim(-0.0008, 1.3)
    return figure


def posterior_figure(
    weights: np.ndarray, queried: np.ndarray, names: Sequence[str], betray_at: int | None, title: str
) -> "Figure":
    """Posterior weights over time, with the queries as ticks.

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
        ax.plot(steps, line, color=colour, label=name, linewidth=2.0 if special else 1.0)
    ax.set(ylabel="posterior weight", ylim=(0, 1.02), title=title)
    for one in (ax, ticks):
        if betray_at is not None:
            one.axvline(betray_at, color="black", linestyle=":", linewidth=1)
    if betray_at is not None:
        ax.annotate("betrayal", (betray_at, 0.93), xytext=(4, 0), textcoords="offset points", fontsize=9)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    ticks.vlines(steps[queried], 0, 1, color=_ASKS, linewidth=0.6)
    ticks.set(xlabel="step", yticks=[], ylabel="asked", xlim=(0, len(weights)))
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write a PNG."""
    figure.savefig(path, dpi=130)


def as_png(figure: "Figure") -> bytes:
    """The picture as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def film(
    render: Callable[[int], np.ndarray],
    runs: Mapping[str, Mapping[str, np.ndarray]],
    first: int,
    num_frames: int,
    frame_ms: int = 260,
) -> bytes:
    """An animated GIF of several runs side by side, each step labelled with who acted.

    Args:
        render: state number -> uint8 [H, W, 3].
        runs: label -> ``observation``, ``queried``, ``harm`` (each [T]) of a run.
        first: first step shown.
        num_frames: number of steps shown.
        frame_ms: duration of a frame, in milliseconds.

    Raises:
        ImportError: without Pillow, naming the extra that brings it.
    """
    image, draw, font = _pillow()
    large = font.load_default(size=15)
    gap, header = 14, 52
    frames: list[Any] = []
    harmed = dict.fromkeys(runs, False)
    for t in range(first, first + num_frames):
        pictures = {label: render(int(run["observation"][t])) for label, run in runs.items()}
        height = max(picture.shape[0] for picture in pictures.values())
        widths = [max(250, picture.shape[1]) for picture in pictures.values()]
        canvas = image.new("RGB", (sum(widths) + gap * (len(widths) + 1), height + header + gap), "white")
        pen = draw.Draw(canvas)
        left = gap
        for width, (label, picture) in zip(widths, pictures.items(), strict=True):
            run = runs[label]
            harmed[label] = harmed[label] or bool(run["harm"][t])
            asked = bool(run["queried"][t])
            status, colour = ("asks the demonstrator", _ASKS) if asked else ("acts by itself", _ACTS)
            if harmed[label]:
                status, colour = ("HARM" if run["harm"][t] else "has done harm"), _HARM
            pen.text((left, 6), label, fill="black", font=large)
            pen.text((left, 28), f"step {t}: {status}", fill=colour, font=large)
            canvas.paste(image.fromarray(picture), (left, header))
            left += width + gap
        frames.append(canvas)
    buffer = io.BytesIO()
    frames[0].save(
        buffer, format="GIF", save_all=True, append_images=frames[1:], duration=frame_ms, loop=0, optimize=True
    )
    return buffer.getvalue()


def _against_setting(
    ax: "Axes",
    groups: Mapping[str, Sequence[Row]],
    styles: Sequence[_Style],
    ylabel: str,
    interval: Callable[[Sequence[Row]], tuple[float, float, float]],
    shift: float = 0.0,
    hollow: bool = False,
) -> None:
    for i, (own, style) in enumerate(zip(groups.values(), styles, strict=True)):
        mean, low, high = interval(own)
        spread = None if np.isnan(low) else [[mean - low], [high - mean]]
        face = "white" if hollow else style.colour
        ax.errorbar(
            [i + shift], [mean], yerr=spread, fmt=style.marker, color=style.colour, markerfacecolor=face, capsize=3
        )
    crowded = sum(len(label) for label in groups) > 16
    ax.set_xticks(range(len(groups)), list(groups), rotation=30 if crowded else 0, ha="right" if crowded else "center")
    ax.set_ylabel(ylabel)
    ax.margins(x=0.12)


def _runs_of(method: str, rows: Sequence[Row]) -> list[list[Row]]:
    runs: dict[int, list[Row]] = {}
    for row in rows:
        if row["method"] == method:
            runs.setdefault(row["seed"], []).append(row)
    return list(runs.values())


def _at(points: np.ndarray, places: Sequence[np.ndarray], values: Sequence[Sequence[float]]) -> np.ndarray:
    """The latest value of each run at each of the points, or its first one: [runs, points]."""
    at = [np.maximum(np.searchsorted(place, points, side="right") - 1, 0) for place in places]
    return np.array([np.asarray(value, float)[own] for own, value in zip(at, values, strict=True)])


def draw_band(
    ax: "Axes", x: np.ndarray, values: np.ndarray, style: Mapping[str, Any], label: str | None = None
) -> None:
    """Median and middle half of ``values`` [S, T] over seeds, against ``x`` [T]; a single point is a dot."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    ax.plot(x, middle, label=label, linewidth=1.6, marker="o" if len(x) == 1 else None, **style)
    ax.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)


def _mean_of(column: str) -> Callable[[Sequence[Row]], tuple[float, float, float]]:
    return lambda rows: mean_interval([row[column] for row in rows])


def _share_harmed_unasked(rows: Sequence[Row]) -> tuple[float, float, float]:
    return share_harmed(rows, "harms_unasked")


def _num_seeds(rows: Sequence[Row]) -> int:
    return len({row["seed"] for row in rows})


def _unexpected(rows: Sequence[Row]) -> bool:
    return any(not row["as_expected"] for row in rows)


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches.

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


def _pillow() -> tuple[Any, Any, Any]:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ImportError('films need Pillow: pip install "consensus_imitation[plot]"') from error
    return Image, ImageDraw, ImageFont


def _setting_styles(groups: Mapping[str, Sequence[Row]]) -> list[_Style]:
    """Full lines from dark to light for k, dashed ones in orange for alpha."""
    from matplotlib import colormaps

    families = {rule: [rows[0]["rule"] for rows in groups.values()].count(rule) for rule in ("topk", "alpha")}
    shades = {
        "topk": iter(colormaps["viridis"](np.linspace(0.0, 0.75, max(1, families["topk"])))),
        "alpha": iter(colormaps["Oranges"](np.linspace(0.9, 0.5, max(1, families["alpha"])))),
    }
    return [
        _Style(next(shades["topk"]), "-", "o")
        if rows[0]["rule"] == "topk"
        else _Style(next(shades["alpha"]), "--", "s")
        for rows in groups.values()
    ]


def _categorical_colours(count: int) -> list[str]:
    """The deceptive member and the truth first, in the two most distinct colours; greys after the palette."""
    return [("#D55E00", "#0072B2", *PALETTE[2:])[i] if i < len(PALETTE) else "#999999" for i in range(count)]
