"""Deliberate faults in losses that compare members."""

from .fault import Fault

COUPLING = "tests/ensembles/neural/test_coupling.py"
RUNS = "tests/imitator/test_compared_members.py"
LOOPS = f"{COUPLING}::test_the_losses_are_those_of_the_loops"
UPDATE = f"{COUPLING}::test_an_update_goes_down_the_objective"

FAULTS = [
    Fault(
        "correlation-with-oneself",
        "ensembles/neural/_coupling",
        "jnp.sum(jnp.sum(units, axis=0) ** 2) - jnp.sum(units**2)",
        "jnp.sum(jnp.sum(units, axis=0) ** 2)",
        (LOOPS,),
    ),
    Fault(
        "covariance-for-correlation",
        "ensembles/neural/_coupling",
        "units = centred * jax.lax.rsqrt(jnp.sum(centred**2, axis=1, keepdims=True) + _LEAST_SQUARES)",
        "units = centred",
        (LOOPS,),
    ),
    Fault(
        "no-variance-no-numbers",
        "ensembles/neural/_coupling",
        "keepdims=True) + _LEAST_SQUARES)",
        "keepdims=True))",
        (f"{COUPLING}::test_members_that_make_no_error_have_finite_losses_and_gradients",),
    ),
    Fault(
        "a-member-is-driven-from-itself",
        "ensembles/neural/_coupling",
        "jnp.where(others, -jnp.log(jnp.maximum(apart, _LEAST)), 0.0)",
        "-jnp.log(jnp.maximum(apart, _LEAST))",
        (LOOPS,),
    ),
    Fault(
        "the-logarithm-of-nothing",
        "ensembles/neural/_coupling",
        'jnp.maximum(jnp.einsum("r,rma->m", steps, gaps), _LEAST)',
        'jnp.einsum("r,rma->m", steps, gaps)',
        (f"{COUPLING}::test_members_that_agree_have_finite_losses_and_gradients",),
    ),
    Fault(
        "the-maximum-of-k",
        "ensembles/neural/_coupling",
        "math.comb(number - r, k - 1) for r in range(1, number + 1)",
        "math.comb(r - 1, k - 1) for r in range(1, number + 1)",
        (LOOPS,),
    ),
    Fault(
        "the-minimum-of-all-members",
        "ensembles/neural/_coupling",
        "acting(away, training.minimum_of)",
        "acting(away, len(away))",
        (LOOPS,),
    ),
    Fault(
        "driven-apart-where-answers-are",
        "ensembles/neural/_coupling",
        "away = _usable(foreign)",
        "away = familiar",
        (LOOPS,),
    ),
    Fault(
        "pairs-driven-apart-whatever-is-legal",
        "ensembles/neural/_coupling",
        "losses *= jnp.sum(legal, axis=-1) >= FEWEST_ACTIONS",
        "losses *= jnp.sum(legal, axis=-1) >= 0",
        (f"{COUPLING}::test_few_legal_actions_are_left_alone_by_pairs",),
    ),
    Fault(
        "one-member-breaks-all",
        "ensembles/neural/_coupling",
        "jax.nn.log_softmax(jnp.where(usable, logits, 0.0))",
        "jax.nn.log_softmax(logits)",
        (f"{COUPLING}::test_a_member_without_numbers_does_not_stop_the_others",),
    ),
    Fault(
        "noise-of-one-size-for-all-numbers",
        "ensembles/neural/_coupling",
        "jnp.std(leaf, axis=0)",
        "jnp.std(leaf)",
        (f"{COUPLING}::test_noise_goes_by_the_deviation_of_each_number_and_leaves_what_is_no_float",),
    ),
    Fault(
        "a-weight-that-shrinks-with-the-members",
        "ensembles/neural/_coupling",
        "jnp.sum(own) + number * penalty(",
        "jnp.sum(own) + penalty(",
        (UPDATE,),
    ),
    Fault(
        "noised-inputs-without-their-mask",
        "ensembles/neural/_rounds",
        "        return _logits(training, apply, *member, inputs, legal)\n\n    def own_loss",
        "        return _logits(training, apply, *member, inputs, None)\n\n    def own_loss",
        (UPDATE,),
    ),
    Fault(
        "everybody-counts-like-the-first",
        "ensembles/neural/_coupling",
        "jax.vmap(own_loss, in_axes=(0, 1))(logits, counts)",
        "jax.vmap(own_loss, in_axes=(0, None))(logits, counts[:, 0])",
        (UPDATE,),
    ),
    Fault(
        "the-plateau-by-everybodys-loss",
        "ensembles/neural/_coupling",
        "(_, own), gradients = jax.value_and_grad(objective, has_aux=True)(params)",
        "(total, own), gradients = jax.value_and_grad(objective, has_aux=True)(params)\n    own = own * 0 + total",
        (UPDATE,),
    ),
    Fault(
        "the-same-noise-at-every-update",
        "ensembles/neural/_rounds",
        "jax.random.fold_in(jax.random.fold_in(learned.key, 3), number)",
        "jax.random.fold_in(learned.key, 3)",
        (f"{COUPLING}::test_every_update_has_noise_of_its_own",),
    ),
    Fault(
        "pairs-driven-apart-with-two-actions",
        "ensembles/neural/_coupling",
        "if training.disagree and num_actions < FEWEST_ACTIONS:",
        "if training.disagree and num_actions < 2:",
        (f"{COUPLING}::test_where_it_means_nothing_it_is_refused",),
    ),
    Fault(
        "a-partition-that-compares-members",
        "ensembles/neural/settings",
        '"caution", "local_caution", "averaging", "masked",\n})',
        '"caution", "local_caution", "averaging", "masked", "decorrelate",\n})',
        ("tests/ensembles/neural/test_partition.py::test_what_would_leak_is_refused",),
    ),
    Fault(
        "compared-runs-are-described-as-others",
        "imitator/_description",
        '("masked", "local_caution", *COUPLED, "minimum_of")',
        '("masked", "local_caution", *COUPLED)',
        (f"{RUNS}::test_runs_from_before_these_settings_are_described_as_they_were",),
    ),
    Fault(
        "independence-by-what-was-done",
        "experiments/shift/playing",
        "            intended.append(lane.intended())\n            lane.step(lane.answer())\n    _close",
        "            intended.append(0)\n            lane.step(lane.answer())\n    _close",
        ("tests/experiments/test_shift.py::test_independence_goes_by_errors_on_the_demonstrators_own_steps",),
    ),
]
