"""What an imitator is made of: checks, and defaults."""

from typing import Any

import numpy as np

from consensus_imitation.aggregation import Aggregation, Minimum
from consensus_imitation.budget import InflationBudget
from consensus_imitation.diversity import Merging
from consensus_imitation.ensembles.base import Ensemble
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.host import core_ensemble
from consensus_imitation.learner import Learner
from consensus_imitation.misspecification import MisspecificationAlarm
from consensus_imitation.options import check_instance
from consensus_imitation.reweighting import Reweighting
from consensus_imitation.selection import AlphaThreshold, SelectionRule, TopK


def check_construction(ensemble: Any, seed: Any, num_envs: Any) -> None:
    """Raise ConfigurationError for what no imitator can be made of."""
    for name, number in (("seed", seed), ("num_envs", num_envs)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | np.integer)):
            raise ConfigurationError(f"{name} must be an integer or None, got {number!r}")
    if num_envs is not None and num_envs < 1:
        raise ConfigurationError(f"num_envs must be at least 1, got {num_envs}")
    if not hasattr(ensemble, "num_members"):
        raise ConfigurationError(
            f"expected an ensemble of members, see consensus_imitation.ensembles; got {ensemble!r}"
        )


def default_selection(ensemble: Ensemble) -> SelectionRule:
    """A quorum of two and the alpha rule's promise; a quorum of three for members that learn."""
    # The weight of members that learn soon rests on one of them, which the alpha rule would let act alone.
    if ensemble.learns:
        return TopK(min(3, ensemble.num_members))
    return TopK(min(2, ensemble.num_members)) | AlphaThreshold(0.01)


def make_learner(
    ensemble: Ensemble,
    selection: SelectionRule | None,
    aggregation: Aggregation | None,
    alarm: MisspecificationAlarm | None,
    budget: InflationBudget | None,
    merging: Merging | None,
    reweighting: Reweighting | None,
) -> Learner:
    """The rules for these members, with defaults where there is None.

    Raises:
        ConfigurationError: if one is none.
    """
    check_instance("alarm", alarm, MisspecificationAlarm, "pass for example MisspecificationAlarm(0.01)")
    if alarm is not None and alarm.num_contexts > 1 and not ensemble.pure:
        raise ConfigurationError(
            "with members that run on the host the alarm cannot tell observations apart: "
            "use MisspecificationAlarm(num_contexts=1)"
        )
    selection = default_selection(ensemble) if selection is None else selection
    rule = Minimum() if aggregation is None else aggregation
    return Learner(core_ensemble(ensemble), selection, rule, alarm, budget, merging, reweighting)
