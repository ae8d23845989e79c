"""The rules of an imitator as one value: what they are by default, and whether they fit an ensemble."""

from typing import Any, Self

from consensus_imitation.core._rule_checks import check_aggregation, check_selection
from consensus_imitation.core._tree import PyTree
from consensus_imitation.core._validation import check_instance, check_integer
from consensus_imitation.core.aggregation import Aggregation, Minimum
from consensus_imitation.core.alarm import MisspecificationAlarm
from consensus_imitation.core.budget import InflationBudget
from consensus_imitation.core.members import Ensemble
from consensus_imitation.core.merging import Merging
from consensus_imitation.core.reweighting import Reweighting
from consensus_imitation.core.selection import AlphaThreshold, SelectionRule, TopK
from consensus_imitation.errors import ConfigurationError


class Rules(PyTree, guests=True):
    """All the rules by which an imitator decides.

    Attributes:
        selection: which members have a say.
        aggregation: how they are combined.
        alarm: when the answers count as unexplained; None for only when every member calls one impossible.
        budget: a limit on the inflation; None for no limit.
        merging: whether near-duplicates are ranked once; None if not.
        reweighting: how the weights follow the answers; None for Bayes' rule.

    Example:
        >>> from consensus_imitation import TopK
        >>> from consensus_imitation.core.aggregation import MAP
        >>> from consensus_imitation.core.rules import Rules
        >>> Rules(TopK(2), MAP())
        Rules(selection=TopK(k=2), aggregation=MAP(name='map'))
    """

    selection: Any
    aggregation: Any = Minimum()
    alarm: MisspecificationAlarm | None = None
    budget: InflationBudget | None = None
    merging: Merging | None = None
    reweighting: Reweighting | None = None

    @classmethod
    def chosen(
        cls,
        ensemble: Ensemble,
        *,
        selection: SelectionRule | None = None,
        aggregation: Aggregation | None = None,
        alarm: MisspecificationAlarm | None = None,
        budget: InflationBudget | None = None,
        merging: Merging | None = None,
        reweighting: Reweighting | None = None,
    ) -> Self:
        """Return what a user chose for these members, with the defaults where there is None.

        Raises:
            ConfigurationError: if the ensemble is none.
        """
        check_ensemble(ensemble)
        return cls(
            default_selection(ensemble) if selection is None else selection,
            Minimum() if aggregation is None else aggregation,
            alarm,
            budget,
            merging,
            reweighting,
        )

    def check(self, ensemble: Ensemble) -> None:
        """Raise ConfigurationError if a rule is of the wrong kind or does not fit the ensemble."""
        check_ensemble(ensemble)
        check_selection(self.selection, ensemble.num_members)
        check_aggregation(self.aggregation, ensemble.num_members, ensemble.num_actions)
        check_instance("budget", self.budget, InflationBudget, "give an InflationBudget(...), or None for no limit")
        check_instance("alarm", self.alarm, MisspecificationAlarm, "give a MisspecificationAlarm(...), or None")
        check_instance("merging", self.merging, Merging, "give a Merging(...), or None")
        check_instance("reweighting", self.reweighting, Reweighting, "give a Reweighting(...), or None for Bayes' rule")
        for option in (self.budget, self.alarm, self.merging, self.reweighting):
            if option is not None:
                option.check()
        if self.budget is not None and not isinstance(self.aggregation, Minimum):
            raise ConfigurationError(
                f"an inflation budget needs the minimum, whose inflation is known; got {self.aggregation.name!r}"
            )

    def __repr__(self) -> str:
        """Return the rules that are set, one after another."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return f"Rules({', '.join(f'{name}={rule!r}' for name, rule in named.items() if rule is not None)})"


def default_selection(ensemble: Ensemble) -> SelectionRule:
    """Return a quorum of two and the alpha rule's promise; a quorum of three for members that learn."""
    # When members learn, one soon holds the weight, and the alpha rule would let it act alone.
    if ensemble.learns:
        return TopK(min(3, ensemble.num_members))
    return TopK(min(2, ensemble.num_members)) | AlphaThreshold(0.01)


def check_ensemble(ensemble: Any) -> None:
    """Raise ConfigurationError unless it is an ensemble with members and actions."""
    if not callable(getattr(ensemble, "log_probs", None)) or not hasattr(ensemble, "prior"):
        raise ConfigurationError(
            f"the ensemble must be one of consensus_imitation.ensembles, or have its methods; got {ensemble!r}"
        )
    check_integer("num_members", ensemble.num_members, 1)
    check_integer("num_actions", ensemble.num_actions, 1)
