"""The public names of `consensus_imitation.experiments`, imported when the first of them is used."""

from consensus_imitation.experiments.bounds.config import BoundsConfig
from consensus_imitation.experiments.bounds.run import run as run_bounds
from consensus_imitation.experiments.bounds.summary import exceeded
from consensus_imitation.experiments.collapse.config import CollapseConfig
from consensus_imitation.experiments.collapse.run import run as run_collapse
from consensus_imitation.experiments.compare.config import CompareConfig
from consensus_imitation.experiments.compare.run import Comparison
from consensus_imitation.experiments.compare.run import run as run_compare
from consensus_imitation.experiments.demo.config import DemoConfig
from consensus_imitation.experiments.demo.run import DemoResults, load_demo
from consensus_imitation.experiments.demo.run import run as run_demo
from consensus_imitation.experiments.frontier.config import FrontierConfig
from consensus_imitation.experiments.frontier.run import run as run_frontier
from consensus_imitation.experiments.kinds.config import KindsConfig
from consensus_imitation.experiments.kinds.run import run as run_kinds
from consensus_imitation.experiments.knowledge.config import KnowledgeConfig
from consensus_imitation.experiments.knowledge.run import run as run_knowledge
from consensus_imitation.experiments.noisy.config import NoisyConfig
from consensus_imitation.experiments.noisy.run import run as run_noisy
from consensus_imitation.experiments.online.config import OnlineConfig
from consensus_imitation.experiments.online.run import run as run_online
from consensus_imitation.experiments.pendulum.config import PendulumConfig
from consensus_imitation.experiments.pendulum.run import run as run_pendulum
from consensus_imitation.experiments.planted.config import PlantedConfig
from consensus_imitation.experiments.planted.run import run as run_planted
from consensus_imitation.experiments.poison.config import PoisonConfig
from consensus_imitation.experiments.poison.run import run as run_poison
from consensus_imitation.experiments.redteam.anywhere import redteam_environment
from consensus_imitation.experiments.redteam.anywhere import table as redteam_table
from consensus_imitation.experiments.redteam.config import RedteamConfig
from consensus_imitation.experiments.redteam.run import run as run_redteam
from consensus_imitation.experiments.results import read_csv, write_csv
from consensus_imitation.experiments.setting import Setting, make_setting
from consensus_imitation.experiments.shift.config import ShiftConfig
from consensus_imitation.experiments.shift.run import run as run_shift
from consensus_imitation.experiments.stakes.config import StakesConfig
from consensus_imitation.experiments.stakes.run import run as run_stakes
from consensus_imitation.experiments.statistics import mean_interval, share_interval
from consensus_imitation.experiments.sweep.anywhere import sweep_environment
from consensus_imitation.experiments.sweep.config import SweepConfig
from consensus_imitation.experiments.sweep.figure import table as sweep_table
from consensus_imitation.experiments.sweep.run import run as run_sweep
from consensus_imitation.experiments.tasks.loop import GymnasiumRun, run_gymnasium

__all__ = [
    "BoundsConfig",
    "CollapseConfig",
    "CompareConfig",
    "Comparison",
    "DemoConfig",
    "DemoResults",
    "FrontierConfig",
    "GymnasiumRun",
    "KindsConfig",
    "KnowledgeConfig",
    "NoisyConfig",
    "OnlineConfig",
    "PendulumConfig",
    "PlantedConfig",
    "PoisonConfig",
    "RedteamConfig",
    "Setting",
    "ShiftConfig",
    "StakesConfig",
    "SweepConfig",
    "exceeded",
    "load_demo",
    "make_setting",
    "mean_interval",
    "read_csv",
    "redteam_environment",
    "redteam_table",
    "run_bounds",
    "run_collapse",
    "run_compare",
    "run_demo",
    "run_frontier",
    "run_gymnasium",
    "run_kinds",
    "run_knowledge",
    "run_noisy",
    "run_online",
    "run_pendulum",
    "run_planted",
    "run_poison",
    "run_redteam",
    "run_shift",
    "run_stakes",
    "run_sweep",
    "share_interval",
    "sweep_environment",
    "sweep_table",
    "write_csv",
]
