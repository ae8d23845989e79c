"""The cases: what each measures, against what, and with which target."""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import ensembles, envs
from consensus_imitation.benchmarks import cold, decisions, journal, loops, networks, replay, training
from consensus_imitation.benchmarks.measure import Measurement, time_by_turns
from consensus_imitation.core.alarm import MisspecificationAlarm
from consensus_imitation.core.budget import InflationBudget
from consensus_imitation.core.draw import from_float
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.merging import Merging
from consensus_imitation.core.rollout import RolloutState, Trajectory, rollouts
from consensus_imitation.core.selection import TopK
from consensus_imitation.demonstrators import TabularDemonstrator

#: Targets of the decision cases. Against well-written NumPy there is one for many actions only, and for a single small
#: decision, which is all dispatch, there is none.
_COST = {"jitted sum over the input": 6.0}
_SPEED_UP = {"naive jit": 4.0, "textbook NumPy": 10.0}
_SPEED_UP_MANY_ACTIONS = {**_SPEED_UP, "tuned NumPy": 2.5}


def decision(
    batch: int, num_members: int, num_actions: int, k: int, targets: Mapping[str, float], repeats: int
) -> Iterator[Measurement]:
    """Time `Learner.decide_batch` from log-probabilities, checks and dissent included, and its parts.

    The predictions are given away, but for one row.
    """
    log_probs, log_weights, _ = decisions.inputs(batch, num_members, num_actions)
    learner, state = decisions.learner_of(batch, num_members, num_actions, k, log_weights)
    uniforms = decisions.uniforms_of(state)
    on_device = tuple(jnp.asarray(part) for part in (log_probs, log_weights, from_float(uniforms)))
    tuned = decisions.TunedNumpy(batch, num_actions)
    key = jax.random.key(0)
    declared, _ = decisions.learner_of(batch, num_members, num_actions, k, log_weights, normalised=True)
    decided = decisions.decide(learner, state, on_device[0])
    parts = {"selection, law and draw": lambda: decisions.library(*on_device, k)}
    parts |= decisions.parts_of(on_device[0], decided)
    references = {
        "jitted sum over the input": lambda: decisions.floor(on_device[0]),
        "naive jit": lambda: decisions.naive_jit(on_device[0], on_device[1], key, k),
        "textbook NumPy": lambda: decisions.textbook_numpy(log_probs, log_weights, uniforms, k),
        "vectorised NumPy": lambda: decisions.vectorised_numpy(log_probs, log_weights, uniforms, k),
        "tuned NumPy": lambda: tuned(log_probs, log_weights, uniforms, k),
    }
    ours = decided.action, decided.query_prob
    for name in ("textbook NumPy", "vectorised NumPy", "tuned NumPy"):
        decisions.check_same(references[name](), ours, name, differing=math.ceil(0.05 * batch))
    # It draws from another generator, so only the law is the same.
    np.testing.assert_allclose(references["naive jit"]()[1], ours[1], atol=2e-5)

    others = {
        "normalised": decisions.deciding_given(declared, state, log_probs),
        "copied": lambda: decisions.decide(learner, state, on_device[0]),
    }
    ours_given = decisions.deciding_given(learner, state, log_probs)
    seconds = time_by_turns({"ours": ours_given} | others | parts | references, repeats)
    case = f"decide {batch}x{num_members}x{num_actions}, k={k}"
    asked = float(np.mean(np.asarray(decided.queried)))
    for name in references:
        yield Measurement(
            case=case,
            quantity=f"time of a batch, {asked:.0%} queries",
            ours=seconds["ours"],
            reference=name,
            reference_value=seconds[name],
            target=targets.get(name),
            at_least=name not in _COST,
        )
    floor = "jitted sum over the input"
    for name, words in (("normalised", "members that declare themselves normalised"), ("copied", "predictions copied")):
        target = 3.0 if name == "normalised" and floor in targets else None
        yield Measurement(case, f"the same, {words}", seconds[name], "s", floor, seconds[floor], target)
    for name in parts:
        yield Measurement(case, f"{name}, alone", seconds[name], "s", "the whole decision", seconds["ours"])


def decision_from_logits(batch: int, num_members: int, num_actions: int, k: int, repeats: int) -> Iterator[Measurement]:
    """Time `Learner.decide_batch` from logits, against normalising them."""
    logits, log_weights, _ = decisions.inputs(batch, num_members, num_actions)
    learner, state = decisions.learner_of(batch, num_members, num_actions, k, log_weights, logits=True, normalised=True)
    given = jnp.asarray(logits)
    seconds = time_by_turns(
        {
            "ours": lambda: decisions.decide(learner, state, given),
            "floor": lambda: decisions.softmax_floor(given),
        },
        repeats,
    )
    yield Measurement(
        case=f"decide {batch}x{num_members}x{num_actions}, k={k}, from logits",
        quantity="time of a batch",
        ours=seconds["ours"],
        reference="jitted log-softmax of the input",
        reference_value=seconds["floor"],
        target=1.5,
    )


