"""An imitator as a Gymnasium wrapper: it acts, and whoever steps the environment is the demonstrator."""

from typing import Any

from consensus_imitation.errors import ConfigurationError, NoDemonstratorError
from consensus_imitation.experiments.tasks.lanes import check_actions
from consensus_imitation.experiments.tasks.masks import Masks
from consensus_imitation.imitator import ConsensusImitator, Decision

try:
    import gymnasium
except ModuleNotFoundError as error:
    if error.name != "gymnasium":
        raise
    raise ImportError('the wrapper needs gymnasium: pip install "consensus_imitation[gym]"') from error


class ConsensusWrapper(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment in which an imitator acts, and learns from the actions that it is given where it asks.

    So any program that steps an environment, a person's interface or an agent of another library, can be the
    demonstrator, without knowing of imitators. ``reset`` and ``step`` say in ``info["asked"]`` whether the imitator
    asks about the observation that they return. If it does, the action of the next ``step`` is the demonstrator's
    answer: it is learned from and carried out. If it does not, the imitator's own action is carried out, whatever
    ``step`` is given; None will do.

    ``info["decision"]`` is the `Decision` whose action a step carried out; ``info["action"]`` is that action. A query
    that waits when the environment is reset is withdrawn, and the imitator asks next.

    Where the environment says in ``info["action_mask"]`` what is legal, nothing else is done, and no other answer is
    taken. (With a function for ``action_mask``, it is put into ``info`` for whoever answers.)

    Args:
        env: a single Gymnasium environment with actions numbered from 0.
        imitator: for a single environment; it needs no demonstrator of its own, and asks none. (With one,
            `run_gymnasium` is the loop to use.)
        action_mask: a function of the environment that says what is legal, for one that does not say it in ``info``:
            for sb3-contrib's convention ``lambda env: env.unwrapped.action_masks()``.
        source: who answers, as for `ConsensusImitator.answer`; None for nobody in particular.

    Raises:
        ConfigurationError: if the imitator is for several environments, or has another number of actions.

    Example:
        >>> import gymnasium
        >>> from consensus_imitation import ConsensusImitator, ensembles
        >>> from consensus_imitation.experiments.tasks.wrapper import ConsensusWrapper
        >>> inner = gymnasium.make("CartPole-v1")
        >>> members = ensembles.mlp(inner.observation_space, inner.action_space, num_members=2)
        >>> env = ConsensusWrapper(inner, ConsensusImitator(members, seed=0))
        >>> seen, info = env.reset(seed=0)
        >>> seen, reward, terminated, truncated, info = env.step(int(seen[2] > 0))
        >>> info["decision"].queried == (env.imitator.num_queries == 1)
        True
    """

    def __init__(self, env: Any, imitator: ConsensusImitator, action_mask: Any = None, source: Any = None) -> None:
        if imitator.num_envs is not None:
            raise ConfigurationError(
                f"the imitator is for {imitator.num_envs} environments, and the wrapper for a single one: construct it "
                "without num_envs, or use run_gymnasium"
            )
        check_actions(env, imitator.num_actions)
        super().__init__(env)
        self.imitator, self.source = imitator, source
        self._masks = Masks(action_mask)
        self._decision: Decision | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, in the environment and for the imitator.

        Args:
            seed: as the environment takes it.
            options: as the environment takes them.

        Raises:
            ObservationError: if the members cannot be shown the observation.
        """
        for decision in self.imitator.pending:
            self.imitator.withdraw(decision)
        self._decision = None
        observation, info = self.env.reset(seed=seed, options=options)
        self.imitator.begin_episode()
        return observation, {**info, **self._decided(observation, info)}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Carry out the imitator's action, or, if it asked, the one that is given, which it learns from.

        Args:
            action: the demonstrator's, an integer in ``0 .. A-1``; anything where the imitator did not ask.

        Raises:
            NoDemonstratorError: if the imitator asked, and ``action`` is None. The query waits.
            InvalidAnswerError: if it asked, and that is no action, or not a legal one. The query waits.
            gymnasium.error.ResetNeeded: before the first `reset`, and after the end of an episode.
        """
        decision = self._decision
        if decision is None:
            raise gymnasium.error.ResetNeeded("the episode is over, or has not begun: call reset()")
        if decision.action is None:
            if action is None:
                raise NoDemonstratorError(
                    "the imitator asks about this observation (info['asked']): pass the demonstrator's action to step()"
                )
            # Kept at once: what was answered is not asked again, whatever the environment does.
            decision = self._decision = self.imitator.answer(decision, action, self.source)
        observation, reward, terminated, truncated, info = self.env.step(decision.action)
        self._decision = None
        done = {"decision": decision, "action": decision.action}
        following = {"asked": False} if terminated or truncated else self._decided(observation, info)
        return observation, reward, bool(terminated), bool(truncated), {**info, **done, **following}

    def _decided(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        mask = self._masks.after(self.env, info)
        self._decision = self.imitator.decide(observation, action_mask=mask)
        return {"asked": self._decision.action is None} | ({} if mask is None else {"action_mask": mask})
