"""What N members know, and what they are asked about: the data of training."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import struct

from consensus_imitation.ensembles.neural._local import Answered
from consensus_imitation.ensembles.neural._temperature import Temperature

#: ``apply(params, encoded) -> logits [A]`` of one member.
Apply = Callable[[Any, Any], jax.Array]


class Masked(NamedTuple):
    """What members were asked about, with what was legal there; with a leading axis, several.

    Attributes:
        inputs: what a network sees.
        legal: bool [A].
    """

    inputs: Any
    legal: jax.Array | np.ndarray


class Learned(struct.PyTreeNode):
    """What N members know.

    Attributes:
        params: leaves [N, ...].
        averages: what they predict with, leaves [N, ...]; () if that is ``params``.
        prior_params: parameters of the untrained networks, leaves [N, ...]; () if there are none.
        optimizer: state of the gradient transformation, leaves [N, ...].
        temperature: see `Temperature`.
        replay: all answers so far; `Elsewhere` while a shell keeps them.
        key: of the bootstrap and the minibatches.
        shares: see `_partition`, which has a replay and a key for each member; () where all learn from all answers.
        answered: where the answers are, for `Training.local_caution`; () without it.
    """

    params: Any
    averages: Any
    prior_params: Any
    optimizer: Any
    temperature: Temperature
    replay: Any
    key: jax.Array
    shares: Any = ()
    answered: Answered | tuple[()] = ()
