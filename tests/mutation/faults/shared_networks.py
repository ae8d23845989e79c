"""Deliberate faults in members around one frozen network, and in what is measured of kinds of members."""

from .fault import Fault

_TESTS, _KINDS = "tests/ensembles/neural/test_shared_networks.py", "tests/experiments/test_kinds.py"
_FROZEN = (f"{_TESTS}::test_frozen_members_predict_what_they_predicted_and_learn_no_more",)
_MASKS, _TANGENT = "ensembles/neural/_masks", "ensembles/neural/_tangent"

FAULTS: list[Fault] = [
    Fault(
        "the-worst-connections-count",
        _MASKS,
        "return (scores >= low)",
        "return (scores <= low)",
        (f"{_TESTS}::test_the_best_share_of_the_scores_is_chosen",),
    ),
    Fault(
        "no-gradient-reaches-the-scores",
        _MASKS,
        "masks.append(hard + value - jax.lax.stop_gradient(value))",
        "masks.append(hard)",
        (f"{_TESTS}::test_gradients_go_straight_through_the_choice",),
    ),
    Fault(
        "all-layers-have-the-same-signs",
        _MASKS,
        "PCG64([seed, layer])",
        "PCG64([seed, seed])",
        (f"{_TESTS}::test_the_frozen_network_is_the_same_for_ever",),
    ),
    Fault(
        "frozen-masks-forget-what-caution-withheld",
        _MASKS,
        "self.temperature[:, None]) + self.log_trust[:, None]",
        "self.temperature[:, None])",
        _FROZEN,
    ),
    Fault(
        "newest-scores-instead-of-averages-are-frozen",
        _MASKS,
        "learned.averages if settings.averaging else learned.params",
        "learned.params",
        _FROZEN,
    ),
    Fault(
        "the-network-itself-instead-of-its-derivative",
        _TANGENT,
        "return jax.jvp(of, (center,), (state,))[1]",
        "return jax.jvp(of, (center,), (state,))[0]",
        (f"{_TESTS}::test_members_are_linear_in_their_parameters",),
    ),
    Fault(
        "independence-is-measured-of-predictions",
        "experiments/kinds/run",
        '"n_eff": effective_members(errors).estimate,',
        '"n_eff": members.num_members + 0.5,',
        (f"{_KINDS}::test_what_is_measured_of_members_that_learn",),
    ),
    Fault(
        "a-mask-is-counted-as-numbers",
        "experiments/kinds/run",
        "members.freeze(learned).bits.nbytes / members.num_members",
        "8 * members.freeze(learned).bits.nbytes / members.num_members",
        (f"{_KINDS}::test_memory_is_counted",),
    ),
]
