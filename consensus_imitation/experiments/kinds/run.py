"""Members of each kind learn the same answers one after another, and are then asked about what they know and do not."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import ensembles
from consensus_imitation.core.independence import effective_members
from consensus_imitation.ensembles import Context, Neural, Training
from consensus_imitation.experiments.kinds.config import KindsConfig
from consensus_imitation.experiments.kinds.problems import Problem, problem
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.members import knowingly
from consensus_imitation.experiments.results import Row

#: Predictions are timed so often: once is too short for the clock.
_REPEATS = 10
#: At what threshold of theta the members ask: so that they ask on that share of familiar inputs.
ASKED = 0.1
COLUMNS = (
    *("kind", "seed", "learn_ms", "act_us", "bytes_learning", "bytes_kept", "accuracy", "together", "n_eff", "theta"),
    *("theta_shuffled", "asked_shuffled", "theta_turned", "asked_turned"),
)


def make_members(name: str, num_features: int, num_actions: int, num_members: int) -> Neural:
    """Return members of a kind.

    Args:
        name: ``mlp`` (two hidden layers of 64); ``mlp-alike`` (the same without a bootstrap), ``mlp-prior`` (with prior
            functions), ``mlp-partition`` (each answer counts for one member), ``mlp-narrow`` (a quarter of the width),
            ``mlp-wide`` (128), ``mlp-local`` (with local caution); with losses that compare members
            ``mlp-decorrelated``, ``mlp-narrow-decorrelated``, ``mlp-apart`` (on noise), ``mlp-asks`` (their minimum on
            noise) and ``mlp-explains`` (their minimum on the answers); ``masks/WIDTH/KEPT``; ``tangent``,
            ``tangent-alike`` and ``tangent-prior`` (as for ``mlp``), ``tangent-last`` (one layer over 256 features).
        num_features: D.
        num_actions: A.
        num_members: N.

    Raises:
        ValueError: for another name.
    """
    sizes = ((num_features,), num_actions, num_members)
    plain = partial(Training, batch_size=64, updates=4, every=4, capacity=2048, caution=0.0)
    if name.startswith("masks/") and name.count("/") == 2:
        _, width, kept = name.split("/")
        return ensembles.masks(*sizes, (int(width), int(width)), float(kept), training=plain(learning_rate=1e-2))
    kinds: dict[str, Any] = {
        "mlp": lambda: ensembles.mlp(*sizes, training=plain()),
        "mlp-alike": lambda: ensembles.mlp(*sizes, training=plain(bootstrap="none")),
        "mlp-prior": lambda: ensembles.mlp(*sizes, training=plain(prior_scale=3.0)),
        "mlp-partition": lambda: ensembles.mlp(*sizes, training=plain(bootstrap="partition")),
        "mlp-narrow": lambda: ensembles.mlp(*sizes, (16, 16), training=plain()),
        "mlp-wide": lambda: ensembles.mlp(*sizes, (128, 128), training=plain()),
        "mlp-local": lambda: ensembles.mlp(*sizes, training=plain(local_caution=0.05)),
        "mlp-decorrelated": lambda: ensembles.mlp(*sizes, training=plain(decorrelate=3.0)),
        "mlp-narrow-decorrelated": lambda: ensembles.mlp(*sizes, (16, 16), training=plain(decorrelate=3.0)),
        "mlp-apart": lambda: ensembles.mlp(*sizes, training=plain(disagree=0.3)),
        "mlp-asks": lambda: ensembles.mlp(*sizes, training=plain(minimum_withholds=0.3)),
        "mlp-explains": lambda: ensembles.mlp(*sizes, training=plain(minimum_explains=1.0)),
        "tangent": lambda: ensembles.tangent(*sizes, training=plain()),
        "tangent-alike": lambda: ensembles.tangent(*sizes, training=plain(bootstrap="none")),
        "tangent-prior": lambda: ensembles.tangent(*sizes, training=plain(prior_scale=3.0)),
        "tangent-last": lambda: ensembles.tangent(*sizes, (256,), "last", training=plain()),
    }
    if name not in kinds:
        raise ValueError(f"there is no kind {name!r}; there are masks/WIDTH/KEPT, {', '.join(kinds)}")
    with knowingly():
        return kinds[name]()


def run(
    config: KindsConfig, out: Path | None = None, progress: Progress | None = None, overwrite: bool = False
) -> list[Row]:
    """Teach members of each kind the same answers, and ask them about familiar and foreign inputs.

    Args:
        config: what to compare.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        One row for each kind and seed (`COLUMNS`): milliseconds to learn from one answer and microseconds to predict
        one input, of processor time and of all members together; bytes of one member while it learns, and of what
        predicts; accuracy on familiar inputs, a member's on average and that of their mean; the effective number of
        members there; theta of the minimum of all members, and the share of foreign inputs asked about at the threshold
        that asks on 10% of familiar ones (NaN where a task has no such inputs).

    Raises:
        ValueError: for a bad configuration, or an ``out`` that holds another one's results.
        ImportError: for digits without scikit-learn.
    """
    ledger = Ledger(
        out, identity("kinds", config), overwrite, {"runs": COLUMNS}, lambda row: (row["kind"], int(row["seed"]))
    )
    parts = [(kind, seed) for kind in config.kinds for seed in range(config.num_seeds)]
    parts += [(kind, 0) for kind in config.curve if kind not in config.kinds]
    for kind, seed in ledger.missing(parts, progress):
        given = problem(config.task, config.num_answers, config.seed + seed)
        members = make_members(kind, given.inputs.shape[1], given.num_actions, config.num_members)
        ledger.add([{"kind": kind, "seed": seed, **measure(members, given, config.seed + seed)}])
    (rows,) = ledger.rows(parts)
    return rows


def measure(members: Neural, given: Problem, seed: int) -> dict[str, float]:
    """Return what members of one kind came to (`COLUMNS`).

    Args:
        members: freshly made.
        given: what they learn.
        seed: of their initialisation and training.
    """
    learned = members.init_learned(jax.random.key(seed))
    teach = _learn.lower(members, learned, given.inputs, given.answers).compile()
    began = time.process_time()
    learned = jax.block_until_ready(teach(members, learned, given.inputs, given.answers))
    taught = time.process_time() - began
    predict = _predict.lower(members, learned, given.familiar).compile()
    log_probs = np.zeros(0)
    began = time.process_time()
    for _ in range(_REPEATS):
        log_probs = np.asarray(predict(members, learned, given.familiar))
    acted = (time.process_time() - began) / _REPEATS
    probs = np.exp(log_probs)
    errors = 1 - np.take_along_axis(probs, given.right[:, None, None], axis=-1)[..., 0]
    theta = 1 - probs.min(axis=1).sum(axis=-1)
    threshold = np.quantile(theta, 1 - ASKED)
    found = {
        "learn_ms": 1e3 * taught / len(given.inputs),
        "act_us": 1e6 * acted / len(given.familiar),
        "bytes_learning": _bytes((learned.params, learned.averages, learned.prior_params, learned.optimizer), members),
        "bytes_kept": kept_bytes(members, learned),
        "accuracy": float((probs.argmax(-1) == given.right[:, None]).mean()),
        "together": float((probs.mean(axis=1).argmax(-1) == given.right).mean()),
        "n_eff": effective_members(errors).estimate,
        "theta": float(theta.mean()),
    }
    for name in ("shuffled", "turned"):
        there = np.full(1, np.nan)
        if name in given.foreign:
            there = 1 - np.exp(np.asarray(predict(members, learned, given.foreign[name]))).min(axis=1).sum(axis=-1)
        found[f"theta_{name}"] = float(there.mean())
        found[f"asked_{name}"] = float((there > threshold).mean()) if name in given.foreign else float("nan")
    return found


def kept_bytes(members: Neural, learned: Any) -> float:
    """Return the bytes of what one member predicts with, once it learns no more.

    Args:
        members: of any kind; those that are masks keep one bit a connection.
        learned: what they know.
    """
    if isinstance(members, ensembles.Masks):
        return members.freeze(learned).bits.nbytes / members.num_members
    return _bytes((learned.params, learned.prior_params), members)


def _bytes(tree: Any, members: Neural) -> float:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / members.num_members


def _context(members: Neural, learned: Any) -> Context:
    return Context(jnp.int32(0), jnp.zeros(members.num_members), 0, learned)


@jax.jit
def _learn(members: Neural, learned: Any, inputs: jax.Array, answers: jax.Array) -> Any:
    """Predict and then learn, answer after answer."""

    def step(learned: Any, part: Any) -> tuple[Any, None]:
        one, answer = part
        log_probs = members.log_probs((), one, _context(members, learned))
        return members.learn(learned, (), one, answer, log_probs), None

    return jax.lax.scan(step, learned, (inputs, answers))[0]


@jax.jit
def _predict(members: Neural, learned: Any, inputs: jax.Array) -> jax.Array:
    """Return the predictions for each input, [P, N, A]."""
    return jax.vmap(lambda one: members.log_probs((), one, _context(members, learned)))(inputs)
