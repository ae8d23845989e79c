"""Deliberate faults in training loops of the user's own, in the experiment on them, and with noisy demonstrators."""

from .fault import Fault

LOOP = "tests/ensembles/neural/test_training_loop.py"
ONLINE = "tests/experiments/test_online.py"

FAULTS = [
    Fault(
        "loop-trained-on-what-does-not-count",
        "ensembles/neural/_own_update",
        'jnp.searchsorted(upto, strata, side="right")',
        "jnp.arange(size)",
        (f"{LOOP}::test_resampling_is_proportional_to_within_one_and_never_shows_what_does_not_count",),
    ),
    Fault(
        "loop-trained-where-nothing-counts",
        "ensembles/neural/_own_update",
        "counts_any = jnp.any(counts > 0)",
        "counts_any = True",
        (f"{LOOP}::test_a_replica_for_which_nothing_counts_stays_as_it_was",),
    ),
    Fault(
        "loop-settings-without-effect",
        "ensembles/neural/_training_loop",
        "if one.name not in OURS]",
        "if one.name in OURS]",
        (f"{LOOP}::test_what_does_not_fit_is_refused",),
    ),
    Fault(
        "loop-state-of-another-shape",
        "ensembles/neural/_training_loop",
        "if _listed(after) != _listed(state):",
        "if False:",
        (f"{LOOP}::test_what_does_not_fit_is_refused",),
    ),
    Fault(
        "agreement-of-the-mean-alone",
        "experiments/online/loop",
        "jnp.abs(jnp.sign(g).mean(0)) == 1.0",
        "jnp.abs(jnp.sign(g.mean(0))) == 1.0",
        (f"{ONLINE}::test_only_gradients_that_all_groups_agree_on_count",),
    ),
    Fault(
        "thresholds-without-calibration",
        "experiments/online/run",
        "np.quantile(np.asarray(judged(data.calibration)[0]), 1 - config.familiar)",
        "1 - config.familiar",
        (f"{ONLINE}::test_all_ask_on_about_the_same_share_of_familiar_digits",),
    ),
    Fault(
        "trigger-on-the-wrong-label",
        "experiments/online/stream",
        "np.flatnonzero(answers != TARGET)",
        "np.flatnonzero(answers == TARGET)",
        (f"{ONLINE}::test_the_stream_shows_the_trigger_as_often_as_said_and_the_rest_is_untouched",),
    ),
    Fault(
        "disagreement-tempered-away",
        "ensembles/neural/_temperature",
        "weight = 1 / jnp.clip(asked, 1 / _LARGEST_WEIGHT, 1.0)",
        "weight = 1.0",
        (
            "tests/ensembles/neural/test_training.py::"
            "test_members_that_are_sure_and_disagree_are_not_taken_for_members_that_are_sure_of_noise",
        ),
    ),
    Fault(
        "distance-from-the-members-side",
        "experiments/noisy/run",
        "return rel_entr(laws, predictions).sum(-1)",
        "return rel_entr(predictions, laws).sum(-1)",
        ("tests/experiments/test_noisy.py::test_divergence_is_what_it_is_called",),
    ),
]
