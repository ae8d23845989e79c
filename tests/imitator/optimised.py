"""The catalogue of bad inputs once more, for ``python -O``, which leaves out asserts: prints how many were refused.

Nothing here may use assert.
"""

import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation import ConsensusImitator as Imitator
from consensus_imitation import TopK, ensembles, errors
from consensus_imitation.demonstrators import recordings
from consensus_imitation.errors import ConsensusWarning, InvalidAnswerError
from tests.stress.crowd_world import again, asked, make

from . import bad_answers, bad_configurations, bad_environments, bad_files, bad_members
from .fingerprints import fingerprint


class AcceptedError(Exception):
    """Something bad got in."""


def refused(what: str, call: Callable[[], Any], error: Any, said: str) -> int:
    try:
        call()
    except error as caught:
        if re.search(said, str(caught)) is None:
            raise AcceptedError(f"{what}: the error says {caught}") from caught
        return 1
    raise AcceptedError(f"{what}: nothing was raised")


def members() -> int:
    warnings.simplefilter("ignore", ConsensusWarning)
    for kind, output in bad_members.OUTPUTS.items():
        one = Imitator(bad_members.python_members(output), selection=TopK(bad_members.N), seed=7)
        before = one.weights.tolist()
        decision = one.decide(bad_members.BAD)
        if decision.action is not None or not decision.queried or decision.min_probs.any() or not decision.invalid[-1]:
            raise AcceptedError(f"member's output {kind}: {decision}")
        one.restore(one.state)
        if (one.weights.tolist(), one.num_steps, one.num_queries) != (before, 0, 0) or not one.alarms:
            raise AcceptedError(f"member's output {kind}: something else has changed")
    return len(bad_members.OUTPUTS)


def answers() -> int:
    one = make()
    query = asked(one)
    before, count = fingerprint(one), 0
    for kind, value in bad_answers.VALUES.items():
        count += refused(
            f"answer {kind}", lambda value=value: one.answer(query, value()), InvalidAnswerError, "no action"
        )
    for kind, (refer, error, said) in bad_answers.REFERENCES.items():
        call = lambda refer=refer: one.answer(refer(query), 1)  # noqa: E731
        count += refused(f"reference {kind}", call, getattr(errors, error), said)
    if fingerprint(one) != before or one.answer(query, 1).action != 1:
        raise AcceptedError("after bad answers the good one does not count")
    return count


def configurations() -> int:
    every = {**bad_configurations.PARTS, **bad_configurations.WHOLES}
    return sum(refused(kind, make, errors.ConfigurationError, said) for kind, (make, said) in every.items())


def observations() -> int:
    encoder = ensembles.mlp(bad_environments.SPACE, 2, num_members=1, hidden=(1,)).encoder
    sound = {"place": np.zeros(2, np.float32), "room": 0}
    return sum(
        refused(
            kind, lambda spoil=spoil: encoder(spoil((sound, 0.0, False, False, {}))[0]), errors.ObservationError, said
        )
        for kind, (spoil, said) in bad_environments.OBSERVATIONS.items()
    )


def files() -> int:
    count = 0
    with tempfile.TemporaryDirectory() as name:
        own, walk = Path(name) / "run", Path(name) / "walk.npz"
        bad_files.run(own)
        for kind in ("journal with another answer", "journal without an entry", "journal half", "journal text"):
            spoil, error, said = bad_files.RUNS[kind]
            kept = bad_files.journal(own).read_bytes()
            spoil(own, own)
            count += refused(kind, lambda: again(own), getattr(errors, error), said)
            bad_files.write(bad_files.journal(own), kept)
        again(own).close()
        for kind, (spoil_walk, said) in bad_files.WALKS.items():
            spoil_walk(bad_files.demonstrated(walk))
            count += refused(kind, lambda: recordings.load(walk), ValueError, said)
    return count


if __name__ == "__main__":
    if __debug__:
        raise SystemExit("run me with python -O")
    sys.stdout.write(f"{members() + answers() + configurations() + observations() + files()} refused\n")
