"""Deliberate faults in local caution and in the experiment with a world that changes."""

from .fault import Fault

LOCAL = "tests/ensembles/neural/test_local.py"
RUNS = "tests/imitator/test_local_caution.py"

FAULTS = [
    Fault(
        "surprises-count-as-answers",
        "ensembles/neural/_local",
        "self.foreseen.at[:, place].set(own)",
        "self.foreseen.at[:, place].set(1.0)",
        (f"{LOCAL}::test_an_answer_counts_as_much_as_it_was_foreseen",),
    ),
    Fault(
        "foreseen-of-what-was-left-over",
        "ensembles/neural/_local",
        "jnp.exp(predicted[:, answer] - jax.nn.logsumexp(predicted, axis=-1))",
        "jnp.exp(predicted[:, answer])",
        (f"{LOCAL}::test_what_is_withheld_is_the_kernel_sum_by_brute_force",),
    ),
    Fault(
        "nothing-predicted-is-foreseen",
        "ensembles/neural/_local",
        "own = jnp.nan_to_num(jnp.exp(predicted[:, answer] - jax.nn.logsumexp(predicted, axis=-1)))",
        "own = jnp.exp(predicted[:, answer] - jax.nn.logsumexp(predicted, axis=-1))",
        (f"{LOCAL}::test_a_member_without_a_prediction_has_foreseen_nothing",),
    ),
    Fault(
        "all-numbers-count-alike",
        "ensembles/neural/_local",
        "jnp.sqrt(jnp.sqrt(told)) / deviation",
        "1 / deviation",
        (f"{LOCAL}::test_numbers_count_by_what_the_answer_tells_of_them",),
    ),
    Fault(
        "groups-of-all-that-was-ever-stored",
        "ensembles/neural/_local",
        "apart = jnp.where(real, points - mean, 0.0)",
        "apart = points - mean",
        (f"{LOCAL}::test_what_is_withheld_is_the_kernel_sum_by_brute_force",),
    ),
    Fault(
        "an-answered-input-vouches-for-itself",
        "ensembles/neural/_local",
        "other = (there < size) & (there != place)",
        "other = there < size",
        (f"{LOCAL}::test_what_is_withheld_is_the_kernel_sum_by_brute_force",),
    ),
    Fault(
        "too-small-a-room-for-the-answers",
        "ensembles/neural/_local",
        "stored > jnp.array(rooms[:-1], jnp.int32)",
        "stored > 2 * jnp.array(rooms[:-1], jnp.int32)",
        (f"{LOCAL}::test_what_is_withheld_is_the_kernel_sum_by_brute_force",),
    ),
    Fault(
        "constants-are-fitted-once",
        "ensembles/neural/_local",
        "due = (stored >= _GROWTH * self.fitted) & (stored > 2)",
        "due = (self.fitted == 0) & (stored > 2)",
        (f"{LOCAL}::test_what_is_withheld_is_the_kernel_sum_by_brute_force",),
    ),
    Fault(
        "sure-before-there-is-anything-to-go-by",
        "ensembles/neural/_local",
        "self.constant / (self.constant + near), 1.0)",
        "self.constant / (self.constant + near), 0.0)",
        (f"{LOCAL}::test_everything_is_withheld_before_there_is_anything_to_go_by",),
    ),
    Fault(
        "the-wary-forget-on-the-host",
        "ensembles/neural/_on_host",
        "temperature=noted.temperature, answered=noted.answered,",
        "temperature=noted.temperature,",
        ("tests/ensembles/neural/test_replay.py::test_the_same_is_learned_on_the_host_to_the_bit", RUNS),
    ),
    Fault(
        "local-caution-in-place-of-the-other",
        "ensembles/neural/training",
        "trust *= 1 - learned.answered.withheld(inputs, stored)[:, None]",
        "trust = 1 - learned.answered.withheld(inputs, stored)[:, None]",
        (f"{LOCAL}::test_both_cautions_multiply_what_is_left",),
    ),
    Fault(
        "foreign-answers-drawn-like-others",
        "ensembles/neural/training",
        "return learned.answered.drawn(key, shape, stored)",
        "return jax.random.randint(key, shape, 0, jnp.minimum(stored, training.capacity))",
        (f"{LOCAL}::test_minibatches_are_drawn_so",),
    ),
    Fault(
        "the-age-of-an-answer-by-its-place",
        "ensembles/neural/_local",
        "age = (stored - 1 - there) % capacity",
        "age = stored - 1 - there",
        (f"{LOCAL}::test_new_answers_far_from_others_are_drawn_oftener",),
    ),
    Fault(
        "places-of-everybodys-answers",
        "ensembles/neural/_partition",
        "return jax.tree.map(lambda leaf, new: leaf.at[n].set(new), tree, one)",
        "return jax.tree.map(lambda leaf, new: leaf.at[:].set(new), tree, one)",
        ("tests/ensembles/neural/test_partition.py::test_so_with_many_settings_at_once",),
    ),
    Fault(
        "the-demonstrator-believes-the-sensor",
        "experiments/shift/worlds",
        "        self.true = observation\n        return observation",
        "        self.true = observation if self._change.sensor is None else self._change.sensor(observation)\n"
        "        return observation",
        ("tests/experiments/test_shift.py::test_the_demonstrator_acts_on_what_is_true",),
    ),
    Fault(
        "long-episodes-weigh-more",
        "experiments/shift/playing",
        "np.full(len(group), 1 / len(group))",
        "np.full(len(group), len(groups) / sum(map(len, groups)))",
        ("tests/experiments/test_shift.py::test_the_quantile_weighs_episodes_alike",),
    ),
    Fault(
        "a-gate-that-looks-at-the-nearest-only",
        "experiments/methods/nearest",
        "np.partition((apart**2).sum(-1), self._neighbour - 1)[self._neighbour - 1]",
        "np.partition((apart**2).sum(-1), 0)[0]",
        ("tests/experiments/compare/test_methods.py::test_nearest_asks_where_the_answered_observations_are_far",),
    ),
    Fault(
        "distances-between-windows",
        "ensembles/neural/_members",
        "        _check_distances(arch.encoder, arch.window)\n",
        "        _check_distances(arch.encoder, 0)\n",
        (f"{LOCAL}::test_where_distance_means_nothing_it_is_refused",),
    ),
]
