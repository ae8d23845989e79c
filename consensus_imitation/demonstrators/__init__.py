"""Demonstrators: functions, objects with memory, policies, tables, planners, scripted bots, and people."""

from consensus_imitation.core.pure_demonstrator import PureDemonstrator, TabularDemonstrator
from consensus_imitation.demonstrators._base import Demonstrator, Panel, as_demonstrator
from consensus_imitation.demonstrators.patience import Patience, SafeAction
from consensus_imitation.demonstrators.people.terminal import terminal
from consensus_imitation.demonstrators.people.web.page import web
from consensus_imitation.demonstrators.question import Question

__all__ = [
    "Demonstrator",
    "Panel",
    "Patience",
    "PureDemonstrator",
    "Question",
    "SafeAction",
    "TabularDemonstrator",
    "as_demonstrator",
    "terminal",
    "web",
]
