"""Who answers: functions, objects with a memory, Stable-Baselines3-style policies, tables, planners, scripted bots."""

from consensus_imitation.demonstrators.adapters import Demonstrator, Panel, as_demonstrator
from consensus_imitation.demonstrators.patience import Patience, SafeAction
from consensus_imitation.demonstrators.tabular import PureDemonstrator, TabularDemonstrator

__all__ = [
    "Demonstrator",
    "Panel",
    "Patience",
    "PureDemonstrator",
    "SafeAction",
    "TabularDemonstrator",
    "as_demonstrator",
]
