"""Demonstrators: functions, objects with memory, Stable-Baselines3-style policies, tables, planners, scripted bots."""

from consensus_imitation.core.pure_demonstrator import PureDemonstrator, TabularDemonstrator
from consensus_imitation.demonstrators._base import Demonstrator, Panel, as_demonstrator
from consensus_imitation.demonstrators.patience import Patience, SafeAction

__all__ = [
    "Demonstrator",
    "Panel",
    "Patience",
    "PureDemonstrator",
    "SafeAction",
    "TabularDemonstrator",
    "as_demonstrator",
]
