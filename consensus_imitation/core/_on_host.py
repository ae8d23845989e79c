"""What members learn from an answer, worked out on the host: between compiled programs, not inside of one."""

from typing import Any

import jax

from consensus_imitation.core._tree import jit
from consensus_imitation.core.members import Carry, Ensemble, Learned, LearnsOnHost


def learned_on_host(
    ensemble: Ensemble,
    learned: Learned,
    carry: Carry,
    observation: Any,
    answer: Any,
    log_probs: jax.Array,
    owner: Any = None,
) -> Learned:
    """What the members know after one answered query: by `LearnsOnHost.learn_on_host` if they have it, else by `learn`.

    Args:
        ensemble: of either kind.
        learned: what they knew when they predicted.
        carry: the stream's memory then.
        observation: what was asked about.
        answer: int [], the demonstrator's action, in ``0 .. A-1``.
        log_probs: [N, A], what they had predicted.
        owner: whose answer it is, see `members.Divides`; None where nobody said.
    """
    operands = (learned, carry, observation, answer, log_probs)
    said = {} if owner is None else {"owner": owner}
    if isinstance(ensemble, LearnsOnHost):
        return ensemble.learn_on_host(*operands, **said)
    # Eagerly, networks would take milliseconds.
    return _learn(ensemble, operands, said) if ensemble.pure else ensemble.learn(*operands, **said)


@jit
def _learn(ensemble: Any, operands: Any, said: dict[str, Any]) -> Learned:
    return ensemble.learn(*operands, **said)
