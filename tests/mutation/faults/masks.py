"""Deliberate faults in what is done about actions that are not legal."""

from .fault import Fault

_LEGAL = "tests/core/test_legal.py::"
_EXACT = "tests/core/test_legal_enumeration.py::"
_SHELL = "tests/imitator/test_masks.py::"
_LOOPS = "tests/experiments/tasks/test_masks.py::"

FAULTS: list[Fault] = [
    Fault(
        "mask-after-the-minimum",
        "core/learner",
        "            log_probs = conditioned(log_probs, action_mask)\n",
        "            log_probs = jnp.where(action_mask, log_probs, -jnp.inf)\n",
        (f"{_LEGAL}test_the_probabilities_that_were_acted_on_are_scored",),
    ),
    Fault(
        "withheld-is-renormalised",
        "core/legal",
        "jnp.where(able, given, 0.0)",
        "jnp.where(able, 0.0, 0.0)",
        (f"{_LEGAL}test_the_definition_on_random_predictions",),
    ),
    Fault(
        "validity-is-judged-after-conditioning",
        "core/legal",
        "    excess = excesses(log_probs)\n",
        "    excess = excesses(jnp.where(legal, log_probs, -jnp.inf))\n",
        (f"{_LEGAL}test_what_cannot_be_used_vetoes_and_is_named",),
    ),
    Fault(
        "rule-may-give-illegal-actions-mass",
        "core/learner",
        "        sound &= jnp.all(jnp.asarray(action_mask, bool) | (law.probs == 0.0))\n",
        "        pass\n",
        (f"{_LEGAL}test_a_rule_that_gives_an_illegal_action_anything_is_named_and_everything_is_a_query",),
    ),
    Fault(
        "mask-without-a-legal-action",
        "core/legal",
        "if not legal.any(axis=-1).all():",
        "if False:",
        (f"{_LEGAL}test_what_is_no_mask_is_refused",),
    ),
    Fault(
        "illegal-answer-from-outside",
        "imitator/_arguments",
        "np.int32(check_legal(check_action(answer, num_actions), mask))",
        "np.int32(check_action(answer, num_actions))",
        (f"{_SHELL}test_an_illegal_answer_is_refused_and_the_query_waits",),
    ),
    Fault(
        "illegal-answer-from-outside-in-lockstep",
        "imitator/_arguments",
        "check_legal(action, None if mask is None else mask[b])",
        "action",
        (f"{_SHELL}test_a_batch_in_lockstep_and_row_by_row",),
    ),
    Fault(
        "illegal-answer-of-the-demonstrator",
        "imitator/_asking",
        "return check_legal(check_action(answer, self._num_actions), self._legal(row))",
        "return check_action(answer, self._num_actions)",
        (f"{_SHELL}test_an_illegal_answer_of_the_demonstrator_is_refused_and_asked_again",),
    ),
    Fault(
        "illegal-recorded-action",
        "imitator/_warm_start",
        'check_legal(int(checked[step]), legal[step], f"the demonstrator did at step {step}")',
        "pass",
        (f"{_SHELL}test_recordings_with_masks",),
    ),
    Fault(
        "mask-forgotten-on-resume",
        "imitator/_records",
        "    if not masks or masks[0] is None:\n",
        "    if masks:\n",
        (f"{_SHELL}test_a_query_that_waits_knows_its_mask_after_resume",),
    ),
    Fault(
        "mask-not-written-down",
        "journal/record",
        "    if record.action_mask is None:\n        return note\n",
        "    return note\n",
        ("tests/journal/test_masks.py::test_each_step_says_it_and_what_is_no_step_does_not",),
    ),
    Fault(
        "another-mask-is-the-same-question",
        "imitator/_acting",
        "if not (_same(rows, then) and _same(legal, waiting.decision.action_mask)):",
        "if not _same(rows, then):",
        (f"{_SHELL}test_what_waits_is_about_its_mask_too",),
    ),
    Fault(
        "policy-plays-what-is-illegal",
        "imitator/policy",
        "np.float32(number), legal)",
        "np.float32(number), None)",
        (f"{_SHELL}test_policy_takes_nothing_illegal_drawn_or_likeliest_alone_or_in_batches",),
    ),
    Fault(
        "trained-on-all-actions",
        "ensembles/neural/_rounds",
        "return logits if legal is None else jnp.where(legal, logits, _FORBIDDEN)",
        "return logits",
        ("tests/ensembles/neural/test_masked_training.py",),
    ),
    Fault(
        "temperature-of-what-is-illegal-is-nan",
        "ensembles/neural/_temperature",
        "jnp.maximum(jax.nn.log_softmax(log_probs), _FORBIDDEN)",
        "jax.nn.log_softmax(log_probs)",
        ("tests/ensembles/neural/test_masked_training.py",),
    ),
    Fault(
        "mask-that-is-missing-is-everything",
        "experiments/tasks/masks",
        "if not known[wanted].all():",
        "if False:",
        (f"{_LOOPS}test_a_mask_that_is_missing_is_no_mask_of_everything",),
    ),
    Fault(
        "recorded-without-looking-at-the-mask",
        "demonstrators/recordings",
        "check_legal(check_action(teacher(given(observation), **shown), num_actions), masks[-1])",
        "check_action(teacher(given(observation), **shown), num_actions)",
        (f"{_LOOPS}test_recordings_keep_masks_and_refuse_what_they_forbid",),
    ),
    Fault(
        "who-takes-over-need-not-obey",
        "imitator/_live",
        'check_legal(check_action(action, setup.ensemble.num_actions), legal, "the demonstrator took")',
        "check_action(action, setup.ensemble.num_actions)",
        ("tests/imitator/test_take_over.py",),
    ),
    Fault(
        "what-was-legal-when-somebody-took-over-is-forgotten",
        "imitator/_again",
        "UNDRAWN, record.env, None, record.action_mask\n",
        "UNDRAWN, record.env, None, None\n",
        ("tests/imitator/test_take_over.py",),
    ),
    Fault(
        "question-does-not-say-what-is-legal",
        "imitator/_question",
        "allowed=None if decision.action_mask is None else own(decision.action_mask)",
        "allowed=None",
        ("tests/imitator/test_take_over.py",),
    ),
]