def loop(repeats: int) -> Iterator[Measurement]:
    """Time whole runs of tabular members on the cliff walk: 64 seeds for each of 4 values of k in one compiled call."""
    world = envs.make("cliff")
    demonstrator_probs = np.asarray(world.demonstrator_probs, np.float64)
    members = loops.members_around(demonstrator_probs, 8)
    learner = Learner(ensembles.tabular(members), TopK(1))
    demonstrator = TabularDemonstrator.create(demonstrator_probs)
    keys = jax.random.split(jax.random.key(0), 64)
    ks = (1, 2, 4, 8)
    num_steps = 1_000

    def ours(learner: Learner = learner) -> tuple[jax.Array, jax.Array, jax.Array]:
        return rollouts(learner, world.env, demonstrator, keys, num_steps, TopK(jnp.array(ks)), _totals)

    alarm = MisspecificationAlarm(delta=0.01)
    alarmed = learner.replace(alarm=alarm)
    ruled = learner.replace(alarm=alarm, budget=InflationBudget(factor=2.0), merging=Merging())

    def in_numpy(make: type[loops.LeanNumpyImitator], seed: int = 0) -> list[loops.Totals]:
        answers = loops.table_demonstrator(demonstrator_probs, seed)
        return [loops.run_numpy(make(members, k), world, answers, num_steps, seed) for k in ks]

    references = {
        "NumPy class, same checks": loops.NumpyImitator,
        "NumPy class, no checks": loops.LeanNumpyImitator,
    }
    # Other random generators: the mean numbers of queries are the same within four standard errors.
    queries = np.asarray(ours()[0], float)
    for make in references.values():
        counted = np.array([[run.queries for run in in_numpy(make, seed)] for seed in range(12)], float).T
        error = np.sqrt(queries.var(1) / queries.shape[1] + counted.var(1) / counted.shape[1])
        assert np.all(np.abs(queries.mean(1) - counted.mean(1)) <= 4 * error + 1e-9), make

    functions = {name: (lambda make=make: in_numpy(make)) for name, make in references.items()}
    functions |= {"ours": ours, "alarmed": lambda: ours(alarmed), "ruled": lambda: ours(ruled)}
    seconds = time_by_turns(functions, repeats)
    case = "loop cliff, N=8, 64 seeds x 4 k"
    per_step = seconds["ours"] / (num_steps * queries.size)
    for name in references:
        yield Measurement(
            case=case,
            quantity="time of an environment step",
            ours=per_step,
            reference=name,
            reference_value=seconds[name] / (num_steps * len(ks)),
            target=35.0 if references[name] is loops.NumpyImitator else None,
            at_least=True,
        )
    for name, what in (("alarmed", "an alarm"), ("ruled", "an alarm, a budget and merging")):
        asked = float(np.mean(np.asarray(functions[name]()[0]))) / num_steps
        yield Measurement(
            case=case,
            quantity=f"the same with {what}, {asked:.0%} queries",
            ours=seconds[name] / (num_steps * queries.size),
            reference=f"the same without, {queries.mean() / num_steps:.0%} queries",
            reference_value=per_step,
            target=1.5,
        )
    yield Measurement(
        case=case,
        quantity="environment steps a second",
        ours=1e-6 / per_step,
        unit="million",
        target=1.0,
        at_least=True,
    )


