"""Deliberate faults in networks, encodings, vector environments."""

from .fault import Fault

WHOLE = "tests/ensembles/neural/test_whole_picture.py"
TYPES = "tests/ensembles/neural/test_integer_types.py"
FIT = "tests/experiments/compare/test_gymnasium_fit.py"

FAULTS = [
    # Pictures.
    Fault(
        "last-rows-left-out",
        "ensembles/neural/networks",
        "missing = size - side if side < size else -(side - size) % stride",
        "missing = size - side if side < size else 0",
        (f"{WHOLE}::test_a_planted_network_sees_what_its_fellows_see",),
    ),
    Fault(
        "small-pictures-do-not-fit",
        "ensembles/neural/networks",
        "missing = size - side if side < size else -(side - size) % stride",
        "missing = -(side - size) % stride",
        (f"{WHOLE}::test_default_channels_fit_every_picture",),
    ),
    Fault(
        "strides-step-over-pixels",
        "ensembles/neural/networks",
        "if not 1 <= stride <= size:",
        "if stride < 1:",
        ("tests/ensembles/neural/test_networks.py::test_a_stride_that_steps_over_pixels_is_refused",),
    ),
    Fault(
        "channels-first-taken-for-rows",
        "ensembles/neural/networks",
        "return depth > 4 and high < min(wide, depth) and (high <= 4 or wide == depth)",
        "return False",
        (f"{WHOLE}::test_channels_that_come_first_are_refused_with_the_remedy",),
    ),
    Fault(
        "drawn-pictures-taken-for-views",
        "ensembles/neural/encoding",
        'max(space["image"].shape or (0,)) <= _LARGEST_VIEW if grid is None else grid',
        "True if grid is None else grid",
        (f"{WHOLE}::test_a_picture_that_minigrid_drew_is_a_picture",),
    ),
    # Arithmetic in the type that was given.
    Fault(
        "choices-reckoned-in-their-own-type",
        "ensembles/neural/_encoding_parts",
        "return (numbers - first).astype(np.int32)",
        "return (array - first.astype(array.dtype)).astype(np.int32)",
        (f"{TYPES}::test_small_numbers_with_a_far_start_are_one_hot",),
    ),
    Fault(
        "tables-looked-up-in-the-numbers-own-type",
        "core/_indexing",
        "return number.astype(jnp.promote_types(number.dtype, jnp.int32))",
        "return number",
        (f"{TYPES}::test_whatever_looks_up_a_table_looks_up_the_number_itself",),
    ),
    Fault(
        "training-reckoned-in-the-users-type",
        "ensembles/neural/settings",
        "object.__setattr__(self, name, float(value))",
        "pass",
        (f"{TYPES}::test_settings_of_training_reckon_as_python_numbers_do",),
    ),
    # What an environment says of itself.
    Fault(
        "unsaid-reset-is-guessed",
        "experiments/tasks/lanes",
        "if said is None and not _has_modes():",
        "if said is None:",
        (f"{FIT}::test_a_mode_that_is_unknown_or_unsaid_is_an_error",),
    ),
    Fault(
        "unknown-reset-is-guessed",
        "experiments/tasks/lanes",
        '        if mode.value == getattr(said, "value", said):\n            return mode\n',
        '        if mode.value == getattr(said, "value", said):\n            return mode\n    return Mode.SAME_STEP\n',
        (f"{FIT}::test_a_mode_that_is_unknown_or_unsaid_is_an_error",),
    ),
    Fault(
        "contradictory-resets-are-guessed",
        "experiments/tasks/lanes",
        "if own is not None and _known(own, env) is not _said(inner.metadata, env):",
        "if False:",
        (f"{FIT}::test_two_different_things_said_are_an_error",),
    ),
    Fault(
        "other-actions-are-run",
        "experiments/tasks/lanes",
        "        check_actions(env, imitator.num_actions)\n",
        "",
        (f"{FIT}::test_other_actions_are_refused_before_the_first_step_at_every_entrance",),
    ),
    Fault(
        "other-actions-are-evaluated",
        "experiments/tasks/loop",
        "    check_actions(evaluate, imitator.num_actions)\n",
        "",
        (f"{FIT}::test_other_actions_are_refused_before_the_first_step_at_every_entrance",),
    ),
    Fault(
        "other-actions-of-a-task-are-evaluated",
        "experiments/tasks/loop",
        "                check_actions(own, imitator.num_actions)\n",
        "                pass\n",
        (f"{FIT}::test_other_actions_are_refused_before_the_first_step_at_every_entrance",),
    ),
]
