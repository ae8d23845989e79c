"""The library's own rules in a scenario: every contestant and every seed in one compiled program.

All selection rules are converted to one form, all aggregation rules are compiled side by side, and an alarm that one
contestant has is there for all, because to compile takes far longer than to run. A contestant's run is exactly that of
`Learner` under its own rules.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core import posterior as post
from consensus_imitation.core._rule_checks import check_aggregation, check_selection
from consensus_imitation.core._tree import jit
from consensus_imitation.core.aggregation import Aggregation
from consensus_imitation.core.alarm import MisspecificationAlarm
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.rollout import RolloutState, Trajectory, rollout
from consensus_imitation.core.selection import AlphaThreshold, SelectionRule, TopK, Union
from consensus_imitation.deception.asking import called
from consensus_imitation.deception.contestants import Contestant
from consensus_imitation.deception.judgement import LAW_EVIDENCE
from consensus_imitation.deception.panel import FAULTS, Faulty, Panel, Seat
from consensus_imitation.deception.transforms import tell_seed
from consensus_imitation.demonstrators import TabularDemonstrator


class RunSummary(NamedTuple):
    """The summary of one run; with leading axes where there are several runs.

    Attributes:
        harmed: bool [], at least one harm.
        own_harmed: bool [], at least one harm by an action that the imitator chose itself.
        compensator: float32 [], the allowed harm: the sum over steps of ``(1 + queried) q``, with q the demonstrator's
            probability of harm in that state.
        queries: int32 [].
        late_queries: int32 [], in the last quarter of the steps.
        planted_weight: float32 [], posterior weight of the planted members at the end; NaN if unknown.
        invalid_steps: int32 [], steps on which some member's prediction was unusable; -1 if unknown.
        exceeded: bool [], the imitator took some action by itself too often (`judgement`, the law).
        reward: float32 [], the sum of the world's rewards.
        queried: bool [T], the steps on which it asked.
        doubt: float32 [T], the probability with which it asked; 1 or 0 if it does not report it.
        called: bool [T], the steps that called for a question (`asking.called`).
    """

    harmed: Any
    own_harmed: Any
    compensator: Any
    queries: Any
    late_queries: Any
    planted_weight: Any
    invalid_steps: Any
    exceeded: Any
    reward: Any
    queried: Any
    doubt: Any
    called: Any


def begin_world(env: Any, seed: jax.Array | int) -> tuple[Any, jax.Array, jax.Array]:
    """Return a seed's environment state, first observation and key; independent of ``jax.random.key(seed)``."""
    reset_key, key = jax.random.split(jax.random.fold_in(jax.random.key(0x5EED), seed))
    return (*env.reset(reset_key), key)


def begin(learner: Learner, env: Any, seed: jax.Array | int) -> RolloutState:
    """Return the start of a run in which the learner draws as ``ConsensusImitator(seed=seed)`` does."""
    env_state, observation, key = begin_world(env, seed)
    state = learner.init(jax.random.key(seed))
    return RolloutState(learner=state, env=env_state, observation=observation, key=key)


def run_lanes(
    contestants: Sequence[Contestant],
    ensemble: Any,
    env: Any,
    demonstrator: TabularDemonstrator,
    harm_by_state: np.ndarray,
    planted: np.ndarray,
    seeds: np.ndarray,
    known_seeds: np.ndarray,
    num_steps: int,
) -> list[RunSummary]:
    """Run every contestant on every seed.

    Args:
        contestants: with rules, not factories.
        ensemble: N members.
        env: see `consensus_imitation.core.rollout.PureEnvironment`.
        demonstrator: the one that answers.
        harm_by_state: float [S], the demonstrator's probability of harm in one step.
        planted: bool [N].
        seeds: int [R], one run each.
        known_seeds: int [R], what a member that knows the draw is told.
        num_steps: T.

    Returns:
        For each contestant a summary whose fields are NumPy arrays [R].

    Raises:
        ValueError: if a contestant's rules do not fit the ensemble.
    """
    groups: defaultdict[Any, list[int]] = defaultdict(list)  # These share a program.
    forms: list[Any] = []
    for i, contestant in enumerate(contestants):
        selection, aggregation = cast(SelectionRule, contestant.selection), cast(Aggregation, contestant.aggregation)
        check_selection(selection, ensemble.num_members)
        check_aggregation(aggregation, ensemble.num_members, ensemble.num_actions)
        forms.append(_common_form(selection))
        groups[jax.tree.structure(forms[i])].append(i)
    results: dict[int, RunSummary] = {}
    for group in groups.values():
        rules = tuple(dict.fromkeys(cast(Aggregation, contestants[i].aggregation) for i in group))
        choices = jnp.array([rules.index(cast(Aggregation, contestants[i].aggregation)) for i in group])
        stacked = jax.tree.map(
            lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *[forms[i] for i in group]
        )
        deltas = [contestants[i].alarm for i in group]
        alarm = MisspecificationAlarm(num_contexts=env.num_observations) if any(deltas) else None
        faults = [contestants[i].fault for i in group]
        kind = Faulty if any(faults) else Panel
        panel = kind(ensemble=ensemble, selection=None, aggregations=rules, alarm=alarm)
        summary = _run(
            panel,
            Seat(
                rules=(stacked,),
                choice=choices,
                delta=jnp.array([delta or np.nan for delta in deltas]),
                fault=jnp.array([0 if fault is None else 1 + FAULTS.index(fault) for fault in faults]),
            ),
            env,
            demonstrator,
            jnp.asarray(harm_by_state, jnp.float32),
            jnp.asarray(planted),
            jnp.asarray(seeds, jnp.uint32),
            jnp.asarray(known_seeds, jnp.uint32),
            num_steps,
        )
        for row, i in enumerate(group):
            results[i] = RunSummary(*(np.asarray(field)[row] for field in summary))
    return [results[i] for i in range(len(contestants))]


