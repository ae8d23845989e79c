"""Whether an ensemble and the rules of an imitator are what they have to be, and fit each other."""

from typing import Any

import jax

from consensus_imitation.aggregation import Aggregation, Minimum
from consensus_imitation.budget import InflationBudget
from consensus_imitation.diversity import Merging
from consensus_imitation.ensembles.base import Ensemble
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.misspecification import MisspecificationAlarm
from consensus_imitation.options import check_instance, check_integer
from consensus_imitation.reweighting import Reweighting
from consensus_imitation.selection import SelectionRule


def check(
    ensemble: Ensemble,
    selection: SelectionRule,
    aggregation: Aggregation,
    budget: InflationBudget | None = None,
    alarm: MisspecificationAlarm | None = None,
    merging: Merging | None = None,
    reweighting: Reweighting | None = None,
) -> None:
    """Raise ConfigurationError if an option is of the wrong kind, or a rule does not fit the ensemble."""
    check_ensemble(ensemble)
    _check_rule("selection", selection, "such as TopK(3) or AlphaThreshold(0.01)")
    _check_rule("aggregation", aggregation, "such as Minimum()")
    selection.check(ensemble.num_members)
    if jax.tree_util.all_leaves([aggregation]):
        raise ConfigurationError(
            f"the aggregation rule {aggregation.name!r} is no pytree: make it a flax.struct.PyTreeNode, or a frozen "
            "dataclass under jax.tree_util.register_static"
        )
    aggregation.check(ensemble.num_members)
    check_instance("budget", budget, InflationBudget, "give an InflationBudget(...), or None for no limit")
    check_instance("alarm", alarm, MisspecificationAlarm, "give a MisspecificationAlarm(...), or None")
    check_instance("merging", merging, Merging, "give a Merging(...), or None")
    check_instance("reweighting", reweighting, Reweighting, "give a Reweighting(...), or None for Bayes' rule")
    for option in (budget, alarm, merging, reweighting):
        if option is not None:
            option.check()
    if budget is not None and not isinstance(aggregation, Minimum):
        raise ConfigurationError(
            f"an inflation budget needs the minimum, whose inflation is known; got {aggregation.name!r}"
        )


def check_ensemble(ensemble: Any) -> None:
    """Raise ConfigurationError unless it is an ensemble with members and actions."""
    if not callable(getattr(ensemble, "log_probs", None)) or not hasattr(ensemble, "prior"):
        raise ConfigurationError(
            f"the ensemble must be one of consensus_imitation.ensembles, or have its methods; got {ensemble!r}"
        )
    check_integer("num_members", ensemble.num_members, 1)
    check_integer("num_actions", ensemble.num_actions, 1)


def _check_rule(name: str, rule: Any, example: str) -> None:
    if isinstance(rule, type) or not callable(rule) or not callable(getattr(rule, "check", None)):
        raise ConfigurationError(f"{name} must be a rule, {example}; got {rule!r}")
