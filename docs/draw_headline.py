"""Draw `images/headline.png`, a gridworld beside a real task: ``python docs/draw_headline.py``.

Its numbers are the tables in `benchmarks/sweep`, which these commands wrote:

    consensus-imitation demo --out demo
    consensus-imitation sweep --env lunarlander --k 1 2 3 5 --members 5 --seeds 10 --steps 4000 --out out/lunarlander
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from consensus_imitation import envs
from consensus_imitation.experiments import read_csv, tasks
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.statistics import mean_interval, share_interval
from consensus_imitation.experiments.sweep.figure import group_by_setting

HERE = Path(__file__).parent
TABLES, PICTURE = HERE / "benchmarks" / "sweep", HERE / "images" / "headline.png"
ASKS, HARMS = "#0072B2", "#D55E00"

Interval = tuple[float, float, float]


def harmed(rows: Sequence[Row]) -> Interval:
    """Return the share of runs with harm, with its 95% interval."""
    return share_interval(sum(row["harms"] > 0 for row in rows), len(rows))


def crashed(rows: Sequence[Row]) -> Interval:
    """Return crashes as a share of the episodes that ended, the mean over runs with its 95% interval."""
    return mean_interval([row["harms"] / row["episodes"] for row in rows])


def asked(rows: Sequence[Row]) -> Interval:
    """Return the query rate, with its 95% interval."""
    return mean_interval([row["query_rate"] for row in rows])


def cliff() -> np.ndarray:
    """Return a picture of the gridworld."""
    world = envs.make("cliff")
    return world.render_rgb(int(np.asarray(world.env.start_states)[0]), tile=40)


def lander() -> np.ndarray:
    """Return a picture of the lander under the demonstrator, on its way down."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    task = tasks.make("lunarlander")
    env = task.make_env(render_mode="rgb_array")
    demonstrator = task.make_demonstrator(env, seed=0)
    observation, _ = env.reset(seed=1)
    for _ in range(90):
        observation = env.step(demonstrator(observation))[0]
    picture: Any = env.render()
    env.close()
    return picture[60:330]


def panel(ax: Any, rows: Sequence[Row], interval: Callable[[Sequence[Row]], Interval], colour: str, label: str) -> None:
    """Draw a bar with its interval for each setting, in percent."""
    groups = group_by_setting(rows)
    means, low, high = 100 * np.array([interval(own) for own in groups.values()]).T
    places = np.arange(len(groups))
    ax.bar(places, means, 0.55, color=colour, alpha=0.75)
    ax.errorbar(places, means, yerr=[means - low, high - means], fmt="none", ecolor="black", capsize=4, linewidth=1.2)
    for place, mean, top in zip(places, means, high, strict=True):
        ax.annotate(f"{mean:.0f}%", (place, top), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=9)
    ax.set_xticks(places, list(groups))
    ax.set(ylim=(0, 118), yticks=range(0, 101, 25), ylabel=label)
    ax.spines[["top", "right"]].set_visible(False)


def draw(grid_rows: Sequence[Row], task_rows: Sequence[Row]) -> Figure:
    """Draw the picture from the rows of two sweeps."""
    figure = Figure(figsize=(10.0, 7.4), layout="constrained")
    axes = figure.subplots(3, 2, gridspec_kw={"height_ratios": (1.0, 1.0, 1.0)})
    columns = (
        (grid_rows, cliff(), "A gridworld: eight models, one of them deceptive", harmed, "runs with harm, %"),
        (
            task_rows,
            lander(),
            "A real task: five networks that learn, none deceptive",
            crashed,
            "episodes with a crash, %",
        ),
    )
    for (top, middle, bottom), (rows, picture, title, harm, label) in zip(axes.T, columns, strict=True):
        runs, steps = len({row["seed"] for row in rows}), rows[0]["steps"]
        top.imshow(picture)
        top.axis("off")
        top.set_title(f"{title}\n{rows[0]['env']}, {runs} runs of {steps:,} steps for each setting", fontsize=11)
        panel(middle, rows, asked, ASKS, "steps on which it asks, %")
        panel(bottom, rows, harm, HARMS, label)
    alone = 100 * grid_rows[0]["demonstrator_harm"]
    axes[2, 0].axhline(alone, color="#555555", linestyle="--", linewidth=1, label="the demonstrator alone")
    axes[2, 0].legend(loc="upper right", frameon=False, fontsize=9)
    axes[2, 1].annotate(
        "black bars: 95% intervals over runs", (1, 0.97), xycoords="axes fraction", ha="right", va="top", fontsize=9
    )
    return figure


def main() -> None:
    """Draw it from the tables beside this file."""
    rows = (read_csv(TABLES / f"{name}.csv") for name in ("cliff", "lunarlander"))
    draw(*rows).savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
