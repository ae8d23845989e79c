"""Where an imitator acts: an environment, a demonstrator, members, and what counts as harm and as success.

A `Place` is the same value whether it comes from a registered task, a Gymnasium environment or functions of the user's.
So an experiment that takes one runs anywhere.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from consensus_imitation import ensembles
from consensus_imitation.core.members import Ensemble
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.experiments import named, tasks
from consensus_imitation.experiments.members import members_for
from consensus_imitation.experiments.tasks import Episode, Rules, Task

#: ``(reward, terminated, info) -> bool``: whether a step did harm; its arguments are what the environment returned.
Harm = Callable[[float, bool, Mapping[str, Any]], bool]
#: ``(episode, info) -> bool``: whether an episode succeeded; ``info`` is that of its last step.
Success = Callable[[Episode, Mapping[str, Any]], bool]


class Opened(NamedTuple):
    """What one run needs.

    Attributes:
        env: a Gymnasium environment.
        demonstrator: for that environment.
        ensemble: its members.
    """

    env: Any
    demonstrator: Any
    ensemble: Ensemble


@dataclass(frozen=True)
class Place:
    """Where an imitator acts.

    Attributes:
        name: for tables and files.
        open: makes the environment, the demonstrator and the members of the run with that seed.
        harm: whether a step did harm; None if nothing counts as harm, or only episodes without success do.
        success: whether an episode succeeded; None if nobody can tell.
        failures_harm: whether an episode without success counts as harm.
    """

    name: str
    open: Callable[[int], Opened]
    harm: Harm | None = None
    success: Success | None = None
    failures_harm: bool = False

    @property
    def knows_harm(self) -> bool:
        """Whether anything counts as harm."""
        return self.harm is not None or self.failures_harm


class Watched:
    """An environment that remembers what it showed last; the rest is the environment's own.

    Args:
        env: a Gymnasium environment.

    Attributes:
        seen: the observation that the latest action was chosen on.
        info: that the latest step returned.
    """

    def __init__(self, env: Any) -> None:
        self._env = env
        self._next: Any = None
        self.seen: Any = None
        self.info: Mapping[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def reset(self, **options: Any) -> Any:
        """Begin an episode."""
        given = self._env.reset(**options)
        self._next = given[0]
        return given

    def step(self, action: Any) -> Any:
        """Take a step."""
        given = self._env.step(action)
        self.seen, self._next, self.info = self._next, given[0], given[4]
        return given

    def task(self, place: Place) -> Task | None:
        """Return the place's judgement in the form that `run_gymnasium` takes; None if nothing is known."""
        if not place.knows_harm and place.success is None:
            return None
        harm, success = place.harm, place.success
        # A step that nobody judges is safe; None would mean that failures are harm.
        unsafe = None if place.failures_harm else lambda *_: False
        if harm is not None:
            unsafe = lambda reward, terminated: bool(harm(reward, terminated, self.info))  # noqa: E731
        return Task(
            name=place.name,
            env_id=place.name,
            success_means="",
            harm_means="",
            threshold="return",
            max_episode_steps=1,
            members="mlp",
            rules=Rules(lambda episode: success is not None and bool(success(episode, self.info)), unsafe),
            build_env=lambda render_mode: self._env,  # noqa: ARG005 - the loop makes none
            build_demonstrator=lambda env, seed, epsilon: None,  # noqa: ARG005
        )


def of_functions(
    make_env: Callable[[], Any],
    make_demonstrator: Callable[[Any, int], Any],
    make_ensemble: Callable[[Any], Ensemble] | None = None,
    *,
    harm: Harm | None = None,
    success: Success | None = None,
    name: str = "own",
    num_members: int = 5,
) -> Place:
    """Return a place made by functions.

    Args:
        make_env: makes a Gymnasium environment.
        make_demonstrator: ``(env, seed)`` -> its demonstrator: ``observation -> action``, or anything else that
            `ConsensusImitator` takes.
        make_ensemble: ``env`` -> the members; None for networks that fit its observations.
        harm: whether a step did harm.
        success: whether an episode succeeded.
        name: for tables and files.
        num_members: of the networks.
    """

    def opened(seed: int) -> Opened:
        env = make_env()
        members = networks(env, num_members) if make_ensemble is None else make_ensemble(env)
        return Opened(env, make_demonstrator(env, seed), members)

    return Place(name, opened, harm, success)


