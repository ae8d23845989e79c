"""Why a step that waits is asked about, put together for whoever shows it to a person."""

from typing import Any

import numpy as np

from consensus_imitation.core.withholding import withheld
from consensus_imitation.demonstrators.question import Question
from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._health import UNEXPLAINED
from consensus_imitation.imitator._queries import OpenStep
from consensus_imitation.imitator._run import Run

#: A probability of asking from which a step asks for certain.
_CERTAIN = 1.0 - 1e-6
#: Parts of theta that are not worth a sentence.
_SMALL = 5e-4


def question_of(run: Run, waiting: OpenStep, row: int | None = None) -> Question:
    """What is known of a query.

    Args:
        run: in which it waits.
        waiting: the step.
        row: which environment of a batch that goes in lockstep; None for a single one, or one of a batch.
    """
    decision = waiting.decision

    def own(value: Any) -> Any:
        return value if row is None else np.asarray(value)[row]

    probs = np.exp(np.asarray(own(waiting.log_probs), np.float64))
    selected, theta = np.asarray(own(decision.selected)), float(own(decision.query_prob))
    dissent = np.asarray(own(decision.dissent))
    return Question(
        run=waiting.query.run,
        query=waiting.query.id,
        step=decision.step,
        env=decision.env if row is None else row,
        query_prob=theta,
        min_probs=np.asarray(own(decision.min_probs)),
        probs=probs,
        selected=selected,
        weights=np.asarray(kernels.weights(run.state.posterior)),
        dissent=dissent,
        why=_why(run, decision, own, theta, selected, dissent, np.asarray(own(waiting.log_probs))),
        alarms=decision.alarms,
        answers=run.answers,
        query_rate=run.answers / max(1, int(run.steps.sum())),
        allowed=None if decision.action_mask is None else own(decision.action_mask),
    )


def _why(
    run: Run, decision: Any, own: Any, theta: float, selected: np.ndarray, dissent: np.ndarray, log_probs: np.ndarray
) -> tuple[str, ...]:
    if run.unexplained:
        return (UNEXPLAINED,)
    if bool(own(decision.handed_over)):
        return ("the inflation budget would be overspent, so that the demonstrator takes this step",)
    if fault := int(own(decision.rule_fault)):
        return (f"the {'selection' if fault == 1 else 'aggregation'} rule gave what cannot be used",)
    said: list[str] = []
    apart = float(withheld(log_probs, selected, theta))
    if theta - apart > _SMALL:
        most = int(np.argmax(dissent)) if dissent.max(initial=0.0) > 0 else None
        by = "" if most is None else f", most of it because of member {most}"
        said.append(f"members disagree: {100 * (theta - apart):.1f}% of the probability is lost to that{by}")
    if apart > _SMALL:
        said.append(f"members are unsure, and keep back {100 * apart:.1f}%")
    if theta >= _CERTAIN and float(np.sum(own(decision.min_probs))) == 0:
        shared = np.min(np.where(selected[:, None], np.exp(log_probs), np.inf), axis=0).sum() if selected.any() else 0.0
        if shared > _SMALL:
            return ("an earlier question was left without an answer, so that this step asks for certain",)
    return tuple(said) or (f"the draw fell on asking, which had a probability of {100 * theta:.1f}%",)
