"""Threads take turns, nobody calls from within, and an interrupt at any instruction leaves a whole number of steps."""

import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import TopK
from consensus_imitation.core.sampling_learner import SamplingLearner
from consensus_imitation.ensembles.any_action import from_functions
from consensus_imitation.errors import PendingQueryError, ReentrantCallError, StaleAnswerError
from consensus_imitation.imitator import SamplingImitator, _live, _queries, _sampling_acting, _sampling_run, _turns
from consensus_imitation.imitator import sampling as shell

from .test_imitator import ENSEMBLE, RULE, expert

X = np.full(2, 1.5, np.float32)
ANSWER = [-1.5, -0.75]


def asking(demonstrator: Any = None) -> SamplingImitator:
    """One whose next step is a question."""
    learner = SamplingLearner(ENSEMBLE, RULE)
    return SamplingImitator.from_state(
        learner.pose(learner.init(jax.random.key(0))), ENSEMBLE, demonstrator, selection=RULE
    )


def together(count: int, work: Callable[[int], None]) -> None:
    """In threads that begin at the same time; what one raises is raised here."""
    begin, raised = threading.Barrier(count), []

    def run(number: int) -> None:
        try:
            begin.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised below
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert not any(thread.is_alive() for thread in threads)
    if raised:
        raise raised[0]


@pytest.fixture
def often() -> Any:
    """Threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("often")
def test_eight_threads_lose_no_answer() -> None:
    """Each acts and answers as it can; what was acknowledged is what was learned, once each."""
    imitator, given = SamplingImitator(ENSEMBLE, expert, selection=RULE, seed=1), []
    refused = [0] * 8

    def work(number: int) -> None:
        done = 0
        while done < 25:
            try:
                if number % 2:
                    decision = imitator.act(X)
                else:
                    decision = imitator.decide(X)
                    decision = imitator.answer(decision, ANSWER) if decision.queried else decision
            except PendingQueryError:
                refused[number] += 1
                continue
            given.append(decision)
            done += 1

    together(8, work)
    assert imitator.num_steps == len(given) == 200
    assert sorted(decision.step for decision in given) == list(range(200))
    asked = [decision for decision in given if decision.queried]
    assert imitator.num_queries == len(asked) > 0
    log_weights = np.zeros(3)
    for decision in asked:
        log_weights += np.asarray(_scores(decision.action), np.float64)
    got = np.asarray(imitator.state.posterior.log_weights)
    np.testing.assert_allclose(got, log_weights - log_weights.max(), rtol=1e-4, atol=1e-3)


_scores = jax.jit(lambda action: ENSEMBLE.log_prob((), jnp.asarray(X), None, action))


@pytest.mark.usefixtures("often")
def test_of_eight_answers_to_one_question_one_counts() -> None:
    for _ in range(5):
        imitator = asking()
        decision, taken, late = imitator.decide(X), [], []

        def work(
            number: int, imitator: Any = imitator, decision: Any = decision, taken: Any = taken, late: Any = late
        ) -> None:
            try:
                taken.append(imitator.answer(decision, ANSWER if number % 2 else [0.0, 0.0]))
            except StaleAnswerError:
                late.append(number)

        together(8, work)
        # The first counts; the same from others changes nothing, and another is refused.
        assert (len(taken), len(late), imitator.num_steps, imitator.num_queries) == (4, 4, 1, 1)
        assert len({id(one) for one in taken}) == 1


CALLS: dict[str, Callable[[SamplingImitator], Any]] = {
    "act": lambda imitator: imitator.act(X),
    "decide": lambda imitator: imitator.decide(X),
    "answer": lambda imitator: imitator.answer(None, ANSWER),  # type: ignore[arg-type]
    "clear_alarm": lambda imitator: imitator.clear_alarm(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_member_may_not_call_the_imitator(call: Any) -> None:
    holder: list[SamplingImitator] = []

    def log_prob(own: Any, observation: Any, action: Any) -> Any:
        call(holder[0])
        return jnp.zeros(())

    members = from_functions(lambda own, observation, key: own, log_prob, jnp.zeros(2))
    holder.append(SamplingImitator(members, lambda observation: 0.0, selection=TopK(2), seed=0))
    for own in (holder[0].decide, holder[0].act):
        with pytest.raises(ReentrantCallError):
            own(0.0)
    assert (holder[0].num_steps, holder[0].pending) == (0, ())


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("queried", [True, False])
def test_nor_may_a_demonstrator_that_is_told_of_a_step(queried: bool, call: Any) -> None:
    holder: list[SamplingImitator] = []

    class Curious:
        def __call__(self, observation: Any) -> Any:
            return ANSWER

        def observe(self, action: Any, who: str) -> None:
            assert who == ("demonstrator" if queried else "imitator")
            call(holder[0])

    if queried:
        holder.append(asking(Curious()))
    else:
        holder.append(SamplingImitator(ENSEMBLE, Curious(), selection=RULE, seed=0))
    with pytest.raises(ReentrantCallError):
        holder[0].act(X if queried else np.zeros(2, np.float32))
    assert holder[0].num_steps == 0


def test_a_demonstrator_that_is_asked_cannot_take_another_step() -> None:
    """The stream is one: its question has to be answered first."""
    holder: list[SamplingImitator] = []
    holder.append(asking(lambda observation: holder[0].act(observation).action))
    with pytest.raises(PendingQueryError):
        holder[0].act(X)
    assert holder[0].num_steps == 0


def test_a_question_that_is_answered_from_outside_while_act_waits_counts_once() -> None:
    holder: list[SamplingImitator] = []

    def meddled(observation: Any) -> Any:
        holder[0].answer(holder[0].pending[0], ANSWER)
        return [0.0, 0.0]

    holder.append(asking(meddled))
    assert holder[0].act(X).action.tolist() == ANSWER
    assert (holder[0].num_steps, holder[0].num_queries) == (1, 1)


# --- interrupts ---


#: The shell, its lock, and all that it shares or has of its own.
FILES = {module.__file__ for module in (shell, _live, _queries, _sampling_acting, _sampling_run, _turns)}


class Interrupts:
    """Raises KeyboardInterrupt at the n-th byte-code instruction of the shell, its parts, or its lock."""

    def __init__(self, at: int) -> None:
        self.left, self.raised = at, False

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                self.raised = True
                raise KeyboardInterrupt
        return self

    def during(self, work: Callable[[], Any]) -> bool:
        """Whether the work was interrupted."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            work()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        return self.raised


