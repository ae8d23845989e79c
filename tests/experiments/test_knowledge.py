"""What members know: the run beside what theory expected of it, and the expectations beside enumeration."""

from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation.experiments import KnowledgeConfig, run_knowledge
from consensus_imitation.experiments.knowledge.expected import CONTESTANTS, EVERYBODY, expected
from consensus_imitation.experiments.knowledge.figure import as_expected, draw, tables, unexpected
from consensus_imitation.experiments.knowledge.roads import (
    ALL,
    DEMONSTRATOR,
    FACTS,
    MINE,
    NOBODY,
    ONE,
    SHORT_CUT,
    USES,
    forecasts,
    laws,
    world,
)
from consensus_imitation.experiments.knowledge.run import _measure, read

SMALL = KnowledgeConfig(num_seeds=32, num_steps=100)


def test_the_fork_does_what_it_says() -> None:
    mine, short = world(MINE), world(SHORT_CUT)
    assert float((mine.outcome_probs * mine.harm)[0, 1].sum()) == pytest.approx(0.2)
    assert not np.any(np.asarray((mine.outcome_probs * mine.harm)[0, [0, 2]]))
    assert not np.any(short.harm)
    np.testing.assert_allclose((short.outcome_probs * short.reward)[0].sum(-1), [0.5, 0.5, 1.0])


@pytest.mark.parametrize("fact", FACTS)
def test_laws_and_forecasts_differ_where_they_say(fact: str) -> None:
    for use, users in ((NOBODY, 0), (ONE, 1), (ALL, 8)):
        own = laws(fact, use)[:, 0]
        np.testing.assert_allclose(own.sum(-1), 1)
        assert sum(not np.allclose(law, DEMONSTRATOR) for law in own) == users
        assert len(np.unique(forecasts(fact, use), axis=0)) == (1 if use == ALL else 2)


@pytest.mark.slow
@pytest.mark.parametrize("fact", [MINE, SHORT_CUT])
def test_a_veto_of_one_halves_the_harm_and_gains_no_short_cut(fact: str) -> None:
    """By hand: own mass on the mined road 0, asked with 0.49, and who is asked goes there with 0.49, harmed in 0.2."""
    assert expected(MINE, ONE, EVERYBODY, 400).low == pytest.approx(0.49 * 0.49 * 0.2)
    assert expected(SHORT_CUT, ONE, EVERYBODY, 400).low == pytest.approx(0.5 * (1 - 0.02 - 0.92 * 0.02))
    bad, harms, asked = _measure(SMALL, fact, ONE, EVERYBODY)
    rows = [{"regret": each / 100, **expected(fact, ONE, EVERYBODY, 100)._asdict()} for each in bad]
    assert as_expected(rows)
    assert not as_expected([{**row, "low": row["low"] + 0.1, "high": row["high"] + 0.1} for row in rows])
    assert asked.mean() == pytest.approx(49 if fact == MINE else 92, abs=3)
    assert (harms.sum() > 0) == (fact == MINE)


def test_who_reads_the_forecasts_finds_out_whom_to_believe() -> None:
    for fact, alone in ((MINE, 0.098), (SHORT_CUT, 0.49)):
        bad, _ = jax.vmap(lambda key, fact=fact: read(key, fact, NOBODY, 200))(jax.random.split(jax.random.key(0), 64))
        assert bad[:, 100:].mean() < alone / 10
        assert bad[:, :10].mean() > bad[:, 100:].mean()


@pytest.fixture(scope="module")
def found() -> list[Any]:
    return run_knowledge(SMALL)


@pytest.mark.slow
def test_theory_was_right_but_for_one_thing(found: list[Any]) -> None:
    """It had not thought of what asking does where every law calls the answer impossible: then all are refuted."""
    surprising = [f"{name}, {MINE}, {ALL}: " for name in ("map-asking", "mixture-asking")]
    assert [one[: len(surprising[i])] for i, one in enumerate(unexpected(found))] == surprising
    asked = [
        row["questions"] for row in found if (row["fact"], row["use"]) == (MINE, ALL) and "asking" in row["contestant"]
    ]
    assert np.mean(asked) > 70


@pytest.mark.slow
def test_picture_and_tables_hold_every_contestant(found: list[Any]) -> None:
    figure = draw(found)
    assert [ax.get_title() for ax in figure.axes] == ["a road is mined", "the path is a short cut"]
    assert [len(table.rows) for table in tables(found)] == [len(CONTESTANTS)] * 2
    assert len({(row["fact"], row["use"], row["contestant"]) for row in found}) == 2 * len(USES) * len(CONTESTANTS)


@pytest.mark.parametrize("options", [{"num_seeds": 2}, {"num_steps": 10}, {"seed": -1}])
def test_a_bad_configuration_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        KnowledgeConfig(**options)
