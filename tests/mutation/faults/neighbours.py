"""Deliberate faults in what users of neighbouring libraries try first: policies, files, datasets, own rules."""

from .fault import Fault

POLICY = "tests/imitator/test_policy.py::test_"

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
]  # fmt: skip
