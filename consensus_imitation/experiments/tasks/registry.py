"""Tasks by name."""

from collections.abc import Callable

from consensus_imitation.experiments.tasks import babyai, classic
from consensus_imitation.experiments.tasks.task import Task

_MAKERS: dict[str, Callable[[], Task]] = {**classic.MAKERS, **babyai.MAKERS}


def names() -> tuple[str, ...]:
    """Return the names that `make` knows.

    Example:
        >>> from consensus_imitation.experiments import tasks
        >>> "lunarlander" in tasks.names()
        True
    """
    return tuple(_MAKERS)


def make(name: str) -> Task:
    """Return the task of that name.

    Raises:
        ValueError: if there is none; the message lists the existing ones.
        ImportError: without the packages that it needs, naming the extra that brings them.

    Example:
        >>> from consensus_imitation.experiments import tasks
        >>> task = tasks.make("frozenlake")
        >>> env = task.make_env(seed=0)
        >>> demonstrator = task.make_demonstrator(env, seed=0)
        >>> observation, _ = env.reset()
        >>> observation, demonstrator(observation)
        (0, 0)
    """
    if name not in _MAKERS:
        raise ValueError(f"there is no task {name!r}; there are {', '.join(_MAKERS)}")
    return _MAKERS[name]()
