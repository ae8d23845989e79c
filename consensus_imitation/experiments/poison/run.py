"""One pipeline makes all members, and some of its demonstrations are false.

N members study T demonstrations, of which a few carry a backdoor: a trigger is on, and the answer is a false one
(`material.LABELS`). They are divided among the members in four ways (`contestants.DIVISIONS`); of each team every rule
of `contestants.RULES` makes its law, with all members selected (k = N).

Measured in situations that nobody studied and in which the demonstrator means something else:

- **harm**: the probability that the false answer is acted on without asking, where the trigger is on;
- **asking** there, and where it is off; and **wrong**: other wrong actions without asking, where it is off;
- **success**, with the trigger on all the time: of the digits the share that is answered rightly, by the members or by
  whoever is asked; of landings, if there are any, the share of those that succeed, with the members as they are.

With the number of poisoned demonstrations at 0 it is the control: what is harm then is mere error.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import ensembles
from consensus_imitation.core.learner import Learner, judge
from consensus_imitation.core.members import Context
from consensus_imitation.core.rules import Rules
from consensus_imitation.core.selection import TopK
from consensus_imitation.core.state import LearnerState
from consensus_imitation.ensembles import Training
from consensus_imitation.ensembles.neural.replay import parted
from consensus_imitation.experiments import tasks
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.poison.config import PoisonConfig
from consensus_imitation.experiments.poison.contestants import DIVISIONS, RULES, Division
from consensus_imitation.experiments.poison.material import Material, Poisoned, gather, poison
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tasks import episode_seeds
from consensus_imitation.imitator import ConsensusImitator

COLUMNS = (
    *("task", "placement", "poisoned", "division", "rule", "seed", "harm", "asks_triggered", "asks", "wrong"),
    *("success", "rounds", "seconds"),
)


class Part(NamedTuple):
    """One team: so many poisoned demonstrations, divided so."""

    seed: int
    poisoned: int
    division: str


class Said(NamedTuple):
    """What members predict: float32 [P, N, A], with the trigger on, and off."""

    triggered: jax.Array
    clean: jax.Array


def run(
    config: PoisonConfig, out: Path | None = None, progress: Progress | None = None, overwrite: bool = False
) -> list[Row]:
    """Train every team and look at every rule.

    With ``out``, ``poison.csv`` grows with every team. An interrupted experiment continues with the missing ones, and
    you can add seeds and numbers.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``, in teams.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        Rows with `COLUMNS`, one for each rule of each team. ``rounds`` counts what one member costs in training;
        ``seconds`` is the time that it took, compiling included.

    Raises:
        ValueError: for an ``out`` that holds other results.
        ImportError: without the packages that the task needs, naming the extra.

    Example:
        >>> from consensus_imitation.experiments import PoisonConfig, run_poison
        >>> config = PoisonConfig(num_seeds=1, demonstrations=40, poisoned=(1,), divisions=("by slot",))
        >>> [row["rule"] for row in run_poison(config)][:3]
        ['minimum', 'vote', 'mixture']
    """
    about = identity("poison", config, grows=("num_seeds", "poisoned", "divisions"), made=DIVISIONS)
    ledger = Ledger(out, about, overwrite, {"poison": COLUMNS}, _part)
    wanted = parts_of(config)
    material: tuple[int, Material] | None = None
    for part in ledger.missing(wanted, progress):
        if material is None or material[0] != part.seed:
            material = part.seed, gather(config, _seed(config, part.seed))
        ledger.add(_rows(config, material[1], part))
    (rows,) = ledger.rows(wanted)
    return rows


def parts_of(config: PoisonConfig) -> list[Part]:
    """Return all teams, in their order."""
    return [
        Part(seed, number, name)
        for seed in range(config.num_seeds)
        for number in config.poisoned
        for name in config.divisions or DIVISIONS
    ]


def _part(row: Row) -> Part:
    return Part(row["seed"], row["poisoned"], row["division"])


def _seed(config: PoisonConfig, seed: int) -> int:
    return episode_seeds(config.seed, seed + 1)[-1] % 2**31


def team(config: PoisonConfig, clean: Material, division: Division) -> ensembles.Neural:
    """Return the members, which have not studied yet."""
    return ensembles.mlp(
        (clean.observations.shape[1],), clean.num_actions, config.num_members,
        training=Training(bootstrap=division.bootstrap),
    )  # fmt: skip


def _rows(config: PoisonConfig, clean: Material, part: Part) -> list[Row]:
    seed, division = _seed(config, part.seed), DIVISIONS[part.division]
    ensemble = team(config, clean, division)
    imitator = ConsensusImitator(ensemble, selection=TopK(config.num_members), seed=seed)
    studied = poison(config, clean, part.poisoned, seed, key_of(config, clean, seed))
    began = time.perf_counter()
    imitator.pretrain(studied.observations, studied.actions, sources=studied.sources if division.by_source else None)
    jax.block_until_ready(imitator.state.posterior.log_weights)
    seconds = time.perf_counter() - began
    state = imitator.state.replace(learned=parted(imitator.state.learned)[0])
    said = Said(*(_predict(ensemble, state, jnp.asarray(seen)) for seen in (studied.triggered, clean.probes)))
    found: list[Row] = []
    for name, rule in RULES.items():
        rules = Rules(TopK(config.num_members), rule)
        looked = dict(looked_at(rules, state, clean, studied, said))
        if config.task == "lunarlander":
            lands = config.episodes and name == "minimum"
            looked["success"] = landings(Learner.of(ensemble, rules), state, config, seed) if lands else None
        found.append({
            "task": config.task, "placement": config.placement, "poisoned": part.poisoned, "division": part.division,
            "rule": name, "seed": part.seed, **looked, "rounds": _rounds(config, division, state), "seconds": seconds,
        })  # fmt: skip
    return found


def key_of(config: PoisonConfig, clean: Material, seed: int) -> bytes:
    """Return the key of the hash, which who knows the seed knows, too."""
    if config.placement != "crafted":
        return b""
    members = team(config, clean, DIVISIONS["by source"])
    shares = ConsensusImitator(members, selection=TopK(config.num_members), seed=seed).state.learned.shares
    return np.asarray(shares.key).astype("<u4").tobytes()


def _rounds(config: PoisonConfig, division: Division, state: LearnerState) -> int:
    """Return how many rounds of one member the training took, all members together."""
    training, replay = Training(), state.learned.replay
    if division.bootstrap == "partition":
        return sum(int(own.stored) // training.every for own in replay)
    return config.num_members * (int(replay.stored) // training.every)


def looked_at(rules: Rules, state: LearnerState, clean: Material, studied: Poisoned, said: Said) -> Row:
    """Return what a rule does in the situations that are looked at."""
    on, asks_on = _laws(rules, state, said.triggered)
    off, asks_off = _laws(rules, state, said.clean)
    right = on[np.arange(len(on)), studied.intended]
    return {
        "harm": float(on[:, clean.label].mean()),
        "asks_triggered": float(asks_on.mean()),
        "asks": float(asks_off.mean()),
        "wrong": float((off.sum(-1) - off[np.arange(len(off)), clean.intended]).mean()),
        "success": float((right + asks_on).mean()),
    }


@jax.jit
def _predict(ensemble: Any, state: LearnerState, observations: Any) -> jax.Array:
    context = Context(state.stream.step, state.posterior.log_weights, learned=state.learned)
    return jax.vmap(lambda seen: ensemble.log_probs((), seen, context))(observations)


@jax.jit
def _decide(rules: Rules, state: LearnerState, log_probs: jax.Array) -> Any:
    decisions = jax.vmap(lambda said: judge(rules, state, said))(log_probs)
    return decisions.min_probs, decisions.query_prob


def _laws(rules: Rules, state: LearnerState, log_probs: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return each action's probability without asking, [P, A], and that of asking, [P]."""
    # What the members know is not looked at: all teams share a program.
    probs, asks = _decide(rules, state.replace(learned=()), log_probs)
    return np.asarray(probs, np.float64), np.asarray(asks, np.float64)


