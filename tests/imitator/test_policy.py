"""A policy is called as those of Stable-Baselines3 are: in batches, with its memory handed back, and episodes told."""

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.core.aggregation import MAP
from consensus_imitation.ensembles.neural.encoding import make_encoder
from consensus_imitation.errors import ConfigurationError, ObservationError
from consensus_imitation.imitator import Policy

A = 3


class Tape(type(ensembles.tabular(np.full((1, 1, A), 1 / A)))):  # type: ignore[misc]
    """Its action counts the steps of the episode, modulo A, from the observation on."""

    def init_carry(self) -> Any:
        return jnp.zeros((), jnp.int32)

    def begin_episode(self, carry: Any) -> Any:
        return jnp.zeros_like(carry)

    def log_probs(self, carry: Any, observation: Any, context: Any) -> jax.Array:
        return jnp.log(jax.nn.one_hot((carry + observation) % A, A)[None])

    def advance(self, carry: Any, observation: Any, context: Any, action: Any, queried: Any) -> Any:
        return carry + 1


def tape() -> Policy:
    members = Tape(table=jnp.zeros((10, 1, A)), prior=jnp.ones(1))
    return ConsensusImitator(members, selection=TopK(1), aggregation=MAP(), seed=0).policy()


def predicted(policy: Policy, observations: Any, **more: Any) -> list[int]:
    return np.asarray(policy.predict(np.asarray(observations), **more)[0]).tolist()


# --- batches ---


def test_rows_of_a_batch_are_what_each_observation_gives_alone() -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(A), (3, 10))
    policy = ConsensusImitator(ensembles.tabular(probs), selection=TopK(2), seed=0).policy()
    alone = [policy.predict(s)[0] for s in range(10)]
    many, _ = policy.predict(np.arange(10))
    assert (many.dtype, many.shape) == (np.int32, (10,))
    assert many.tolist() == alone
    assert predicted(policy, [4]) == [alone[4]]  # a batch of one is a batch


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("space", "one", "many"),
    [
        (spaces.Box(-1, 1, (2,)), np.zeros(2, np.float32), np.zeros((4, 2), np.float32)),
        (spaces.Discrete(5), 3, np.array([3, 3, 3, 3])),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 2]), np.ones((4, 2), int)),
        (spaces.Text(9, charset="ab "), "a b", ("a", "b", "a b", "")),
        (spaces.Dict({"x": spaces.Discrete(5)}), {"x": 3}, {"x": np.array([3, 3, 3, 3])}),
        (
            spaces.Tuple([spaces.Text(9), spaces.Box(-1, 1, (2,))]),
            ("go", np.zeros(2, np.float32)),
            (("go",) * 4, np.zeros((4, 2), np.float32)),
        ),
    ],
    ids=["box", "discrete", "multidiscrete", "text", "dict", "tuple"],
)
def test_networks_tell_one_observation_from_many(space: Any, one: Any, many: Any) -> None:
    encoder = make_encoder(space)
    assert (encoder.length(one), encoder.length(many)) == (None, 4)
    policy = ConsensusImitator(ensembles.mlp(space, 2, num_members=2), selection=TopK(2), seed=0).policy()
    assert isinstance(policy.predict(one)[0], int)
    assert policy.predict(many)[0].shape == (4,)
    assert isinstance(policy.predict(one, episode_start=np.array([True]))[0], int)


def test_where_nothing_else_tells_episode_starts_and_the_state_do() -> None:
    """Of functions nobody knows what shape they take."""
    members = ensembles.callables([lambda x: np.eye(A)[int(np.sum(x)) % A]] * 2, A)
    policy = ConsensusImitator(members, selection=TopK(2), seed=0).policy()
    assert policy.predict(np.array([1, 1]))[0] == 2  # one observation of two numbers
    actions, state = policy.predict(np.array([1, 0]), episode_start=np.array([True, True]))  # two, of one number
    assert actions.tolist() == [1, 0]
    assert policy.predict(np.array([0, 1]), state=state)[0].tolist() == [0, 1]


