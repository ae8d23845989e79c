"""The deceptive-model suite with its results on disk."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from consensus_imitation import deception
from consensus_imitation.deception.judgement import MIN_SEEDS
from consensus_imitation.experiments.results import Row, claim_directory, write_csv

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RedteamConfig:
    """What a run of the suite covers.

    Attributes:
        scenarios: names, see `deception.scenario_names`; empty for all.
        num_seeds: independent runs per scenario, contestant and side (honest or attack).
        seed: of everything.

    Raises:
        ValueError: for an unknown scenario, too few seeds, or a negative seed.
    """

    scenarios: tuple[str, ...] = ()
    num_seeds: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_seeds < MIN_SEEDS:
            raise ValueError(f"num_seeds must be at least {MIN_SEEDS} to tell harm from chance, got {self.num_seeds}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        for name in self.scenarios:
            deception.get_scenario(name)


def redteam(
    config: RedteamConfig,
    out: Path | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> list[Row]:
    """Run the library's own rules through the suite, and write ``redteam.csv``.

    Args:
        config: what to run.
        out: directory for the results, made if need be; None to keep them in memory only.
        progress: called as ``progress(done, total)``.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        One row per scenario, side and contestant, as `deception.Result.as_row` gives them.

    Raises:
        ValueError: for a bad configuration, or an ``out`` that holds another one's results.
    """
    if out is not None:
        claim_directory(out, {"experiment": "redteam", **asdict(config)}, overwrite)
    scenarios = config.scenarios or deception.scenario_names()
    rows: list[Row] = []
    for done, scenario in enumerate(scenarios):
        if progress is not None:
            progress(done, len(scenarios))
        results = deception.run([scenario], num_seeds=config.num_seeds, seed=config.seed)
        rows += [result.as_row() for result in results]
    if progress is not None:
        progress(len(scenarios), len(scenarios))
    if out is not None:
        write_csv(out / "redteam.csv", rows, list(rows[0]))
    return rows