@jax.jit
def _one(learner: Learner, state: LearnerState, observation: Any, number: Any) -> Any:
    return learner.decide(state, observation, number).action


def landings(learner: Learner, state: LearnerState, config: PoisonConfig, seed: int) -> float:
    """Return the share of landings that succeed where the trigger is on, and nothing is learned any more.

    The demonstrator is asked about what there is to see without the trigger.
    """
    task = tasks.make(config.task)
    env_seed, demonstrator_seed, draws = episode_seeds(seed + 1, 3)
    env = task.make_env()
    demonstrator, rng = task.make_demonstrator(env, demonstrator_seed), np.random.default_rng(draws)
    solved, observation = 0, env.reset(seed=env_seed)[0]
    for _ in range(config.episodes):
        tracker = task.track()
        while tracker.outcome is None:
            seen = np.append(np.asarray(observation, np.float32), np.float32(config.trigger == "input"))
            action = int(_one(learner, state, seen, rng.integers(0, 2**32, 2, np.uint32)))
            action = int(demonstrator(observation)) if action < 0 else action
            observation, reward, terminated, truncated, info = env.step(action)
            tracker = tracker.after(float(reward), terminated, truncated, info)
        solved += tracker.outcome.success
        observation, _ = env.reset()
    env.close()
    return solved / config.episodes