def test_a_policy_of_so_many_environments_takes_no_others() -> None:
    probs = np.full((2, 4, A), 1 / A)
    policy = ConsensusImitator(ensembles.tabular(probs), selection=TopK(2), seed=0).policy(num_envs=2)
    with pytest.raises(ObservationError, match="expected 2 observations"):
        policy.predict(np.zeros(3, np.int32))


# --- memory ---


def test_members_forget_where_an_episode_begins_and_nowhere_else() -> None:
    policy = tape()
    assert predicted(policy, [0, 0], episode_start=np.array([True, True])) == [0, 0]
    assert predicted(policy, [0, 0], episode_start=np.array([False, False])) == [1, 1]
    assert predicted(policy, [0, 0], episode_start=np.array([False, True])) == [2, 0]
    assert predicted(policy, [0, 0]) == [0, 1]  # modulo 3


def test_a_state_that_is_handed_back_is_gone_on_from() -> None:
    """Two loops that share a policy, step by step in turn, do not see each other's memory."""
    policy = tape()
    first, second = None, None
    seen: list[tuple[list[int], list[int]]] = []
    for step in range(4):
        starts = {"episode_start": np.array([step == 0, step in (0, 2)])}
        one, first = policy.predict(np.array([0, 0]), first, **starts)
        starts = {"episode_start": np.array([step == 0, step == 0])}
        other, second = policy.predict(np.array([1, 1]), second, **starts)
        seen.append((one.tolist(), other.tolist()))
    assert seen == [([0, 0], [1, 1]), ([1, 1], [2, 2]), ([2, 0], [0, 0]), ([0, 1], [1, 1])]
    through = tuple(np.asarray(part) for part in first or ())  # as other libraries keep it
    assert policy.predict(np.array([0, 0]), through)[0].tolist() == [1, 2]


def test_another_number_of_environments_begins_a_new_memory() -> None:
    policy = tape()
    assert [predicted(policy, [0, 0]) for _ in range(2)] == [[0, 0], [1, 1]]
    assert predicted(policy, [0, 0, 0]) == [0, 0, 0]
    assert [policy.predict(0)[0] for _ in range(2)] == [0, 1]


@pytest.mark.parametrize("of", ["other members", "another number", "no tuple", "texts"])
def test_a_state_of_something_else_is_refused(of: str) -> None:
    policy = tape()
    plain = ConsensusImitator(ensembles.tabular(np.full((2, 10, A), 1 / A)), seed=0).policy()
    states: dict[str, Any] = {
        "other members": plain.predict(np.zeros(2, int))[1],
        "another number": policy.predict(np.zeros(3, int))[1],
        "no tuple": [0, 0],
        "texts": ("a",) * 6,
    }
    policy.predict(np.zeros(2, int))
    with pytest.raises(ConfigurationError, match="state is no memory of these members in 2 environments"):
        policy.predict(np.zeros(2, int), state=states[of])
    assert predicted(policy, [0, 0]) == [1, 1]  # nothing has changed


def test_episode_starts_have_one_bool_for_each() -> None:
    with pytest.raises(ObservationError, match=r"one bool for each of 2 environments; got shape \(3,\)"):
        tape().predict(np.zeros(2, int), episode_start=np.ones(3, bool))
    with pytest.raises(ObservationError, match=r"needs one bool; got shape \(2,\)"):
        tape().predict(0, episode_start=np.ones(2, bool))


# --- Stable-Baselines3 ---


class Count(gymnasium.Env[Any, Any]):
    """One point for the action that counts the steps of the episode, modulo A; 4 or 5 steps."""

    observation_space = spaces.Discrete(10)
    action_space = spaces.Discrete(A)

    def __init__(self, length: int) -> None:
        self.length, self.steps = length, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.steps = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        reward = float(action == self.steps % A)
        self.steps += 1
        return 0, reward, self.steps == self.length, False, {}


