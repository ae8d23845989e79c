"""Deliberate faults in members around one frozen network, and in what is measured of kinds of members."""

from .fault import Fault

_TESTS = ("tests/ensembles/neural/test_shared_networks.py",)
_KINDS = ("tests/experiments/test_kinds.py",)
_MASKS, _TANGENT = "ensembles/neural/_masks", "ensembles/neural/_tangent"

FAULTS: list[Fault] = [
    Fault("the-worst-connections-count", _MASKS, "return (scores >= low)", "return (scores <= low)", _TESTS),
    Fault(
        "no-gradient-reaches-the-scores",
        _MASKS,
        "masks.append(hard + value - jax.lax.stop_gradient(value))",
        "masks.append(hard)",
        _TESTS,
    ),
    Fault("all-layers-have-the-same-signs", _MASKS, "PCG64([seed, layer])", "PCG64([seed, seed])", _TESTS),
    Fault(
        "frozen-masks-forget-what-caution-withheld",
        _MASKS,
        "self.temperature[:, None]) + self.log_trust[:, None]",
        "self.temperature[:, None])",
        _TESTS,
    ),
    Fault(
        "newest-scores-instead-of-averages-are-frozen",
        _MASKS,
        "learned.averages if settings.averaging else learned.params",
        "learned.params",
        _TESTS,
    ),
    Fault(
        "the-network-itself-instead-of-its-derivative",
        _TANGENT,
        "return jax.jvp(of, (center,), (state,))[1]",
        "return jax.jvp(of, (center,), (state,))[0]",
        _TESTS,
    ),
    Fault(
        "independence-is-measured-of-predictions",
        "experiments/kinds/run",
        '"n_eff": effective_members(errors).estimate,',
        '"n_eff": members.num_members + 0.5,',
        _KINDS,
    ),
    Fault(
        "a-mask-is-counted-as-numbers",
        "experiments/kinds/run",
        "members.freeze(learned).bits.nbytes / members.num_members",
        "8 * members.freeze(learned).bits.nbytes / members.num_members",
        _KINDS,
    ),
]
