"""Deliberate faults in what users of neighbouring libraries try first: policies, files, datasets, own rules."""

from .fault import Fault

POLICY = "tests/imitator/test_policy.py::test_"

SAVING = "tests/imitator/test_saving.py::test_"
INFO = "tests/experiments/tasks/test_unsafe_info.py::test_"
MINARI = "tests/demonstrators/test_minari.py::test_"
WRAPPER = "tests/experiments/tasks/test_wrapper.py::test_"
CONTRACT = "tests/core/test_own_rule_contract.py::test_"
SELECTION = (CONTRACT + "a_false_promise_of_a_selection_rule_is_found",)
AGGREGATION = (CONTRACT + "a_false_promise_of_an_aggregation_rule_is_found",)

FAULTS: list[Fault] = [
    # Policies.
    Fault(
        "policy-forgets-no-episode", "imitator/policy",
        "            if begins.any():\n", "            if begins.all():\n",
        (POLICY + "members_forget_where_an_episode_begins_and_nowhere_else",),
    ),
    Fault(
        "policy-ignores-the-state", "imitator/policy",
        "        if state is None:\n            return own\n", "        if own is not None:\n            return own\n",
        (POLICY + "a_state_that_is_handed_back_is_gone_on_from",),
    ),
    Fault(
        "policy-takes-any-state", "imitator/policy",
        "if not fits or any(", "if not fits and any(",
        (POLICY + "a_state_of_something_else_is_refused",),
    ),
    Fault(
        "batches-of-functions-are-one-observation", "imitator/policy",
        "        return len(episode_start) if np.ndim(episode_start) == 1 else None\n", "        return None\n",
        (POLICY + "where_nothing_else_tells_episode_starts_and_the_state_do",),
    ),
    Fault(
        "batch-of-texts-is-one-text", "ensembles/neural/encoding",
        "return None if isinstance(value, str) or not hasattr(value, \"__len__\") else len(value)", "return None",
        (POLICY + "networks_tell_one_observation_from_many",),
    ),
    # Saving and loading.
    Fault(
        "file-that-is-there-is-replaced", "journal/_files", "    if overwrite:\n", "    if True:\n",
        (SAVING + "a_file_that_comes_while_it_is_saved_stays",),
    ),
    Fault(
        "without-hard-links-nothing-is-saved", "journal/_disk",
        "        os.close(create(target))\n        os.replace(source, target)\n", "        raise\n",
        (SAVING + "without_hard_links_it_is_saved_all_the_same",),
    ),
    Fault(
        "part-of-a-file-is-left-behind", "imitator/_saving",
        "            part.unlink(missing_ok=True)", "            pass",
        (SAVING + "a_file_that_comes_while_it_is_saved_stays",),
    ),
    Fault(
        "checkpoint-of-a-run-is-loaded", "imitator/_saving", "    if saved is None:\n",
        "    saved = saved or {\"format\": FORMAT, \"by\": shell, \"num_envs\": None, \"num_members\": num_members}\n"
        "    if saved is None:\n",
        (SAVING + "a_checkpoint_of_a_run_is_none",),
    ),
    Fault(
        "any-format-is-loaded", "imitator/_saving", 'saved.get("format") != FORMAT', 'not saved.get("format")',
        (SAVING + "its_format_is_versioned",),
    ),
    Fault(
        "either-shell-loads", "imitator/_saving", "    if by != shell:\n", "    if by is None:\n",
        (SAVING + "what_does_not_fit_is_refused",),
    ),
    Fault(
        "loading-forgets-the-rules", "imitator/_saving",
        "    return load_checkpoint(path, kind.again.like(setup_of(num_envs))).state",
        "    own = kind.again.like(setup_of(num_envs))\n"
        "    return load_checkpoint(path, own).state.replace(rules=own.rules)",
        (SAVING + "other_rules_and_another_prior_are_noticed",),
    ),
    # What an environment says of a step besides.
    Fault(
        "info-is-not-read", "experiments/tasks/outcome",
        "            if self.unsafe_info(info):\n", "            if self.unsafe_info(info) and self.unsafe_step:\n",
        (INFO + "a_single_environment",),
    ),
    Fault(
        "without-info-a-step-is-safe", "experiments/tasks/outcome",
        "            if info is None:\n                raise ValueError(",
        "            if info is None:\n                return bool(",
        (INFO + "without_the_info_nothing_is_called_safe",),
    ),
    Fault(
        "info-of-the-reset-is-read", "experiments/tasks/lanes",
        "        if self._mode is not Mode.SAME_STEP or not (", "        if self._mode is not None or not (",
        (INFO + "vector_environments_however_they_reset",),
    ),
    Fault(
        "info-of-other-lanes-is-read", "experiments/tasks/lanes", "        elif mask[lane]:\n", "        else:\n",
        (INFO + "a_lane_gets_its_part",),
    ),
    # Minari's datasets.
    Fault(
        "own-actions-are-demonstrations", "demonstrators/recordings",
        "if exported else np.ones(length, bool)", "if not exported else np.ones(length, bool)",
        (MINARI + "of_an_export_only_answers_count_and_what_lies_between_breaks_an_episode",),
    ),
    Fault(
        "gaps-break-no-episode", "demonstrators/recordings",
        "starts.append(np.diff(kept, prepend=-2) > 1)", "starts.append(np.arange(len(kept)) == 0)",
        (MINARI + "of_an_export_only_answers_count_and_what_lies_between_breaks_an_episode",),
    ),
    Fault(
        "exports-are-not-recognised", "journal/export_minari", 'about["algorithm_name"] = ALGORITHM',
        'about["algorithm_name"] = "another"',
        (MINARI + "a_dataset_by_name_teaches_what_the_answers_taught",),
    ),
    Fault(
        "actions-of-a-dataset-are-not-checked", "demonstrators/recordings",
        "actions.append(check_recorded(np.asarray(episode.actions)[kept], num_actions))",
        "actions.append(np.asarray(episode.actions)[kept].astype(np.int32))",
        (MINARI + "what_is_no_demonstration_is_refused",),
    ),
    # The wrapper.
    Fault(
        "wrapper-carries-out-proposals", "experiments/tasks/wrapper",
        "self.env.step(decision.action)", "self.env.step(decision.action if action is None else action)",
        (WRAPPER + "a_loop_that_knows_no_imitator_teaches_it_as_act_would",),
    ),
    Fault(
        "wrapper-forgets-episodes", "experiments/tasks/wrapper",
        '{"asked": False} if terminated or truncated else self._decided(observation, info)',
        "self._decided(observation, info)",
        (WRAPPER + "a_step_needs_an_episode",),
    ),
    Fault(
        "wrapper-asks-again-after-a-failure", "experiments/tasks/wrapper",
        "decision = self._decision = self.imitator.answer(decision, action, self.source)",
        "decision, self._decision = self.imitator.answer(decision, action), None",
        (WRAPPER + "an_answer_counts_once_though_the_environment_fails",),
    ),
    # The checks of one's own rules.
    Fault(
        "contract-misses-nobody", "core/rule_contract",
        "for row in several[~np.any(found, axis=1)]:", "for row in several[:0]:", SELECTION,
    ),
    Fault(
        "contract-believes-bounds", "core/rule_contract",
        "if bound < chance * (1 - _CLEAR):", "if bound < 0:", SELECTION,
    ),
    Fault(
        "contract-believes-quorums", "core/rule_contract",
        "sizes <= rule.tolerated_members", "sizes < rule.tolerated_members", SELECTION,
    ),
    Fault(
        "contract-believes-margins", "core/rule_contract",
        "np.flatnonzero((after != kept) & shown)", "np.flatnonzero((after != kept) & ~shown)", SELECTION,
    ),
    Fault(
        "contract-believes-vetoes", "core/rule_contract",
        "own > factor * least + ROUNDING", "own > factor * least + 1", AGGREGATION,
    ),
    Fault(
        "contract-believes-inflation", "core/rule_contract",
        "outcome = own[:, None, :] + query[:, None, None] * probs", "outcome = own[:, None, :] + 0 * probs",
        AGGREGATION,
    ),
    Fault(
        "contract-takes-no-law-for-one", "core/rule_contract",
        "np.flatnonzero(np.asarray(faulty) & np.any(selected, axis=1))", "np.flatnonzero(np.zeros(1))", AGGREGATION,
    ),
]  # fmt: skip
