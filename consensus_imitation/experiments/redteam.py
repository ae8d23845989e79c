"""The deceptive-model suite with its results on disk."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from consensus_imitation import deception
from consensus_imitation.experiments.results import Row, claim_directory, write_csv

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RedteamConfig:
    """What a run of the suite covers.

    Attributes:
        scenarios: names, see `deception.SCENARIOS`; empty for all.
        num_seeds: independent runs per scenario, contestant and side (honest or attack).
        seed: of everything.

    Raises:
        ValueError: for an unknown scenario or a non-positive number of seeds.
    """

    scenarios: tuple[str, ...] = ()
    num_seeds: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_seeds < 1:
            raise ValueError(f"num_seeds must be at least 1, got {self.num_seeds}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        deception.select_scenarios(self.scenarios)


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
    results = deception.run(
        scenarios=deception.select_scenarios(config.scenarios),
        num_seeds=config.num_seeds,
        seed=config.seed,
        progress=progress,
    )
    rows: list[Row] = [result.as_row() for result in results]
    if out is not None:
        write_csv(out / "redteam.csv", rows, list(rows[0]))
    return rows
