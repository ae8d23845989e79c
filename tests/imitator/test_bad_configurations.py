"""What cannot be is refused when it is configured, by name and with what is possible."""

import pytest

from consensus_imitation import TopK
from consensus_imitation.errors import ConfigurationError

from . import bad_configurations as bad
from .fingerprints import fingerprint, taken


@pytest.mark.parametrize("kind", [*bad.PARTS, *bad.WHOLES])
def test_refused_by_name(kind: str) -> None:
    make, said = (bad.PARTS | bad.WHOLES)[kind]
    with pytest.raises(ConfigurationError, match=said) as caught:
        make()
    assert isinstance(caught.value, ValueError)


def test_a_rule_that_does_not_fit_leaves_the_imitator_as_it_was() -> None:
    one, twin = (bad.make(demonstrator=lambda observation: 0, selection=TopK(3)) for _ in range(2))
    rule, before = one.aggregation, fingerprint(one)
    for wrong in (3, None, "minimum", bad.OrderStatistic(4), bad.MinimumGate(base=None)):
        with pytest.raises(ConfigurationError):
            one.aggregation = wrong  # type: ignore[assignment]
        assert one.aggregation is rule
        assert fingerprint(one) == before
    for _ in range(5):
        assert taken(one.act(0)) == taken(twin.act(0))
    assert fingerprint(one) == fingerprint(twin)


def test_the_control_what_can_be_is_made() -> None:
    options = {
        "selection": bad.TopK(2) | bad.AlphaThreshold(0.1),
        "inflation_budget": bad.InflationBudget(2.0),
        "alarm": bad.MisspecificationAlarm(0.01),
        "merging": bad.Merging(),
        "reweighting": bad.Reweighting(temper=0.5),
        "num_envs": 2,
    }
    assert bad.make(**options).num_envs == 2