def by_act(imitator: SamplingImitator) -> None:
    imitator.act(X)


def by_answer(imitator: SamplingImitator) -> None:
    # What was asked before an interrupt waits still.
    decision = imitator.pending[0] if imitator.pending else imitator.decide(X)
    if decision.queried:
        imitator.answer(decision, ANSWER)


@pytest.mark.slow
@pytest.mark.parametrize("way", [by_act, by_answer])
def test_an_interrupt_at_any_instruction_leaves_a_whole_number_of_steps(way: Any) -> None:
    """A question is posed and answered; after an interrupt it is answered, or asked again, and learned once."""
    start = asking().state
    learned = np.asarray(_scores(jnp.asarray(ANSWER)), np.float64)
    once = learned - learned.max()
    points = again = 0
    while True:
        imitator = SamplingImitator.from_state(start, ENSEMBLE, lambda seen: ANSWER, selection=RULE)
        points += 1
        if not Interrupts(points).during(partial(way, imitator)):
            break
        weights = np.asarray(imitator.state.posterior.log_weights, np.float64)
        steps = imitator.num_steps
        assert steps in (0, 1)
        assert (imitator.num_queries, int(imitator.state.stream.step)) == (steps, steps)
        np.testing.assert_allclose(weights, once * steps, atol=1e-5)
        if steps == 0:
            again += 1
            way(imitator)
            np.testing.assert_allclose(imitator.state.posterior.log_weights, once, atol=1e-5)
        assert (imitator.num_steps, imitator.num_queries, imitator.pending) == (1, 1, ())
    assert points > 200
    assert 50 < again < points


def test_an_interrupt_of_a_step_that_asks_nothing_leaves_a_whole_number_of_steps() -> None:
    start = SamplingImitator(ENSEMBLE, selection=RULE, seed=0).state
    points, seen = 0, np.zeros(2, np.float32)
    wanted = SamplingImitator.from_state(start, ENSEMBLE, selection=RULE).act(seen).action
    while True:
        imitator = SamplingImitator.from_state(start, ENSEMBLE, selection=RULE)
        points += 1
        if not Interrupts(points).during(partial(imitator.act, seen)):
            break
        assert imitator.num_steps == int(imitator.state.stream.step)
        assert imitator.pending == ()
        if imitator.num_steps == 0:
            # Nothing was done: the same draw again.
            np.testing.assert_array_equal(imitator.act(seen).action, wanted)
        assert imitator.num_steps == 1
    assert points > 100
