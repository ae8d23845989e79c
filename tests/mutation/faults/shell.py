"""Deliberate faults in the imitator: what voids its promises, open questions, threads, interrupts."""

from .fault import Fault

VOIDS = ("tests/imitator/test_voids.py",)
OPEN = ("tests/imitator/test_open_questions.py",)
THREADS = ("tests/stress/test_threads.py",)
INTERRUPTS = ("tests/stress/test_interrupts.py",)
BOTH = "tests/imitator/test_both_shells.py::test_"

DIGESTS = "tests/imitator/test_digests.py::test_"

FAULTS: list[Fault] = [
    # What voids a promise.
    Fault(
        "cleared-alarm-forgotten", "core/learner", "alarm=alarm, voids=state.voids | cleared",
        "alarm=alarm, voids=state.voids", VOIDS,
    ),
    Fault(
        "safe-action-forgotten", "imitator/_step",
        "after = marked(after, UNANSWERED)", "after = marked(after, 0)", VOIDS,
    ),
    Fault(
        "other-rules-not-noticed", "core/learner", "other = begun & (state.rules != rules)",
        "other = begun & (state.rules != state.rules)", VOIDS,
    ),
    Fault(
        "prior-not-in-the-fingerprint", "core/learner",
        "fingerprint((self.replace(ensemble=None), self.ensemble.prior))",
        "fingerprint((self.replace(ensemble=None), None))", VOIDS,
    ),
    Fault(
        "going-back-forgives", "imitator/_run",
        "voids=restored.voids | self.state.voids", "voids=restored.voids", VOIDS
    ),
    Fault("going-back-not-noticed", "imitator/_run", "        if went_back:\n", "        if False:\n", VOIDS),
    Fault(
        "unusable-predictions-forgotten", "core/learner", "unusable=stream.unusable | jnp.any(decision.invalid)",
        "unusable=jnp.any(decision.invalid)", VOIDS,
    ),
    # A question stays a question.
    Fault(
        "open-question-forgotten", "core/learner", "asks = state.unexplained | spent | state.stream.asking",
        "asks = state.unexplained | spent", OPEN,
    ),
    Fault("posing-leaves-no-mark", "imitator/kernels", "asking=stream.asking | asked)", "asking=stream.asking)", OPEN),
    Fault(
        "rows-that-acted-draw-again", "imitator/_step",
        "rows = np.ones(np.shape(own.stream.step), bool) if active is None else active\n"
        "    return setup.put(state, own.replace(stream=kernels.pose(",
        "rows = judged.on_host[..., 0] < 0\n    return setup.put(state, own.replace(stream=kernels.pose(", OPEN,
    ),
    Fault(
        "withdrawn-step-costs-nothing", "imitator/kernels", "ledger=jnp.where(asked, ledger, stream.ledger), asking",
        "ledger=stream.ledger, asking", OPEN,
    ),
    Fault(
        "inflation-entered-twice", "core/learner",
        "return jnp.where(stream.asking, stream.ledger, enter(stream.ledger, log_inflation))",
        "return enter(stream.ledger, log_inflation)", OPEN,
    ),
    Fault(
        "answers-not-kept", "imitator/_asking", "            self._waiting.given[row] = checked, source\n",
        "            pass\n", OPEN,
    ),
    Fault(
        "spent-number-used-again", "imitator/_live", "            self._withdraw(run.broken_off(env), env)\n",
        "            pass\n",
        ("tests/demonstrators/test_demonstrators.py",),
    ),
    # One call at a time.
    Fault("reentrance-allowed", "imitator/_turns", "if not self._is_owned():", "if True:", THREADS),
    Fault(
        "answers-take-no-turns", "imitator/_shell", "        with self._turn:\n            return self._live.answer(",
        "        if True:\n            return self._live.answer(", THREADS,
    ),
    Fault("journal-of-one-thread", "journal/reader", "check_same_thread=False", "check_same_thread=True", THREADS),
    Fault(
        "numbers-of-other-steps", "imitator/_uniforms", " or (len(ahead) > 1 and (ahead != place).any())", "",
        ("tests/imitator/test_queries_envs.py",)
    ),
    Fault(
        "withdrawn-query-waits-on", "imitator/_live",
        "            self._withdraw(self.run.withdrawn(found), found.decision.env, found.query.id)",
        "            pass", ("tests/imitator/test_withdraw.py",),
    ),
    Fault(
        "run-begins-anew-beside-its-journal", "experiments/tasks/records",
        "records.step = imitator.num_steps - _beginning(out / BEGINNING, imitator)",
        "records.step = 0 * _beginning(out / BEGINNING, imitator)",
        ("tests/experiments/compare/test_gymnasium_run.py",),
    ),
    # All fields at once.
    Fault(
        "learned-before-it-is-closed", "imitator/_live",
        "        after, closed = self._acting.settle(run, self.panel, waiting, reply)\n",
        "        self.run = replace(run, state=self._acting.settle(run, self.panel, waiting, reply)[0].state)\n"
        "        after, closed = self._acting.settle(run, self.panel, waiting, reply)\n",
        INTERRUPTS,
    ),
    # What holds in both shells.
    Fault(
        "ctrl-c-after-telling-draws-again", "imitator/_live",
        "isinstance(error, Exception) or self.panel.num_told > num_told", "isinstance(error, Exception)",
        (f"{BOTH}a_step_of_which_the_demonstrator_knows_is_not_drawn_again",),
    ),
    Fault(
        "closed-is-a-failed-write", "imitator/_recorder",
        "        self.check()\n        return nullcontext()", "        return nullcontext()",
        (f"{BOTH}a_closed_imitator_says_so_at_every_entrance",),
    ),
    Fault(
        "answer-shares-its-containers", "imitator/_live",
        "return closed if structure.num_nodes == 1 else", "return closed if structure.num_nodes else",
        (f"{BOTH}what_was_answered_is_changed_by_nobody",),
    ),
    Fault(
        "any-state-will-do", "imitator/_setup",
        "if not isinstance(state, LearnerState):", "if state is None:",
        (f"{BOTH}a_state_of_something_else_is_refused",),
    ),
    Fault(
        "answers-need-no-question", "journal/audit",
        "instead = None if isinstance(record.action, bytes) else record.log_probs", "instead = record.log_probs",
        ("tests/journal/test_any_action.py::test_verify_notices_that_a_question_is_missing",),
    ),
    Fault(
        "excess-is-learned-from", "core/state",
        "return without_excess(self.log_probs, self.excess)", "return self.log_probs",
        ("tests/core/test_dissent.py::test_what_is_learned_from_is_validated",),
    ),
    Fault(
        "digests-are-not-compared",
        "imitator/_again",
        "if then_digest is not None and digest_of(",
        "if then_digest is None and digest_of(",
        (DIGESTS + "another_prediction_is_noticed_on_an_own_step",),
    ),
    Fault(
        "rows-beside-a-question-are-digests",
        "imitator/_records",
        "digests = digests and not step.asks",
        "digests = bool(digests)",
        (DIGESTS + "own_steps_are_digests_and_queries_are_whole_also_after_resuming",),
    ),
    Fault(
        "digests-of-what-python-said",
        "imitator/_records",
        "    if not setup.ensemble.pure:\n        raise ConfigurationError(\n            'Journal(keep",
        "    if setup is None:\n        raise ConfigurationError(\n            'Journal(keep",
        (DIGESTS + "members_in_python_need_everything",),
    ),
    Fault(
        "keep-is-forgotten-on-resuming",
        "journal/directory",
        '_SETTINGS = ("observations", "group", "checkpoint_every", "keep")',
        '_SETTINGS = ("observations", "group", "checkpoint_every")',
        (DIGESTS + "own_steps_are_digests_and_queries_are_whole_also_after_resuming",),
    ),
]  # fmt: skip
