"""Why a demonstrator is asked, for those who show it to a person."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is known of a query when it is posed. N members, A actions.

    A demonstrator that has a method ``consider(question)`` is told it before it is asked.
    `ConsensusImitator.question` gives it to whoever answers by `ConsensusImitator.answer`.

    Attributes:
        run: of which imitator, as in `Query`.
        query: number of the query in its run, from 0.
        step: of the environment, from 0.
        env: which environment of a batch; None for a single one.
        query_prob: probability of asking (theta).
        min_probs: [A], probability of each action without asking; sums to at most one.
        probs: [N, A], what each member gives to each action; what is missing to one, it withholds.
        selected: bool [N], the members that have a say.
        weights: [N], posterior weights.
        dissent: [N], by how much each member alone lowered the minimum.
        why: why it is asked, one sentence each.
        alarms: what is wrong, one line each.
        answers: queries answered so far.
        query_rate: share of the steps so far that were answered.
        allowed: bool [A], the actions that can be taken now; None for all.
    """

    run: str
    query: int
    step: int
    env: int | None
    query_prob: float
    min_probs: np.ndarray
    probs: np.ndarray
    selected: np.ndarray
    weights: np.ndarray
    dissent: np.ndarray
    why: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    answers: int = 0
    query_rate: float = 0.0
    allowed: np.ndarray | None = None

    @property
    def objectors(self) -> tuple[int, ...]:
        """The members that lowered the minimum, those that did most first."""
        order = np.argsort(-self.dissent, kind="stable").tolist()
        return tuple(n for n in order if self.dissent[n] > 0)

    def favourite(self, member: int) -> int | None:
        """The likeliest action of a member; None if it gives none any probability."""
        probs = self.probs[member]
        return int(np.argmax(probs)) if probs.max(initial=0.0) > 0 else None
