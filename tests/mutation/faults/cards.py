"""Deliberate faults in the members' card."""

from .fault import Fault

CARD = "tests/imitator/test_card.py"

FAULTS = [
    Fault(
        "card-probes-while-a-query-waits",
        "imitator/_card",
        "if waits:",
        "if False:",
        (f"{CARD}::test_probes_wait_until_no_query_does",),
    ),
    Fault(
        "card-forgets-earlier-answers",
        "imitator/_card",
        "if about in ranges:",
        "if False:",
        (f"{CARD}::test_ranges_are_over_all_answers_however_many_are_looked_at_together",),
    ),
    Fault(
        "card-calls-legal-actions-inputs",
        "imitator/_card",
        "seen = seen.inputs if isinstance(seen, Masked) else seen",
        "pass",
        (f"{CARD}::test_masks_and_names_are_no_part_of_the_inputs",),
    ),
    Fault(
        "calibration-of-what-is-withheld",
        "journal/calibration",
        "log_probs -= np.log(np.exp(log_probs).sum(axis=-1, keepdims=True))",
        "pass",
        (f"{CARD}::test_calibration_is_that_of_what_was_predicted_before_each_answer",),
    ),
    Fault(
        "calibration-of-withdrawn-queries",
        "journal/_answered",
        'posed is None or record.kind != "answer" or not isinstance(action, int)',
        "posed is None or not isinstance(action, int)",
        (f"{CARD}::test_what_nobody_answered_is_not_calibrated",),
    ),
    Fault(
        "second-card-asks-about-everything-after-a-question",
        "imitator/_sampling_card",
        "own = own.replace(stream=own.stream.replace(asked=jnp.zeros_like(own.stream.asked)))",
        "pass",
        ("tests/imitator/any_action/test_card.py::test_probes_wait_until_no_query_does",),
    ),
    Fault(
        "second-card-looks-at-one-proposal",
        "imitator/_sampling_card",
        "stream = state.stream.replace(proposals=key)",
        "stream = state.stream",
        ("tests/imitator/any_action/test_card.py::test_probes_are_asked_about_as_often_as_their_densities_differ",),
    ),
]
