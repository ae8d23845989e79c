"""Members that are Python functions in separate processes: whatever happens to one, the imitator only has to ask.

A function that is called directly can hang, end the process or fill the memory, and the imitator with it. Here each
function has a process, and all of them together have one deadline. This guards against faults. It is not a sandbox: see
the page on trust in the documentation.
"""

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from consensus_imitation.core._integers import is_integer
from consensus_imitation.core._validation import check_integer
from consensus_imitation.core.members import Carry, Context, FixedMembers
from consensus_imitation.core.posterior import normalise_prior
from consensus_imitation.ensembles.callables import log_row
from consensus_imitation.ensembles.isolated._process import Job, Member, wait
from consensus_imitation.ensembles.isolated._target import Target, target_of
from consensus_imitation.errors import ConfigurationError


class Isolated(FixedMembers):
    """See `isolated`. It ends at `close`, at the end of a ``with`` block, when it is no longer used, or at exit."""

    def __init__(
        self,
        targets: Sequence[Target],
        num_actions: int,
        deadline: float,
        start_deadline: float,
        memory: int | None,
        prior: jax.Array,
    ) -> None:
        """Use `isolated`, which documents the arguments."""
        self.targets = tuple(targets)
        self.num_actions = num_actions
        self.prior = prior
        self._deadline = deadline
        self._start_deadline = start_deadline
        here = os.getcwd()
        path = tuple(str(place) or here for place in sys.path)
        self._members = tuple(
            Member(Job(target, num_actions, deadline, start_deadline, memory, here, path)) for target in targets
        )
        self._lock = threading.Lock()
        # From here on, everything that is started will also be ended.
        self._end = weakref.finalize(self, _close, self._members, os.getpid())
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def pure(self) -> bool:
        """False: Python code cannot be traced."""
        return False

    @property
    def num_members(self) -> int:
        """N, the number of members."""
        return len(self.targets)

    @property
    def failures(self) -> tuple[str, ...]:
        """Why each member last gave no prediction, in a few words, perhaps its own; "" if it always gave one."""
        return tuple(member.failure for member in self._members)

    @property
    def starts(self) -> tuple[int, ...]:
        """How many processes each member has had; 1 if it never had to be started again."""
        return tuple(member.starts for member in self._members)

    @property
    def pids(self) -> tuple[int | None, ...]:
        """The members' present processes; None between two of them, until the next one is ready."""
        return tuple(member.pid for member in self._members)

    @property
    def ready(self) -> np.ndarray:
        """Which members are ready for a question now: bool [N]."""
        with self._lock:
            if self._end.alive:
                _tend(self._members)
            return np.array([member.ready for member in self._members])

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Ask all functions at once: [N, A], with a NaN row for each one that does not answer correctly in time.

        Raises:
            ObservationError: if the observation contains what cannot be sent (`journal.packing`).
            ConfigurationError: after `close`.
        """
        del carry, context
        # Here, since the journal imports the learner, and the learner the ensembles.
        from consensus_imitation.core._packing import pack

        data = pack(observation)
        with self._lock:
            if not self._end.alive:
                raise ConfigurationError("these members were closed: construct the ensemble again")
            answers = _ask(self._members, data, self._deadline)
        rows = [
            log_row(None if answer is None else np.frombuffer(answer, "<f8"), self.num_actions) for answer in answers
        ]
        return jnp.asarray(np.stack(rows))

    def close(self) -> None:
        """End the members' processes, and everything that these have started. You may call it again."""
        with self._lock:
            self._end()

    def __enter__(self) -> "Isolated":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        """Wait until all functions are ready.

        Raises:
            ConfigurationError: with the name of the first one that is not.
        """
        _tend(self._members)
        wait(self._members, time.monotonic() + self._start_deadline)
        for i, (target, member) in enumerate(zip(self.targets, self._members, strict=True)):
            if member.failure:
                raise ConfigurationError(
                    f"member {i}, {target}, could not be started in its own process: {member.failure} (if memory is "
                    "limited, the interpreter and what the function imports need their part of it)"
                )
            if not member.ready:
                raise ConfigurationError(
                    f"member {i}, {target}, was not ready after {self._start_deadline:g} s: give it a longer "
                    "start_deadline, or less to import"
                )


