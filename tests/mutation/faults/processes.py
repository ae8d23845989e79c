"""Deliberate faults in isolated members and run directories."""

from .fault import Fault

ISOLATED = ("tests/ensembles/isolated/test_processes.py",)
LOCK = ("tests/journal/test_lock.py",)
STORE = ("tests/journal/test_store.py",)
RESUME = ("tests/imitator/test_resume.py",)
POWER = ("tests/stress/test_power_cuts.py",)

FAULTS: list[Fault] = [
    Fault(
        "guardian-watches-the-pipe-only",
        "ensembles/isolated/_worker",
        '    while os.getppid() == job["parent"] and not poll.poll(_WATCH_MS):',
        "    while not poll.poll(_WATCH_MS):",
        ISOLATED,
    ),
    Fault(
        "guardian-ends-the-member-alone",
        "ensembles/isolated/_worker",
        "    for kill in (os.killpg, os.kill):",
        "    for kill in (os.kill,):",
        ISOLATED,
    ),
    Fault(
        "guardian-in-the-member's-group",
        "ensembles/isolated/_worker",
        "        os.setsid()\n",
        "",
        ISOLATED,
    ),
    Fault(
        "deadline-for-each-member",
        "ensembles/isolated/_process",
        "    while waiting and (left := until - time.monotonic()) > 0:",
        "    start, span = time.monotonic(), until - time.monotonic()\n"
        "    while waiting and (left := start + len(list(waiting)) * span - time.monotonic()) > 0:",
        ("tests/ensembles/isolated/test_faults.py",),
    ),
    Fault(
        "lock-of-the-process",
        "journal/_lock",
        "            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        LOCK,
    ),
    Fault(
        "lock-kept-by-a-copy",
        "journal/_lock",
        "    os.register_at_fork(after_in_child=_let_go_in_a_copy)",
        "    pass",
        LOCK,
    ),
    Fault(
        "another-directory-in-its-place",
        "journal/directory",
        "        store.before_writing = lock.check\n",
        "",
        LOCK,
    ),
    Fault(
        "checkpoint-in-another-directory",
        "journal/directory",
        "            self._lock.check()",
        "            pass",
        LOCK,
    ),
    Fault(
        "made-later-is-never-made",
        "journal/store",
        "    def _write(self) -> None:\n        self._make()\n",
        "    def _write(self) -> None:\n",
        STORE,
    ),
    Fault(
        "made-later-comes-after-what-came-later",
        "journal/store",
        "        with self.writing():\n            self._make()\n        head, rows",
        "        self.check()\n        head, rows",
        STORE,
    ),
    Fault(
        "rows-that-were-active-belong-to-the-caller",
        "imitator/_arguments",
        "return None if given.all() else given.copy()",
        "return None if given.all() else given",
        ("tests/imitator/test_digests.py::test_records_that_wait_for_their_group_hold_what_was_so_at_their_step",),
    ),
    Fault(
        "what-cannot-be-packed-is-packed-later",
        "core/_packing",
        'value.dtype.kind in "biuf"',
        'value.dtype.kind in "biufO"',
        ("tests/journal/test_packing.py",),
    ),
    Fault(
        "settings-of-jax-not-compared",
        "imitator/_description",
        '        "numerics": numerics(),\n',
        "",
        RESUME,
    ),
    Fault(
        "beginning-forgotten",
        "journal/directory",
        "            first = whole[: int(self.settings.observations)]",
        "            first = whole[:0]",
        RESUME,
    ),
    Fault("sqlite-does-not-wait", "journal/_new_file", '"synchronous = EXTRA"', '"synchronous = OFF"', POWER),
    Fault(
        "new-directory-not-waited-for",
        "journal/_files",
        "        sync_directory(one.parent)\n    if",
        "        pass\n    if",
        POWER,
    ),
    Fault("file-not-waited-for", "journal/_files", "            _disk.sync(descriptor)\n", "", POWER),
    Fault(
        "others-given-up-when-one-fails",
        "imitator/_asking",
        "await asyncio.gather(*tasks, return_exceptions=True)",
        "await asyncio.gather(*tasks)",
        ("tests/stress/test_crowd.py",),
    ),
]
