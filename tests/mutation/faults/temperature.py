"""Deliberate faults in temperatures that are fitted to repeated inputs."""

from .fault import Fault

_FILE, _TESTS = "ensembles/neural/_temperature", "tests/ensembles/neural/test_temperature.py"

FAULTS = [
    Fault(
        "ignorance-is-taken-for-noise", _FILE,
        "jnp.where(before == answer, jnp.minimum(slope, 0.0), slope)", "slope",
        (f"{_TESTS}::test_it_is_what_a_dictionary_of_all_answers_gives",),
    ),
    Fault(
        "all-answers-count-as-repeated", _FILE,
        "repeated = before != _NEVER", "repeated = True",
        (f"{_TESTS}::test_members_are_as_without_it_to_the_bit_unless_the_demonstrator_contradicts_itself",),
    ),
    Fault(
        "contradictions-are-forgotten", _FILE,
        "jnp.where((before == _NEVER) | (before == answer), answer, _CONTESTED)", "answer",
        (f"{_TESTS}::test_it_is_what_a_dictionary_of_all_answers_gives",),
    ),
    Fault(
        "members-are-sharpened", _FILE,
        "self._moved(slope, variance, 0.0)", "self._moved(slope, variance, -math.log(_LARGEST))",
        (f"{_TESTS}::test_members_are_as_without_it_to_the_bit_unless_the_demonstrator_contradicts_itself",
         f"{_TESTS}::test_it_is_what_a_dictionary_of_all_answers_gives"),
    ),
    Fault(
        "what-was-legal-is-no-part-of-the-question", _FILE,
        "asked = (inputs, legal | ~jnp.any(legal))", "asked = inputs",
        (f"{_TESTS}::test_what_is_legal_is_a_part_of_the_question",),
    ),
    Fault(
        "the-order-of-numbers-does-not-matter", _FILE,
        "_mixed(_mixed(there + np.uint32(seed)) ^ words)", "_mixed(np.uint32(seed) ^ words)",
        (f"{_TESTS}::test_inputs_that_differ_anywhere_have_other_words",),
    ),
    Fault(
        "nearly-the-same-is-the-same", _FILE,
        "jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.uint32)", "leaf.astype(jnp.int32)",
        (f"{_TESTS}::test_inputs_that_differ_anywhere_have_other_words",),
    ),
    Fault(
        "whoever-has-the-place-is-the-input", _FILE,
        "jnp.where(self.marks[0, place] == mark, self.answers[0, place], _NEVER)", "self.answers[0, place]",
        (f"{_TESTS}::test_an_input_that_lost_its_place_is_a_new_one",),
    ),
    Fault(
        "shares-know-each-others-contradictions", "ensembles/neural/_partition",
        "_put(temperature, one.temperature.after(inputs, said, answer), n)",
        "jax.tree.map(lambda leaf, new: leaf.at[n if leaf.ndim == 1 else slice(None)].set(new[0]), temperature, "
        "one.temperature.after(inputs, said, answer))",
        (f"{_TESTS}::test_contradictions_in_one_share_leave_other_members_alone",),
    ),
    Fault(
        "on-the-host-nothing-repeats", "ensembles/neural/_on_host",
        "light.temperature.after(seen, log_probs, answer) if training.temperature else light.temperature",
        "light.temperature",
        (f"{_TESTS}::test_the_same_is_learned_on_the_host_and_in_programs",),
    ),
    Fault(
        "no-temperature-by-default", "ensembles/neural/settings",
        'temperature: bool | Literal["repeats"] = "repeats"', 'temperature: bool | Literal["repeats"] = False',
        (_TESTS,),
    ),
]  # fmt: skip
