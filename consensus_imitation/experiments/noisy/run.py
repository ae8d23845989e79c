"""How near members, and their minimum, come to the law of a demonstrator that is truly random."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.core.members import Context
from consensus_imitation.ensembles import Neural, Training
from consensus_imitation.experiments.curves import even_steps
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.noisy.config import NoisyConfig
from consensus_imitation.experiments.noisy.worlds import World, make
from consensus_imitation.experiments.results import Row

COLUMNS = ("world", "variant", "seed", "step", "answers", "kl_minimum", "kl_members", "doubt", "temperature")

#: Points of each run.
_POINTS = 8

#: Whether there is a temperature is said of all, so that no default can change a figure.
SETTINGS: dict[str, dict[str, Any]] = {
    "repeats": {"temperature": "repeats"},
    "temperature": {"temperature": True},
    "plain": {"temperature": False},
    "one-update": {"updates": 1, "temperature": False},
    "one-update-temperature": {"updates": 1, "temperature": True},
}


def run(
    config: NoisyConfig, out: Path | None = None, progress: Progress | None = None, overwrite: bool = False
) -> list[Row]:
    """Let imitators learn from a demonstrator whose law is known, and compare.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        Rows with `COLUMNS`, a few for each run: after so many decisions (``step``) and ``answers``, the mean of
        ``KL(demonstrator || .)`` over situations, as often as the demonstrator meets them, in nats, for the minimum of
        the k heaviest members scaled up to sum to one (``kl_minimum``), and of members (``kl_members``, their mean);
        the mean mass that the minimum lacks (``doubt``); and the members' mean ``temperature``.

    Raises:
        ImportError: if the world needs a library that is missing, naming the extra.
        ValueError: for an ``out`` that holds another configuration's results.
    """

    def part_of(row: Row) -> tuple[Any, ...]:
        return row["variant"], row["seed"]

    about = identity("noisy", config, grows=("num_seeds", "variants"), made=SETTINGS)
    ledger = Ledger(out, about, overwrite, {"noisy": COLUMNS}, part_of)
    wanted = [(name, config.seed + i) for name in config.variants for i in range(config.num_seeds)]
    world: World | None = None
    for variant, seed in ledger.missing(wanted, progress):
        world = make(config.world) if world is None else world
        ledger.add(_run_one(config, world, variant, seed))
    (rows,) = ledger.rows(wanted)
    return rows


def _run_one(config: NoisyConfig, world: World, variant: str, seed: int) -> list[Row]:
    num_actions, training = world.laws.shape[1], Training(**SETTINGS[variant])
    members = ensembles.mlp(world.observations.shape[1:], num_actions, config.num_members, training=training)
    imitator = ConsensusImitator(members, selection=TopK(config.k), seed=seed)
    rng = np.random.default_rng(seed)
    walk, rows = world.walk(rng), list[Row]()
    points = set(even_steps(config.num_steps, _POINTS).tolist())
    for step in range(1, config.num_steps + 1):
        if walk.begins:
            imitator.begin_episode()
        now = walk.situation
        decision = imitator.decide(world.observations[now], action_mask=world.legal[now])
        if decision.queried:
            decision = imitator.answer(decision, int(rng.choice(num_actions, p=world.laws[now])))
        walk.take(int(decision.action))
        if step in points:
            about = {"world": config.world, "variant": variant, "seed": seed, "step": step}
            measured = _distances(config, world, members, imitator)
            rows.append({**about, "answers": imitator.num_queries, **measured})
    return rows


def _distances(config: NoisyConfig, world: World, members: Neural, imitator: ConsensusImitator) -> Row:
    log_probs = np.asarray(_predicted(members, imitator.state.learned, world.observations), np.float64)
    log_probs = np.where(world.legal[:, None], log_probs, -np.inf)
    log_probs -= np.log(np.exp(log_probs).sum(-1, keepdims=True))
    heaviest = np.argsort(-imitator.weights, kind="stable")[: config.k]
    minimum = np.exp(log_probs[:, heaviest].min(axis=1))
    mass = minimum.sum(-1)
    return {
        "kl_minimum": float(world.weights @ divergence(world.laws, minimum / mass[:, None])),
        "kl_members": float(np.mean(world.weights @ divergence(world.laws[:, None], np.exp(log_probs)))),
        "doubt": float(world.weights @ (1 - mass)),
        "temperature": float(np.mean(np.exp(np.asarray(imitator.state.learned.temperature.log)))),
    }


def divergence(laws: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Return KL(law || prediction) in nats, over the last axis.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.experiments.noisy.run import divergence
        >>> divergence(np.array([1.0, 0.0]), np.array([0.5, 0.5])).round(3).item()
        0.693
    """
    from scipy.special import rel_entr

    return rel_entr(laws, predictions).sum(-1)


@jax.jit
def _predicted(members: Neural, learned: Any, observations: Any) -> jax.Array:
    """Return [S, N, A]."""
    context = Context(jnp.int32(0), jnp.zeros(members.num_members), learned=learned)
    return jax.vmap(lambda observation: members.log_probs((), observation, context))(observations)
