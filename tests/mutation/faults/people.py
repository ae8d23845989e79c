"""Deliberate faults around a person in the loop: the terminal, the page, take-overs, the report."""

from .fault import Fault

TERMINAL = ("tests/demonstrators/test_terminal.py",)
ATTACKS = ("tests/web/test_attacks.py",)
TAKE_OVER = ("tests/imitator/test_take_over.py",)
REPORT = ("tests/journal/test_report.py",)
PEOPLE = "demonstrators/people"

FAULTS: list[Fault] = [
    Fault(
        "take-over-always-teaches",
        "imitator/_step",
        "    if learn:\n        told",
        "    if True:\n        told",
        TAKE_OVER,
    ),
    Fault(
        "take-over-is-an-answer",
        "imitator/_step",
        "packed = with_actions(judged.on_host, np.asarray(True), action)",
        "packed = with_actions(judged.on_host, np.asarray(True), -1)",
        TAKE_OVER,
    ),
    Fault(
        "take-over-forgotten-by-resume",
        "imitator/_resume",
        "return again.took_over(run, call, unpack(kept(directory, call)))",
        "return run",
        TAKE_OVER,
    ),
    Fault(
        "undo-undoes-nothing",
        f"{PEOPLE}/terminal",
        '                chosen = None\n            elif text in ("i"',
        '                pass\n            elif text in ("i"',
        TERMINAL,
    ),
    Fault(
        "bars-stay-while-a-person-is-asked",
        "experiments/progress",
        "if self._shown and (person or self._quick < self.ANSWERS):",
        "if False:",
        TERMINAL,
    ),
    Fault(
        "any-host-is-served",
        f"{PEOPLE}/web/server",
        'if headers.get("host", "") not in self._hosts:',
        "if False:",
        ATTACKS,
    ),
    Fault(
        "pages-from-elsewhere-are-let-in",
        f"{PEOPLE}/web/server",
        'return 403, "Pages from elsewhere are not let in."',
        "pass",
        ATTACKS,
    ),
    Fault(
        "sockets-of-no-page-are-let-in",
        f"{PEOPLE}/web/server",
        'return 403, "A socket must say which page it comes from."',
        "pass",
        ATTACKS,
    ),
    Fault("messages-without-limit", f"{PEOPLE}/web/server", "        if left < 0:\n", "        if False:\n", ATTACKS),
    Fault(
        "silent-connections-stay",
        f"{PEOPLE}/web/server",
        'if getattr(self, "cycle", None) is None:',
        "if False:",
        ATTACKS,
    ),
    Fault(
        "a-second-answer-counts",
        f"{PEOPLE}/web/board",
        'return "" if self._given[env].action == action else "another answer was given already"',
        "self._given.pop(env)",
        ATTACKS,
    ),
    Fault(
        "an-answer-to-another-question-counts",
        f"{PEOPLE}/web/board",
        'said.get("query") != question["id"]',
        "False",
        ATTACKS,
    ),
    Fault(
        "the-report-forgets-take-overs",
        "experiments/journal_report",
        'case "act" | "takeover":',
        'case "act":',
        REPORT,
    ),
]