def shell(repeats: int) -> Iterator[Measurement]:
    """Time `ConsensusImitator.act` with 8 networks, against their bare forward pass."""
    batch = 16
    agreeing, differing = networks.make_params(agreeing=True), networks.make_params(agreeing=False)
    one, many = networks.observations(), networks.observations(batch)
    imitators = {
        "act": (networks.make_imitator(agreeing), one),
        "act, often asking": (networks.make_imitator(differing), one),
        "act, batch": (networks.make_imitator(agreeing, batch), many),
    }
    forward, forward_batch = networks.make_forward(agreeing, False), networks.make_forward(agreeing, True)
    # The decision is the one that the forward pass implies: members that agree give their common softmax.
    logits = forward(one)[0].astype(np.float64)
    found = imitators["act"][0].act(one)
    assert not found.queried
    np.testing.assert_allclose(found.min_probs, np.exp(logits) / np.exp(logits).sum(), atol=1e-5)

    functions: dict[str, Callable[[], object]] = {
        name: (lambda imitator=imitator, observation=observation: imitator.act(observation).step)
        for name, (imitator, observation) in imitators.items()
    }
    functions |= {"forward": lambda: forward(one), "forward, batch": lambda: forward_batch(many)}
    seconds = time_by_turns(functions, repeats, calls=200)
    rate = imitators["act, often asking"][0].query_rate
    for name, target in (("act", 2.5), ("act, often asking", None)):
        yield Measurement(
            case="shell, 8 networks 2x64",
            quantity="time of act(), no query" if name == "act" else f"time of act(), {rate:.0%} queries",
            ours=seconds[name],
            reference="jitted forward pass",
            reference_value=seconds["forward"],
            target=target,
        )
    yield Measurement(
        case=f"shell, num_envs={batch}",
        quantity="us per environment step beyond the forward pass",
        ours=(seconds["act, batch"] - seconds["forward, batch"]) / batch * 1e6,
        unit="us",
        target=25.0,
    )


def written_down(repeats: int) -> Iterator[Measurement]:
    """Time `ConsensusImitator.act` with a journal, against the same without one and one commit to the same disk."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        place = Path(name)
        runs = {
            "step": journal.make_act(None, agreeing=True),
            "step, on disk": journal.make_act(place / "step", agreeing=True),
            "step, grouped": journal.make_act(place / "grouped", agreeing=True, group=journal.GROUP),
            "answer": journal.make_act(None, agreeing=False),
            "answer, on disk": journal.make_act(place / "answer", agreeing=False),
        }
        for imitator, _ in runs.values():
            stack.callback(imitator.close)
        connection, commit = journal.make_commit(place / "floor.sqlite")
        stack.callback(connection.close)
        functions = {name: act for name, (_, act) in runs.items()} | {"commit": commit}
        calls = {name: 20 if "disk" in name or name == "commit" else 200 for name in functions}
        seconds = time_by_turns(functions, repeats, calls)
    for name, text in (
        ("step, on disk", "a step, on the disk before it is taken"),
        ("step, grouped", f"a step, {journal.GROUP} in a transaction"),
        ("answer, on disk", f"a step of which {runs['answer'][0].query_rate:.0%} are answers"),
    ):
        bare = name.split(",")[0]
        yield Measurement(
            case="journal, 8 networks 2x64",
            quantity=text,
            ours=seconds[name],
            reference="without a journal",
            reference_value=seconds[bare],
        )
        yield Measurement(
            case="journal, 8 networks 2x64",
            quantity=f"{text}, beyond that",
            ours=seconds[name] - seconds[bare],
            reference="one commit of a small row",
            reference_value=seconds["commit"],
        )


def compilations(repeats: int) -> Iterator[Measurement]:
    """Count how often JAX compiles the program for eight values of k, one after the other."""
    del repeats
    yield Measurement(
        case="sweep over 8 values of k",
        quantity="compilations of a rollout",
        ours=count_rollout_compilations(range(1, 9)),
        unit="",
        target=1.0,
    )


def count_rollout_compilations(ks: range) -> int:
    """Run a short rollout for each k in turn and count the programs compiled."""
    world = envs.make("ring")
    probs = np.asarray(world.demonstrator_probs, np.float64)
    learner = Learner(ensembles.tabular(loops.members_around(probs, max(ks))), TopK(1))
    demonstrator = TabularDemonstrator.create(probs)
    keys = jax.random.split(jax.random.key(0), 2)
    compiled = 0

    def count(state: RolloutState, trajectory: Trajectory) -> tuple[jax.Array, ...]:
        nonlocal compiled
        compiled += 1  # runs while the program is traced, not when it is executed
        return _totals(state, trajectory)

    for k in ks:
        rollouts(learner, world.env, demonstrator, keys, 20, TopK(jnp.array([k])), count)
    return compiled


def training_members(repeats: int) -> Iterator[Measurement]:
    """Time a round of training of 16 members in one program, against 16 rounds of one member."""
    many, one = training.perceptrons(16), training.perceptrons(1)
    learned = {"16": training.make_learned(many), "1": training.make_learned(one)}
    rounds = {"16": training.make_round(many), "1": training.make_round(one)}
    seconds = time_by_turns(
        {name: (lambda name=name: rounds[name](learned[name])) for name in rounds}, repeats, calls=5
    )
    yield Measurement(
        case="training, MLP 2x64, 8 updates of 128",
        quantity="time of a round of 16 members",
        ours=seconds["16"],
        reference="16 times one member",
        reference_value=16 * seconds["1"],
        target=1.3,
    )


def training_convolutions(repeats: int) -> Iterator[Measurement]:
    """Time a round of training of 4 convolutional members, against the same with Flax's convolution."""
    ours, theirs = (training.convolutional(kind, 4) for kind in (training.by_patches, training.by_flax))
    learned = training.make_learned(ours)
    flax_learned = training.make_learned(theirs).replace(params=training.same_parameters(learned))
    rounds = {"ours": training.make_round(ours), "nnx.Conv": training.make_round(theirs)}
    inputs = {"ours": learned, "nnx.Conv": flax_learned}
    found, expected = (rounds[name](inputs[name])[0]["dense"] for name in rounds)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), found, expected)
    seconds = time_by_turns({name: (lambda name=name: rounds[name](inputs[name])) for name in rounds}, min(repeats, 3))
    yield Measurement(
        case="training, 2 convolutions on 14x14x3, 4 members",
        quantity="time of a round",
        ours=seconds["ours"],
        reference="nnx.Conv under vmap in the scan",
        reference_value=seconds["nnx.Conv"],
        target=6.0,
        at_least=True,
    )


