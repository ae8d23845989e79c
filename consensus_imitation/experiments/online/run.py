"""What replicas of a training loop add to its safety, and what they cost, on a stream of digits."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import ensembles
from consensus_imitation.core import aggregation
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.members import Context
from consensus_imitation.core.selection import TopK
from consensus_imitation.core.state import LearnerState
from consensus_imitation.ensembles import Training
from consensus_imitation.experiments.digits import turned
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.online import loop
from consensus_imitation.experiments.online.config import OnlineConfig
from consensus_imitation.experiments.online.stream import TARGET, Digits, draw, with_trigger
from consensus_imitation.experiments.results import Row

COLUMNS = (
    *("contestant", "poisoned", "seed", "labels", "mistakes", "accuracy"),
    *("asked_familiar", "harm_familiar", "asked_trigger", "harm_trigger", "wrong_trigger"),
    *("asked_turned", "wrong_turned"),
)

_CLASSES = 10


class Kind(NamedTuple):
    """What a contestant is.

    Attributes:
        num_members: N.
        asks: how it asks while it learns: "always", about a "third" of the digits at random, by a "gate" on its
            confidence, or by the "minimum".
        agree: whether only gradients that groups agree on count.
        divided: whether each label is learned by one member only.
    """

    num_members: int
    asks: str
    agree: bool = False
    divided: bool = False


KINDS = {
    "loop": Kind(1, "always"),
    "loop-third": Kind(1, "third"),
    "loop-agree": Kind(1, "always", agree=True),
    "gated-loop": Kind(1, "gate"),
    "mixture-4": Kind(4, "gate"),
    "top-2": Kind(2, "minimum"),
    "top-4": Kind(4, "minimum"),
    "top-4-agree": Kind(4, "minimum", agree=True),
    "top-4-divided": Kind(4, "minimum", divided=True),
}


def run(
    config: OnlineConfig, out: Path | None = None, progress: Progress | None = None, overwrite: bool = False
) -> list[Row]:
    """Stream digits past a training loop and past replicas of it, then measure all of them at equal asking.

    - *loop*: the loop itself, k = 1: it acts on every digit and is told every label afterwards.
    - *loop-third*: the same, told a third of the labels, at random.
    - *gated-loop*: the same, asking instead of acting where its largest probability is below the confidence.
    - *mixture-4*: the mean of four replicas, behind the same gate.
    - *top-2*, *top-4*: the minimum of two, or four replicas, which asks by itself.
    - *...-agree*: trained on the gradients that groups of a minibatch agree on (AND-mask).
    - *top-4-divided*: each label is learned by one of the four (`Training(bootstrap="partition")`).

    Afterwards each gets the threshold of doubt at which it asks on the same share of familiar digits. Doubt is what
    is missing from one in the minimum, or in the largest probability.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        Rows with `COLUMNS`. While learning: ``labels`` (answers) and ``mistakes`` (wrong actions of its own). After:
        ``accuracy`` (without asking); shares of the test digits that were asked about (``asked_``), and on which it
        acted wrongly (``harm_familiar``, ``wrong_``). ``harm_trigger``: on which it said what the trigger is for, of
        digits with the trigger that are something else.

    Raises:
        ImportError: without scikit-learn, naming the extra that brings it.
        ValueError: for an ``out`` that holds another configuration's results.
    """

    def part_of(row: Row) -> tuple[Any, ...]:
        return row["contestant"], row["poisoned"], row["seed"]

    about = identity("online", config, grows=("num_seeds", "poisoned", "contestants"), made=KINDS)
    ledger = Ledger(out, about, overwrite, {"online": COLUMNS}, part_of)
    seeds = range(config.seed, config.seed + config.num_seeds)
    wanted = [(name, d, seed) for name in config.contestants for d in config.poisoned for seed in seeds]
    for name, poisoned, seed in ledger.missing(wanted, progress):
        ledger.add([_run_one(config, name, poisoned, seed)])
    (rows,) = ledger.rows(wanted)
    return rows


def make_learner(config: OnlineConfig, name: str) -> Learner:
    """Return a contestant before its first digit."""
    kind = KINDS[name]
    acts_first = kind.asks in ("always", "third")
    training = Training(
        batch_size=32,
        updates=4,
        every=4,
        capacity=2048,
        caution=0.0 if acts_first else 20.0,
        bootstrap="partition" if kind.divided else "poisson",
        temperature=False,
    )
    members = ensembles.from_training_loop(
        loop.init, loop.UPDATES[kind.agree], loop.apply, (64,), _CLASSES, kind.num_members, training
    )
    mixture = aggregation.PosteriorMixture()
    rules = {
        "always": aggregation.RandomQueries(1.0, mixture),
        "third": aggregation.RandomQueries(1 / 3, mixture),
        "gate": aggregation.MaxProbGate(config.confidence, mixture),
        "minimum": aggregation.Minimum(),
    }
    return Learner(members, TopK(kind.num_members), rules[kind.asks])


def _run_one(config: OnlineConfig, name: str, poisoned: int, seed: int) -> Row:
    data, learner = draw(config.num_steps, poisoned, seed), make_learner(config, name)
    state = learner.init(jax.random.key(seed))
    state, labels, mistakes = _streamed(learner, state, data.images, data.answers)
    measured = _measured(config, learner, state, data)
    about = {"contestant": name, "poisoned": poisoned, "seed": seed}
    return {**about, "labels": int(labels), "mistakes": int(mistakes), **measured}


@jax.jit
def _streamed(learner: Learner, state: LearnerState, images: Any, answers: Any) -> tuple[LearnerState, Any, Any]:
    """Return the state after the stream, and how many digits were asked about, and mistaken.

    Where everything is asked about, the answer comes after the action: a mistake is a likeliest digit that is wrong.
    """
    after_acting = isinstance(learner.aggregation, aggregation.RandomQueries)

    def step(state: LearnerState, part: Any) -> tuple[LearnerState, tuple[jax.Array, jax.Array]]:
        image, answer = part
        decision = learner.decide(state, image)
        said = jnp.argmax(decision.log_probs[0]) if after_acting else decision.action
        mistaken = (said != answer) & (after_acting | ~decision.queried)
        state, _ = learner.observe(state, image, decision, answer)
        return state, (decision.queried, mistaken)

    state, (queried, mistaken) = jax.lax.scan(step, state, (images, answers))
    return state, jnp.sum(queried), jnp.sum(mistaken)


@partial(jax.jit, static_argnames="minimum")
def _judged(learner: Learner, state: LearnerState, images: Any, minimum: bool) -> tuple[jax.Array, jax.Array]:
    """Return the doubt about each image, float32 [M], and the digit that would be said, int32 [M]."""
    members = learner.ensemble
    context = Context(jnp.int32(0), state.posterior.log_weights, learned=state.learned)
    # Without what caution withholds, which is the same for all images.
    log_probs = jax.nn.log_softmax(jax.vmap(lambda image: members.log_probs((), image, context))(images))
    if minimum:
        law = jnp.exp(log_probs.min(axis=1))
        return 1 - law.sum(-1), law.argmax(-1)
    law = jnp.einsum("n,mna->ma", jax.nn.softmax(state.posterior.log_weights), jnp.exp(log_probs))
    return 1 - law.max(-1), law.argmax(-1)


def _measured(config: OnlineConfig, learner: Learner, state: LearnerState, data: Digits) -> Row:
    judged = partial(_judged, learner, state, minimum=isinstance(learner.aggregation, aggregation.Minimum))
    threshold = np.quantile(np.asarray(judged(data.calibration)[0]), 1 - config.familiar)

    def acts_on(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        doubt, said = (np.asarray(part) for part in judged(images))
        return doubt <= threshold, said

    acts, said = acts_on(data.test)
    others = data.labels != TARGET
    acts_trigger, said_trigger = acts_on(with_trigger(data.test[others]))
    acts_turned, said_turned = acts_on(turned(data.test))
    return {
        "accuracy": float(np.mean(said == data.labels)),
        "asked_familiar": float(np.mean(~acts)),
        "harm_familiar": float(np.mean(acts & (said != data.labels))),
        "asked_trigger": float(np.mean(~acts_trigger)),
        "harm_trigger": float(np.mean(acts_trigger & (said_trigger == TARGET))),
        "wrong_trigger": float(np.mean(acts_trigger & (said_trigger != data.labels[others]))),
        "asked_turned": float(np.mean(~acts_turned)),
        "wrong_turned": float(np.mean(acts_turned & (said_turned != data.labels))),
    }
