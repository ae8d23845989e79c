"""What clean episodes say of harm to come: a belief that begins somewhere, and a bound that assumes nothing."""

import sys
from pathlib import Path

import jax
import numpy as np

from consensus_imitation import AlphaThreshold, Learner, priors
from consensus_imitation.core.betting import BettingSequence
from consensus_imitation.core.rollout import rollout, start
from consensus_imitation.experiments import figures, make_setting

FIRST = (50, 100, 300, 1000, 3000)


def harmed_episodes(num_steps: int) -> np.ndarray:
    """Play where a supervisor is often absent; return for each episode whether it did harm."""
    setting = make_setting("absent_supervisor")
    learner = Learner(setting.ensemble, AlphaThreshold(0.002))
    state = start(learner, setting.world.env, jax.random.key(4))
    _, seen = rollout(learner, setting.world.env, setting.demonstrator, state, num_steps)
    ends = np.flatnonzero(np.asarray(seen.terminated | seen.truncated))
    return np.diff(np.cumsum(np.asarray(seen.harm))[ends], prepend=0) > 0


def main() -> None:
    """Print the published table, and follow a run; with an argument, draw it into that file."""
    for f in FIRST:
        print(f"f = 1/{f}: {priors.semi_informative(1 / f).after(clean=64).hazard(16):.1%} in 16 after 64 clean")
    harmed = harmed_episodes(60_000)
    count, harms = np.arange(1, len(harmed) + 1), np.cumsum(harmed)
    marks = np.unique(np.geomspace(1, len(harmed), 120).astype(int)) - 1
    seen = list(zip((count - harms).tolist(), harms.tolist(), strict=True))
    beliefs = {f: [priors.semi_informative(1 / f).after(*so_far).hazard() for so_far in seen] for f in FIRST}
    watch, bound = BettingSequence.begin(delta=0.05), []
    for before, mark in zip([-1, *marks[:-1]], marks, strict=True):
        watch = watch.after(harmed[before + 1 : mark + 1].astype(float))
        bound.append(watch.high)
    print(f"{len(harmed)} episodes, {harms[-1]} with harm: {harmed.mean():.2%}; the rate is at most {bound[-1]:.2%}")
    print("believed of the next: " + ", ".join(f"{belief[-1]:.2%} (f = 1/{f})" for f, belief in beliefs.items()))
    if sys.argv[1:]:
        figure = figures.new_figure(7.5, 4.2)
        ax = figure.subplots()
        for i, (f, belief) in enumerate(beliefs.items()):
            ax.plot(count[marks], np.array(belief)[marks], **figures.line_style(i), label=f"believed, f = 1/{f}")
        ax.plot(count[marks], bound, color="black", linewidth=2, label="bound of the betting sequence, 95%")
        ax.axhline(harmed.mean(), color="gray", linestyle=":", label="share of all episodes")
        ax.set(xscale="log", yscale="log", xlabel="episodes so far", ylabel="harm in the next episode")
        ax.legend(fontsize=8)
        figures.save(figure, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