def of_task(
    task: Task,
    num_members: int,
    network: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> Place:
    """Return the place of a registered task, or of one of yours, with the members that fit it.

    Args:
        task: the task; where it knows no unsafe step, an episode that is not solved counts as harm.
        num_members: N.
        network: see `members_for`.
        training: see `members_for`.
    """

    def opened(seed: int) -> Opened:
        env = task.make_env()
        members = members_for(task, env, num_members, network, training)(None)
        return Opened(env, task.make_demonstrator(env, seed), members)

    known = task.rules.knows_unsafe_steps
    return Place(
        task.name,
        opened,
        task.rules.is_unsafe if known else None,
        lambda episode, info: task.rules.solved(episode),  # noqa: ARG005
        failures_harm=not known,
    )


def find(
    name: str,
    num_members: int,
    *,
    demonstrator: str = "",
    harm: str = "",
    success: str = "",
    network: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> Place:
    """Return the place that a command line names.

    Args:
        name: of a task; of a Gymnasium environment; or ``module:function``, a function that takes a seed and returns
            ``(env, demonstrator)``, ``(env, demonstrator, ensemble)`` or a `Task`.
        num_members: of networks.
        demonstrator: ``module:function``, the demonstrator of a Gymnasium environment: ``observation -> action``.
        harm: ``module:function``, see `Harm`; not for a task, which has its own.
        success: ``module:function``, see `Success`; likewise.
        network: see `members_for`.
        training: see `members_for`.

    Raises:
        ValueError: if there is nothing of that name, or something is missing or given in vain; it says what to do.
    """
    judges: dict[str, Any] = {
        "harm": named.load(harm, "harm") if harm else None,
        "success": named.load(success, "success") if success else None,
    }
    place = _known_task(name, num_members, network, training)
    if place is None:
        if network or training:
            raise ValueError(f"network and training are settings of a task's members; {name!r} is no task")
        made = _made_by if named.is_name(name) else _gymnasium
        return replace(made(name, num_members, demonstrator), **judges)
    if demonstrator or harm or success:
        raise ValueError(f"the task {name!r} has its own demonstrator, harm and success: leave them out")
    return place


def networks(env: Any, num_members: int) -> Ensemble:
    """Return networks that learn, of the kind that fits an environment's observations."""
    space = env.observation_space
    views = hasattr(space, "spaces") or len(getattr(space, "shape", None) or ()) == 3
    family = ensembles.cnn if views else ensembles.mlp
    return family(space, env.action_space, num_members=num_members)


def _maker(name: str) -> Callable[[int], Any]:
    """Return the user's function that makes an environment, if it takes a seed."""
    make = named.load(name, "env")
    wanted = "name a function that takes a seed and returns (env, demonstrator): def make(seed)"
    if isinstance(make, type):
        raise ValueError(f"{name!r} is a class: {wanted}")
    try:
        inspect.signature(make).bind(0)
    except TypeError as error:
        raise ValueError(f"{name!r} cannot be called with a seed ({error}): {wanted}") from error
    return make


def _known_task(
    name: str, num_members: int, network: Mapping[str, Any] | None, training: Mapping[str, Any] | None
) -> Place | None:
    if named.is_name(name):
        made = _maker(name)(0)
        if not isinstance(made, Task):
            # It is made again for each run.
            if isinstance(made, tuple) and made:
                made[0].close()
            return None
        return replace(of_task(made, num_members, network, training), name=name)
    return of_task(tasks.make(name), num_members, network, training) if name in tasks.names() else None


def _made_by(name: str, num_members: int, demonstrator: str) -> Place:
    if demonstrator:
        raise ValueError(f"{name!r} makes the demonstrator, too: leave out demonstrator")
    make = _maker(name)

    def opened(seed: int) -> Opened:
        made = make(seed)
        if not isinstance(made, tuple) or len(made) not in (2, 3):
            raise ConfigurationError(
                f"{name} must return (env, demonstrator), (env, demonstrator, ensemble) or a Task; got {made!r}"
            )
        env, own, *members = made
        return Opened(env, own, members[0] if members else networks(env, num_members))

    return Place(name, opened)


def _gymnasium(name: str, num_members: int, demonstrator: str) -> Place:
    from consensus_imitation import envs

    if name.endswith(".py"):
        raise ValueError(f"name the function in that file which makes the environment: {name}:make")
    try:
        import gymnasium
    except ImportError as error:
        raise ImportError('environments need Gymnasium: pip install "consensus_imitation[gym]"') from error
    try:
        gymnasium.spec(name)
    except (gymnasium.error.Error, ImportError) as error:
        known = [*envs.names(), *tasks.names()]
        close = difflib.get_close_matches(name, [*known, *gymnasium.registry], n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"worlds and tasks are {', '.join(known)}."
        raise ValueError(
            f"{name!r} is no world, task or Gymnasium environment: {hint} Or name a function that makes your own, "
            "module:function"
        ) from error
    if not demonstrator:
        raise ValueError(
            f"{name!r} is a Gymnasium environment, which comes without a demonstrator: name a function "
            "observation -> action with --demonstrator module:function"
        )
    answer = named.load(demonstrator, "the demonstrator")

    def opened(seed: int) -> Opened:
        del seed
        env = gymnasium.make(name)
        return Opened(env, answer, networks(env, num_members))

    return Place(name, opened)