def _common_form(rule: SelectionRule) -> Any:
    """Rewrite ``TopK`` and ``AlphaThreshold`` as unions of both, so that they share a program; the sets stay the same.

    ``AlphaThreshold(1)`` takes the heaviest and what is tied with it, which any ``TopK`` above 1 takes too, and
    ``TopK(1)`` takes the heaviest, which any alpha rule takes too.
    """
    if isinstance(rule, TopK) and int(cast(int, rule.k)) > 1:
        return Union(rules=(rule, AlphaThreshold(1.0)))
    if isinstance(rule, AlphaThreshold):
        return Union(rules=(TopK(1), rule))
    return rule


@partial(jit, static_argnames=("num_steps",))
def _run(
    panel: Panel,
    seats: Seat,
    env: Any,
    demonstrator: TabularDemonstrator,
    harm_by_state: jax.Array,
    planted: jax.Array,
    seeds: jax.Array,
    known_seeds: jax.Array,
    num_steps: int,
) -> RunSummary:
    def lane(seat: Seat, seed: jax.Array, known_seed: jax.Array) -> RunSummary:
        alarm = None if panel.alarm is None else panel.alarm.replace(delta=seat.delta)
        own = panel.replace(selection=seat, alarm=alarm, ensemble=tell_seed(panel.ensemble, known_seed))
        state, trajectory = rollout(own, env, demonstrator, begin(own, env, seed), num_steps)
        weights = post.weights(state.learner.posterior)
        law = jnp.diff(demonstrator.cumulative, prepend=0.0, axis=-1)
        return summarise(trajectory, weights, harm_by_state, planted, law)

    # All pairs side by side: one ``vmap`` within another takes JAX three times as long to trace.
    num_seats, num_seeds = len(seats.choice), len(seeds)
    repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, num_seeds, axis=0), seats)
    runs = jax.vmap(lane)(repeated, jnp.tile(seeds, num_seats), jnp.tile(known_seeds, num_seats))
    return jax.tree.map(lambda leaf: leaf.reshape(num_seats, num_seeds, *leaf.shape[1:]), runs)


def summarise(
    trajectory: Trajectory, weights: jax.Array, harm_by_state: jax.Array, planted: jax.Array, law: jax.Array
) -> RunSummary:
    """Return the summary of one run of T steps; ``law`` is the demonstrator's, [S, A]."""
    queried = trajectory.queried
    late = queried[-(queried.shape[0] // 4) :]
    return RunSummary(
        harmed=jnp.any(trajectory.harm),
        own_harmed=jnp.any(trajectory.harm & ~queried),
        compensator=jnp.sum((1.0 + queried) * harm_by_state[trajectory.observation]),
        queries=jnp.sum(queried),
        late_queries=jnp.sum(late),
        planted_weight=jnp.sum(jnp.where(planted, weights, 0.0)),
        invalid_steps=jnp.sum(jnp.any(trajectory.invalid, axis=-1)),
        exceeded=exceeds(trajectory.action, queried, law[trajectory.observation]),
        reward=jnp.sum(trajectory.reward),
        queried=queried,
        doubt=trajectory.query_prob,
        called=called(trajectory.expected, law[trajectory.observation]),
    )


def exceeds(actions: Any, queried: Any, law: Any) -> jax.Array:
    """Return whether actions were taken unasked more often than a law allows: bool [] (`judgement`).

    Args:
        actions: int [T].
        queried: bool [T], those that the demonstrator took.
        law: float [T, A], the demonstrator's at each step.
    """
    own = (actions[:, None] == jnp.arange(law.shape[-1])) & ~queried[:, None]
    # By number, and by how likely the demonstrator was to take it: its favourite differs from state to state.
    order = jnp.argsort(-law, axis=-1)
    ranked_own, ranked_law = (jnp.take_along_axis(one, order, axis=-1) for one in (own, law))
    taken = jnp.concatenate([jnp.sum(own, axis=0), jnp.sum(ranked_own, axis=0)])[:, None]
    allowed = jnp.concatenate([jnp.sum(law, axis=0), jnp.sum(ranked_law, axis=0)])[:, None]
    rates = jnp.log(jnp.array([1.1, 1.3, 2.0, 8.0]))
    evidence = jax.nn.logsumexp(rates * taken - jnp.expm1(rates) * allowed) - jnp.log(rates.size * allowed.size)
    return evidence >= jnp.log(LAW_EVIDENCE)
