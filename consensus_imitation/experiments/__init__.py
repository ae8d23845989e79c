"""A configuration in, tidy results on disk out."""

from consensus_imitation.experiments.bounds import BoundsConfig, bounds, exceeded
from consensus_imitation.experiments.collapse import CollapseConfig, run_collapse
from consensus_imitation.experiments.compare import CompareConfig, Comparison, compare
from consensus_imitation.experiments.demo import DemoConfig, DemoResults, demo, load_demo
from consensus_imitation.experiments.gymnasium_run import GymnasiumRun, run_gymnasium
from consensus_imitation.experiments.planted import PlantedConfig, run_planted
from consensus_imitation.experiments.redteam import RedteamConfig, redteam
from consensus_imitation.experiments.results import mean_interval, read_csv, share_interval, write_csv
from consensus_imitation.experiments.setting import Setting, make_setting
from consensus_imitation.experiments.sweep import SweepConfig, sweep

__all__ = [
    "BoundsConfig",
    "CollapseConfig",
    "CompareConfig",
    "Comparison",
    "DemoConfig",
    "DemoResults",
    "GymnasiumRun",
    "PlantedConfig",
    "RedteamConfig",
    "Setting",
    "SweepConfig",
    "bounds",
    "compare",
    "demo",
    "exceeded",
    "load_demo",
    "make_setting",
    "mean_interval",
    "read_csv",
    "redteam",
    "run_collapse",
    "run_gymnasium",
    "run_planted",
    "share_interval",
    "sweep",
    "write_csv",
]