class Vector:
    """As Stable-Baselines3's ``DummyVecEnv``: it resets at once, and gives the first observation."""

    def __init__(self, envs: list[Count]) -> None:
        self.envs, self.num_envs = envs, len(envs)

    def reset(self) -> np.ndarray:
        return np.array([env.reset()[0] for env in self.envs])

    def step(self, actions: np.ndarray) -> Any:
        given = [env.step(action) for env, action in zip(self.envs, actions, strict=True)]
        seen = [env.reset()[0] if over else one for env, (one, _, over, _, _) in zip(self.envs, given, strict=True)]
        return np.array(seen), np.array([one[1] for one in given]), np.array([one[2] for one in given]), [{}] * 2


def stand_in(model: Any, env: Vector, n_eval_episodes: int) -> tuple[list[float], list[int]]:
    """What Stable-Baselines3's ``evaluate_policy`` calls, call by call."""
    targets = np.array([(n_eval_episodes + i) // env.num_envs for i in range(env.num_envs)])
    counts, returns, lengths = np.zeros(env.num_envs, int), np.zeros(env.num_envs), np.zeros(env.num_envs, int)
    found: tuple[list[float], list[int]] = ([], [])
    observations, states, episode_starts = env.reset(), None, np.ones((env.num_envs,), dtype=bool)
    while (counts < targets).any():
        actions, states = model.predict(observations, state=states, episode_start=episode_starts, deterministic=True)
        observations, rewards, dones, _ = env.step(actions)
        returns, lengths = returns + rewards, lengths + 1
        for i in range(env.num_envs):
            if counts[i] < targets[i]:
                episode_starts[i] = dones[i]
                if dones[i]:
                    found[0].append(returns[i])
                    found[1].append(int(lengths[i]))
                    counts[i] += 1
                    returns[i], lengths[i] = 0.0, 0
    return found


def real(model: Any, env: Vector, n_eval_episodes: int) -> tuple[list[float], list[int]]:
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    vectors = pytest.importorskip("stable_baselines3.common.vec_env")
    own = vectors.DummyVecEnv([lambda one=one: one for one in env.envs])
    return evaluation.evaluate_policy(model, own, n_eval_episodes, return_episode_rewards=True, warn=False)


@pytest.mark.parametrize("evaluate_policy", [stand_in, real])
def test_the_evaluation_of_stable_baselines3(evaluate_policy: Any) -> None:
    """Episodes of different lengths: only members that forget at each beginning get every point."""
    policy = tape()
    for _ in range(2):  # the second time from what the first one left
        returns, lengths = evaluate_policy(policy, Vector([Count(4), Count(5)]), 5)
        assert sorted(lengths) == [4, 4, 5, 5, 5]
        assert returns == [float(length) for length in lengths]


@pytest.mark.parametrize("evaluate_policy", [stand_in, real])
def test_networks_are_evaluated_in_a_vector_environment(evaluate_policy: Any) -> None:
    members = ensembles.recurrent(spaces.Discrete(10), A, num_members=2)
    imitator = ConsensusImitator(members, lambda observation: 0, selection=TopK(2), seed=0)
    before = imitator.state
    returns, lengths = evaluate_policy(imitator.policy(), Vector([Count(4), Count(5)]), 4)
    assert sorted(lengths) == [4, 4, 5, 5]
    assert all(0 <= one <= length for one, length in zip(returns, lengths, strict=True))
    after = imitator.state
    assert after.posterior is before.posterior
    assert after.stream is before.stream
    params = jax.tree.leaves((after.learned.params, before.learned.params))
    assert all(one is other for one, other in zip(params[: len(params) // 2], params[len(params) // 2 :], strict=True))
    assert int(after.learned.replay.stored) == 0
