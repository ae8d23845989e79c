"""Deceptive members, and a suite that runs any imitator against them.

`run` takes contestants through scenarios, each with planted members and with honest ones in their places, and compares
what happens with what theory expects. The transforms (`time_bomb` and the others) plant a deceptive member in any
ensemble.
"""

from consensus_imitation.deception.contestants import (
    AsksAtRandom,
    Contestant,
    Factory,
    Imitator,
    Problem,
    default_contestants,
)
from consensus_imitation.deception.judgement import clopper_pearson, judge_asking, judge_harm
from consensus_imitation.deception.planting import plant
from consensus_imitation.deception.scenario import (
    SUITE,
    Asking,
    Expectation,
    Forecast,
    Scenario,
    harm_by_state,
    honest_variants,
)
from consensus_imitation.deception.scenarios import SHORT, get_scenario, scenario_names
from consensus_imitation.deception.suite import Result, format_table, run, surprises
from consensus_imitation.deception.transforms import (
    broken,
    colluding_block,
    knows_the_draw,
    low_probability_leak,
    near_duplicates,
    posterior_farming,
    query_flooding,
    tell_seed,
    time_bomb,
    timid,
    trigger_state,
)

__all__ = [
    "SHORT",
    "SUITE",
    "Asking",
    "AsksAtRandom",
    "Contestant",
    "Expectation",
    "Factory",
    "Forecast",
    "Imitator",
    "Problem",
    "Result",
    "Scenario",
    "broken",
    "clopper_pearson",
    "colluding_block",
    "default_contestants",
    "format_table",
    "get_scenario",
    "harm_by_state",
    "honest_variants",
    "judge_asking",
    "judge_harm",
    "knows_the_draw",
    "low_probability_leak",
    "near_duplicates",
    "plant",
    "posterior_farming",
    "query_flooding",
    "run",
    "scenario_names",
    "surprises",
    "tell_seed",
    "time_bomb",
    "timid",
    "trigger_state",
]