def kept_answers(repeats: int) -> Iterator[Measurement]:
    """Time an answer where there is room for 16,384 pictures, against room for 64; and the memory of large pictures."""
    answers = {capacity: replay.make_answer(capacity) for capacity in (16_384, 64)}
    seconds = time_by_turns({str(capacity): answer for capacity, answer in answers.items()}, repeats, calls=20)
    yield Measurement(
        case="replay, 5 convolutional members, 96x96x3",
        quantity="time of an answer, room for 16,384 of them",
        ours=seconds["16384"],
        reference="room for 64",
        reference_value=seconds["64"],
        target=1.2,
    )
    for answers, every, text in ((60, 0, "60 answers"), (12, 4, "12 answers and three rounds of training")):
        yield Measurement(
            case="replay, the same, 210x160x3",
            quantity=f"peak memory of a process, {text}",
            ours=replay.peak_memory(answers, every),
            unit="MB",
            target=1000.0,
        )


def babyai_loop(repeats: int) -> Iterator[Measurement]:
    """Time a learning run on a BabyAI level, without the environment and the arithmetic of training."""
    del repeats
    # Not at the top: it takes the extra `tasks`.
    from consensus_imitation.benchmarks import babyai

    shares = babyai.time_run()
    case = "GoToRedBallGrey, 8 members that learn"
    for name in ("outside", "training"):
        words = "environment and demonstrator" if name == "outside" else "arithmetic of training"
        yield Measurement(case, words, getattr(shares, name), "s", "the whole run", shares.total)
    yield Measurement(case, "all the rest", shares.rest, "s", "the whole run", shares.total, target=0.5)


def cold_start(repeats: int) -> Iterator[Measurement]:
    """Time a fresh process: the import, and the first action of 8 networks with its compilation."""
    imported, acted, whole = cold.time_first_action(min(repeats, 3))
    yield Measurement(case="cold start", quantity="import", ours=imported)
    yield Measurement(case="cold start", quantity="import and first action", ours=acted)
    yield Measurement(case="cold start", quantity="the whole process", ours=whole)


def _totals(state: RolloutState, trajectory: Trajectory) -> tuple[jax.Array, jax.Array, jax.Array]:
    del state
    return trajectory.queried.sum(), trajectory.harm.sum(), trajectory.reward.sum()


#: Every case by name.
CASES: dict[str, Callable[[int], Iterator[Measurement]]] = {
    "decide-small": lambda repeats: decision(4096, 32, 16, 8, _COST | _SPEED_UP, repeats),
    "decide-large": lambda repeats: decision(64, 4, 32_000, 2, _COST | _SPEED_UP_MANY_ACTIONS, repeats),
    "decide-huge": lambda repeats: decision(16, 8, 128_000, 4, _COST | _SPEED_UP_MANY_ACTIONS, repeats),
    "decide-one": lambda repeats: decision(1, 8, 5, 4, {}, repeats),
    "decide-one-large": lambda repeats: decision(1, 8, 32_000, 4, {}, repeats),
    "decide-logits": lambda repeats: decision_from_logits(64, 4, 32_000, 2, repeats),
    "loop": loop,
    "shell": shell,
    "journal": written_down,
    "sweep": compilations,
    "training-members": training_members,
    "training-convolutions": training_convolutions,
    "replay": kept_answers,
    "babyai-loop": babyai_loop,
    "cold-start": cold_start,
}
