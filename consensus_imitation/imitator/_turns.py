"""One call at a time: whoever comes from another thread waits, and whoever comes from within a call is refused."""

import _thread
import sys
from types import CodeType

from consensus_imitation.errors import ReentrantCallError


class Turn(_thread.RLock):  # type: ignore[reportGeneralTypeIssues]
    """A lock around a method's whole work, used as ``self.turn.refuse_reentrance()``, then ``with self.turn:``.

    An interrupt at the very end of a call may keep it from letting go; the thread's next call then does.

    Example:
        >>> from consensus_imitation.imitator._turns import Turn
        >>> class Counter:
        ...     def __init__(self):
        ...         self.turn, self.count = Turn(), 0
        ...
        ...     def add(self, meanwhile):
        ...         self.turn.refuse_reentrance()
        ...         with self.turn:
        ...             meanwhile()
        ...             self.count += 1
        >>> counter = Counter()
        >>> counter.add(lambda: None)
        >>> counter.add(lambda: counter.add(lambda: None))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        consensus_imitation.errors.ReentrantCallError: the imitator was called from within one of its own calls, ...
    """

    def __init__(self) -> None:
        super().__init__()
        self._methods: set[CodeType] = set()

    def refuse_reentrance(self) -> None:
        """Raise ReentrantCallError if this thread is within a call of the same object: its draw would be used twice."""
        frame = sys._getframe(1)  # type: ignore[reportPrivateUsage]
        self._methods.add(frame.f_code)
        if not self._is_owned():  # type: ignore[attr-defined]
            return
        owner, outer = frame.f_locals.get("self"), frame.f_back
        while outer is not None:
            if outer.f_code in self._methods and outer.f_locals.get("self") is owner:
                raise ReentrantCallError(
                    "the imitator was called from within one of its own calls, by a member or by a demonstrator that "
                    "was told of a step: members and observe() may not call it; a demonstrator that is asked may, for "
                    "another environment"
                )
            outer = outer.f_back
        while self._is_owned():  # type: ignore[attr-defined]
            self.release()