def isolated(
    functions: Sequence[Callable[[Any], ArrayLike] | str],
    num_actions: int,
    *,
    deadline: float = 1.0,
    start_deadline: float = 30.0,
    memory: int | None = None,
    prior: ArrayLike | None = None,
) -> Isolated:
    """Return an ensemble of Python functions ``observation -> probs [A]``, each in its own process, with a deadline.

    This call starts all processes at once and waits for them. So a function that cannot be imported is an error here,
    and the first step finds every member ready. Each step asks all members at once. A member is invalid for a step if
    it raises, hangs, crashes, runs out of memory, sends something that is not a reply, or returns anything but A
    non-negative numbers that sum to at most one. It then counts as the zero vector, so the imitator asks the
    demonstrator. A step takes no longer than ``deadline``, whatever the members do, except for the milliseconds that it
    takes to end and start processes.

    If a process has crashed, missed the deadline or run out of memory, the ensemble ends it and starts another one. The
    steps do not wait for it: until it is ready the member is invalid, also when another start fails. The ensemble never
    gives a member up, and never drops it, since it may be the honest one. Only the pauses between starts double, after
    failures without an answer in between, from 0.1 s to 10 s. What the function had stored in global variables is lost
    with its process; what it prints is lost at once. However this process ends, the members' processes end with it.

    A batch asks once for each environment, one after another.

    Args:
        functions: one per member: functions written with ``def`` at the top level of a module or of the script that is
            run, or their names, as ``"package.module:function"`` or ``"path/to/file.py:function"``. A named function is
            imported in the member's process only, with this process's ``sys.path``.
        num_actions: A.
        deadline: seconds that all members together have for a prediction.
        start_deadline: seconds that a process has to start and import its function.
        memory: limit of each process's address space in bytes, for Linux (``RLIMIT_AS``; macOS may ignore it); None for
            no limit. The interpreter with NumPy reserves some hundred MB of it, more on many cores.
        prior: [N], uniform if None.

    Raises:
        ConfigurationError: if there are no functions, if one cannot be found by name or imported in time, if a
            number is out of range, if the prior does not fit, or on systems that are not POSIX.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from consensus_imitation import ensembles
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "scripted.py"
        >>> _ = file.write_text('''
        ... def careful(observation):
        ...     return [0.5, 0.5]
        ...
        ... def hangs(observation):
        ...     while True:
        ...         pass
        ... ''')
        >>> with ensembles.isolated([f"{file}:careful", f"{file}:hangs"], num_actions=2, deadline=2.0) as members:
        ...     log_probs = members.log_probs((), 0, None)
        ...     log_probs.shape, members.failures
        ((2, 2), ('', 'no answer within 2 s'))
        >>> folder.cleanup()
    """
    if os.name != "posix":
        raise ConfigurationError("isolated members need a POSIX system (Linux, macOS): use ensembles.callables")
    if isinstance(functions, str) or not functions:
        raise ConfigurationError(
            f"functions must be a sequence with one function or name per member, got {functions!r}"
        )
    if not sys.executable:
        raise ConfigurationError("sys.executable does not name a Python interpreter that members could run in")
    limits: dict[str, Any] = {"deadline": deadline, "start_deadline": start_deadline}
    for name, seconds in limits.items():
        number = is_integer(seconds) or isinstance(seconds, float | np.floating)
        if not number or not 0 < seconds < np.inf:
            raise ConfigurationError(f"{name} must be a positive number of seconds, got {seconds!r}")
    if memory is not None and (not is_integer(memory) or memory < 1):
        raise ConfigurationError(f"memory must be a positive number of bytes, or None for no limit, got {memory!r}")
    num_actions = check_integer("num_actions", num_actions, 1)
    weights = jnp.asarray(normalise_prior(prior, len(functions)), jnp.float32)
    targets = [target_of(function, i) for i, function in enumerate(functions)]
    return Isolated(targets, num_actions, float(deadline), float(start_deadline), memory and int(memory), weights)


def _ask(members: Iterable[Member], data: bytes, deadline: float) -> list[bytes | None]:
    """Ask all members that are ready, and wait until all have answered or the time is up."""
    until = time.monotonic() + deadline
    _tend(members)
    asked = [member for member in members if member.ready]
    for member in asked:
        member.ask(data)
    try:
        late = wait(asked, until)
    except BaseException:
        # Ctrl-C: replies that are under way would count as the answers to the next question.
        for member in asked:
            if not member.ready:
                member.fail("its question was interrupted")
        raise
    for member in late:
        member.fail(f"no answer within {deadline:g} s")
    return [member.take_prediction() for member in members]


def _tend(members: Iterable[Member]) -> None:
    for member in members:
        member.tend()


def _close(members: Iterable[Member], owner: int) -> None:
    if os.getpid() != owner:
        # A copy of this process made by fork: the members do not belong to it.
        return
    for member in members:
        member.close()
