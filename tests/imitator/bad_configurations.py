"""What an imitator cannot be made of: each makes one, or a part of one, with words of the error."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from consensus_imitation import (
    AlphaThreshold,
    ConsensusImitator,
    InflationBudget,
    Merging,
    Minimum,
    MisspecificationAlarm,
    Reweighting,
    TopK,
    ensembles,
)
from consensus_imitation.core.aggregation import (
    MAP,
    ConsensusSampling,
    EntropyGate,
    MaxProbGate,
    MinimumGate,
    OrderStatistic,
    RandomQueries,
    VarianceGate,
)
from consensus_imitation.ensembles import Plateau, Training
from consensus_imitation.ensembles.neural.encoding import make_encoder, num_actions_of

NAN, INF = float("nan"), float("inf")
PROBS = np.array([[[0.9, 0.1]], [[0.5, 0.5]], [[0.2, 0.8]]])
TABLES = ensembles.tabular(PROBS)


def make(ensemble: Any = TABLES, **options: Any) -> ConsensusImitator:
    return ConsensusImitator(ensemble, **{"seed": 0, **options})


def tabular(prior: Any) -> Any:
    return ensembles.tabular(PROBS, prior)


def linear(own: Any, observation: Any) -> Any:
    return own * observation


Case = tuple[Callable[[], Any], str]

#: The parts.
PARTS: dict[str, Case] = {
    "k text": (lambda: TopK("3"), "k must be an integer and at least 1.*got '3'"),  # type: ignore[arg-type]
    "k fraction": (lambda: TopK(2.5), "k must be an integer.*got 2.5"),
    "k zero": (lambda: TopK(0), r"k must be .*at least 1 \(someone must have a say\), got 0"),
    "k true": (lambda: TopK(True), "k must be an integer.*got True"),
    "k beyond 32 bits": (lambda: TopK(np.int64(2**32 + 1)), "k must be an integer"),
    "k none": (lambda: make(selection=TopK(None)), "k must be an integer.*got None"),  # type: ignore[arg-type]
    "k list": (lambda: make(selection=TopK([2])), r"k must be an integer.*got \[2\]"),  # type: ignore[arg-type]
    "alpha nan": (lambda: AlphaThreshold(NAN), r"alpha must lie in \(0, 1\], got nan"),
    "alpha text": (lambda: AlphaThreshold("0.1"), r"alpha must lie in \(0, 1\], got '0.1'"),  # type: ignore[arg-type]
    "alpha one of many": (lambda: AlphaThreshold(np.array([0.1, 1.1])), r"alpha must lie in \(0, 1\]"),
    "alpha none": (lambda: make(selection=AlphaThreshold(None)), "alpha must lie"),  # type: ignore[arg-type]
    "rule or number": (lambda: TopK(2) | 3, r"join selection rules, such as TopK\(3\).*got 3"),  # type: ignore[operator]
    "rule and text": (lambda: AlphaThreshold(0.1) & "top", "join selection rules.*got 'top'"),  # type: ignore[operator]
    "prior weight": (lambda: TopK(2).exclusion_bound(NAN, 3), r"prior_weight must lie in \(0, 1\], got nan"),
    "rounds text": (lambda: Minimum(rounds="2"), "rounds must be at least 1 and an integer, got '2'"),  # type: ignore[arg-type]
    "threshold nan": (lambda: Minimum(threshold=NAN), r"threshold must lie in \(0, 1\], got nan"),
    "two ways to ask less": (lambda: Minimum(rounds=2, threshold=0.5), "give one of them"),
    "s fraction": (lambda: OrderStatistic(1.5), r"s must be at least 1 and an integer \(1 is"),  # type: ignore[arg-type]
    "rounds zero": (lambda: ConsensusSampling(1, 0), "rounds must be at least 1"),
    "gate nan": (lambda: MaxProbGate(NAN), r"threshold must lie in \[0, 1\], got nan"),
    "gate text": (lambda: EntropyGate("0.5"), "threshold must be at least 0, got '0.5'"),  # type: ignore[arg-type]
    "gate complex": (lambda: make(aggregation=VarianceGate(0.1 + 0j)), "threshold must lie"),
    "gate rate": (lambda: RandomQueries(jnp.array(1.5)), "rate must lie in"),
    "gate without a law": (
        lambda: make(aggregation=MinimumGate(base="map")),
        "base must be an aggregation rule.*'map'",
    ),
    "factor infinite in float32": (lambda: InflationBudget(1e300), "factor must be finite and at least 1"),
    "factor text": (lambda: InflationBudget("2"), "factor must be finite.*got '2'"),  # type: ignore[arg-type]
    "per week": (lambda: InflationBudget(per="week"), 'per must be "run" or "episode"'),  # type: ignore[arg-type]
    "delta nan": (lambda: MisspecificationAlarm(NAN), r"delta must lie in \(0, 1\), got nan"),
    "contexts": (lambda: MisspecificationAlarm(num_contexts=1.5), "num_contexts must be"),  # type: ignore[arg-type]
    "tolerance": (lambda: Merging("all"), "tolerance must lie in .* or be None"),  # type: ignore[arg-type]
    "min_answers": (lambda: Merging(min_answers=NAN), "min_answers must be at least 0, got nan"),
    "temper nan": (lambda: Reweighting(temper=NAN), "temper must be above 0 and at most 1.*got nan"),
    "share text": (lambda: Reweighting(share="0.1"), "share must be at least 0"),  # type: ignore[arg-type]
    "forget none": (lambda: make(reweighting=Reweighting(forget=None)), "forget must lie"),  # type: ignore[arg-type]
    "prior nan": (lambda: tabular([0.5, NAN, 0.5]), "prior must be finite, non-negative"),
    "prior negative": (lambda: tabular([0.5, -0.1, 0.6]), "prior must be finite, non-negative"),
    "prior zero": (lambda: tabular([0, 0, 0]), "not all zero"),
    "prior too short": (lambda: tabular([0.5, 0.5]), "prior has 2 entries for 3 members: give one number per member"),
    "prior matrix": (lambda: tabular(np.full((3, 1), 1 / 3)), r"one number per member; got shape \(3, 1\)"),
    "prior texts": (lambda: tabular(["1", "1", "1"]), "prior must hold numbers"),
    "prior complex": (lambda: tabular([1j, 1, 1]), "prior must hold numbers"),
    "prior objects": (lambda: tabular([object(), 1, 1]), "prior must hold numbers"),
    "prior ragged": (lambda: tabular([[1], [1, 2], 3]), "prior must hold numbers"),
    "prior too large": (lambda: tabular([1e308, 1e308, 1e308]), "prior must be finite"),
    "prior too small": (lambda: tabular([1.0, 1e-50, 1.0]), "member 1 is positive but below .*: give it more"),
    "tables of one axis less": (lambda: ensembles.tabular(PROBS[0]), r"probs must have shape \[N, S, A\]"),
    "tables ragged": (lambda: ensembles.tabular([[[0.5, 0.5]], [[1.0]]]), r"probs must be numbers \[N, S, A\]"),
    "tables nan": (lambda: ensembles.tabular(np.where(PROBS == 0.1, NAN, PROBS)), "member 0 for observation 0 are not"),
    "logits of two kinds": (lambda: ensembles.stacked(linear, {"a": jnp.ones(2), "b": jnp.ones(3)}, 2), "same leading"),
    "no function": (lambda: ensembles.stacked(None, jnp.ones(2), 2), "apply must be a function"),  # type: ignore[arg-type]
    "no actions": (lambda: ensembles.stacked(linear, jnp.ones(2), 0), "num_actions must be at least 1"),
    "memory half": (lambda: ensembles.stacked(linear, jnp.ones(2), 2, carry=jnp.ones(2)), "give both.*or neither"),
    "union of nothing": (lambda: ensembles.union(), "union needs at least one"),
    "union of a list": (lambda: ensembles.union([TABLES, TABLES]), r"one argument each: union\(one, other\)"),  # type: ignore[arg-type]
    "union of 2 and 3 actions": (
        lambda: ensembles.union(TABLES, ensembles.tabular(np.full((1, 1, 3), 1 / 3))),
        r"share one action space; their numbers of actions are \[2, 3\]",
    ),
    "functions that are none": (lambda: ensembles.callables([1, 2], 2), "must be a function"),  # type: ignore[list-item]
    "no members": (lambda: ensembles.mlp((2,), 2, num_members=0), "num_members must be at least 1.*got 0"),
    "members fraction": (lambda: ensembles.mlp((2,), 2, num_members=2.5), "num_members must be"),  # type: ignore[arg-type]
    "hidden": (lambda: ensembles.mlp((2,), 2, hidden=64), "hidden must be a sequence of integers"),  # type: ignore[arg-type]
    "hidden zero": (lambda: ensembles.mlp((2,), 2, hidden=(8, 0)), r"hidden\[1\] must be at least 1.*got 0"),
    "training": (lambda: ensembles.mlp((2,), 2, training={"every": 1}), r"training must be a Training.*: give"),  # type: ignore[arg-type]
    "no module": (lambda: ensembles.from_module("linear", (2,), 2), "make_module must be a function"),  # type: ignore[arg-type]
    "learning rate nan": (
        lambda: Training(learning_rate=NAN),
        "learning_rate must be positive and finite, or a schedule",
    ),
    "learning rate text": (lambda: Training(learning_rate="3e-3"), "learning_rate must be"),  # type: ignore[arg-type]
    "batch of 2.5": (lambda: Training(batch_size=2.5), "batch_size must be at least 1 and an integer"),  # type: ignore[arg-type]
    "decay infinite": (lambda: Training(weight_decay=INF), "weight_decay must be at least 0 and finite"),
    "plateau": (lambda: Training(plateau=0.5), r"plateau must be a Plateau.*: give a Plateau"),  # type: ignore[arg-type]
    "patience": (lambda: Plateau(patience=0), "patience must be at least 1"),
    "shape of fractions": (lambda: make_encoder((2.5,)), "a size of a space must be at least 1 and an integer.*2.5"),
    "space true": (lambda: make_encoder(True), "a size of a space must be"),
    "vocabulary text": (lambda: make_encoder((2,), vocabulary="red blue"), "vocabulary must be a sequence of words"),
    "buckets": (
        lambda: make_encoder((2,), buckets=0),
        r"buckets must be at least 1.*\(0 is possible with a vocabulary\)",
    ),
    "actions": (lambda: num_actions_of(2.0), "actions must be numbered"),
}

#: The imitator.
WHOLES: dict[str, Case] = {
    "ensemble none": (lambda: make(None), "ensemble.*got None"),
    "ensemble of functions": (lambda: make([lambda observation: [1, 0]]), "ensemble"),
    "seed fraction": (lambda: make(seed=1.5), "seed must be an integer.*got 1.5"),
    "environments text": (lambda: make(num_envs="2"), "num_envs must be an integer.*got '2'"),
    "environments zero": (lambda: make(num_envs=0), "num_envs must be at least 1, got 0"),
    "k above N": (
        lambda: make(selection=TopK(4)),
        "k=4 exceeds the ensemble's 3 members: choose k <= 3 or add members",
    ),
    "k array above N": (lambda: make(selection=TopK(jnp.array(4))), "exceeds the ensemble's 3 members"),
    "inner k above N": (lambda: make(selection=TopK(4) | AlphaThreshold(0.1)), "k=4 exceeds"),
    "selection number": (lambda: make(selection=3), r"selection must be a rule, such as TopK\(3\).*got 3"),
    "selection class": (lambda: make(selection=TopK), "selection must be a rule"),
    "aggregation text": (lambda: make(aggregation="minimum"), r"aggregation must be a rule, such as Minimum\(\)"),
    "s above N": (lambda: make(aggregation=OrderStatistic(4)), "choose s <= 3"),
    "budget number": (lambda: make(inflation_budget=2.0), r"budget must be a InflationBudget, got 2.0: give an"),
    "budget without minimum": (
        lambda: make(inflation_budget=InflationBudget(), aggregation=MAP()),
        "needs the minimum",
    ),
    "merging true": (lambda: make(merging=True), r"merging must be a Merging, got True: give"),
    "reweighting number": (lambda: make(reweighting=0.5), "reweighting must be a Reweighting, got 0.5: give"),
    "demonstrators too few": (
        lambda: make(demonstrator=[max], num_envs=2),
        "one demonstrator per environment, 2 in all",
    ),
}
