"""The deceptive-model suite with its results on disk."""

from dataclasses import fields
from pathlib import Path

from consensus_imitation import deception
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.redteam import benchmark
from consensus_imitation.experiments.redteam.config import RedteamConfig
from consensus_imitation.experiments.results import Row

#: The columns of `deception.Result.as_row`.
COLUMNS = tuple(field.name for field in fields(deception.Result))


def run(
    config: RedteamConfig,
    out: Path | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> list[Row]:
    """Run the library's own rules, or the policy that is named, through the suite, and write ``redteam.csv``.

    With ``out``, the file grows with every scenario that ends, and an interrupted run continues with the missing ones.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        One row per scenario, side and contestant, as `deception.Result.as_row` gives them.

    Raises:
        ValueError: for a bad configuration, or an ``out`` that holds another one's results.
    """
    ledger = Ledger(out, identity("redteam", config), overwrite, {"redteam": COLUMNS}, lambda row: row["scenario"])
    scenarios = config.scenarios or deception.scenario_names()
    entered = _contestants(config)
    for scenario in ledger.missing(scenarios, progress):
        results = deception.run(
            [scenario], entered, seed=config.seed, num_seeds=config.num_seeds, num_loop_seeds=config.num_loop_seeds
        )
        ledger.add([result.as_row() for result in results])
    (rows,) = ledger.rows(scenarios)
    return rows


def _contestants(config: RedteamConfig) -> list[deception.Contestant] | None:
    if config.policy:
        return [benchmark.entered(config.policy)]
    return benchmark.contestants() if config.benchmark else None
