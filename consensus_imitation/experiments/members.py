"""The kind of members that fits a task."""

import warnings
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from consensus_imitation import ensembles
from consensus_imitation.ensembles import Training
from consensus_imitation.errors import ConsensusWarning
from consensus_imitation.experiments.methods import MakeEnsemble
from consensus_imitation.experiments.tasks import Task

#: The settings of the training that names and values can express.
TRAINING_SETTINGS = tuple(one.name for one in fields(Training) if one.name not in ("optimizer", "plateau"))


@contextmanager
def knowingly() -> Generator[None, None, None]:
    """Do what the library warns of (`ConsensusWarning`) without the warning: an experiment is there to measure it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConsensusWarning)
        yield


def members_for(
    task: Task,
    env: Any,
    num_members: int,
    network: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> MakeEnsemble:
    """Make a factory of the kind of members that fits a task, with the library's defaults except for given settings.

    Members with another number of outputs (SafeDAgger's judge of the novice) see only the present step, whatever the
    window: they take no part in the steps between their answers.

    Args:
        task: the task.
        env: one of its environments.
        num_members: N.
        network: arguments of `ensembles.cnn` for views, of `ensembles.mlp` otherwise.
        training: arguments of `ensembles.Training`.

    Raises:
        ValueError: for another name, or a value out of range.
    """
    views = task.members == "grid"
    _check_names("network", network or {}, ("hidden", "channels", "window") if views else ("hidden",))
    _check_names("training", training or {}, TRAINING_SETTINGS)
    settings = Training(**training or {})

    def make(num_outputs: int | None) -> Any:
        outputs, own = env.action_space, dict(network or {})
        if num_outputs is not None:
            outputs = num_outputs
            own.pop("window", None)
        family = ensembles.cnn if views else ensembles.mlp
        return family(env.observation_space, outputs, num_members=num_members, training=settings, **own)

    return make


def _check_names(what: str, settings: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise ValueError for a name that is not known."""
    for name in settings:
        if name not in known:
            raise ValueError(f"there is no setting {name!r} of the {what} here; it has {', '.join(known)}")
