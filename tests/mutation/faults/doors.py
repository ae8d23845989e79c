"""Deliberate faults in what comes in from callers, and what is given out."""

from .fault import Fault

_ACTIONS = "tests/imitator/test_actions_at_every_entrance.py::"
_REFUSED = _ACTIONS + "test_no_action_is_taken_for_one"
_LIVES = "tests/imitator/test_observations_are_private.py::test_nobody_changes_what_others_see"
_PANEL = "tests/imitator/test_observations_are_private.py::test_a_panel_of_demonstrators_shows_each_its_own"
_PLAYED = "tests/imitator/test_playing_is_private.py::test_a_demonstrator_cannot_change_the_world_by_looking"
_GIVEN_OUT = "tests/imitator/test_given_out.py::test_decisions_cannot_be_written_to"
_ENDLESS = "tests/experiments/tasks/test_endless.py"

FAULTS: list[Fault] = [
    Fault(
        "masked-action-is-taken", "core/_actions",
        "masked = bool(np.ma.is_masked(array))", "masked = False",
        (f"{_REFUSED}[answer]",),
    ),
    Fault(
        "duration-is-an-action", "core/_actions",
        'return np.dtype(dtype).kind != "m" and bool(', "return bool(",
        (f"{_REFUSED}[answer]",),
    ),
    Fault(
        "duration-is-an-integer", "core/_integers",
        "not isinstance(value, bool | np.timedelta64)", "not isinstance(value, bool)",
        (f"{_ACTIONS}test_a_duration_is_no_integer",),
    ),
    Fault(
        "recorded-action-is-cast", "demonstrators/recordings",
        "action = check_legal(check_action(teacher(given(observation), **shown), num_actions), masks[-1])",
        "action = int(teacher(given(observation), **shown))",
        (f"{_REFUSED}[record]",),
    ),
    Fault(
        "evaluated-action-is-cast", "experiments/tasks/evaluation",
        'check_row(given_back, running, episodes, num_actions, "predict gave")',
        "{b: int(row) for b, row in enumerate(given_back) if b in running}",
        (f"{_REFUSED}[evaluate]",),
    ),
    Fault(
        "start-of-actions-is-ignored", "ensembles/neural/encoding",
        "if action_space.start != 0:", "if action_space.n < 0:",
        (f"{_ACTIONS}test_spaces_whose_actions_are_not_numbered_from_zero",),
    ),
    Fault(
        "observation-kept-by-reference", "imitator/_recorder",
        "return private(observation if self.directory is None else as_read(observation))",
        "return observation if self.directory is None else as_read(observation)",
        (f"{_LIVES}[act in lockstep-callables-True]",),
    ),
    Fault(
        "demonstrator-shown-the-original", "demonstrators/_asking",
        "return self._demonstrator(given(observation))", "return self._demonstrator(observation)",
        (_PANEL,),
    ),
    Fault(
        "members-share-what-they-are-shown", "ensembles/callables",
        "_row(function, lent(observation), self.num_actions)", "_row(function, observation, self.num_actions)",
        (f"{_LIVES}[act-callables-True]",),
    ),
    Fault(
        "decision-can-be-written-to", "imitator/decision",
        "if type(value) is np.ndarray and value.flags.writeable:", "if type(value) is np.generic:",
        (_GIVEN_OUT,),
    ),
    Fault(
        "members-memory-kept-by-reference", "imitator/_host_members",
        "jnp.array(leaf) if isinstance(leaf, np.ndarray) else jnp.asarray(leaf)", "leaf",
        (f"{_LIVES}[act in lockstep-that remember and learn-True]",),
    ),
    Fault(
        "recording-shows-the-original", "demonstrators/recordings",
        "teacher(given(observation), **shown)", "teacher(observation, **shown)",
        (f"{_PLAYED}[record]",),
    ),
    Fault(
        "episode-without-end", "experiments/tasks/outcome",
        "if self.limit is None or after.length < self.limit:", "if self.limit is None or after.length > self.limit:",
        (_ENDLESS,),
    ),
]  # fmt: skip
