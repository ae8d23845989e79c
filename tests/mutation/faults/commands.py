"""Deliberate faults in the command line and its experiments."""

from .fault import Fault

_LEDGER = ("tests/experiments/test_ledger.py",)


def _signals(test: str) -> tuple[str]:
    return (f"tests/cli/test_interrupts.py::{test}",)


_ENDS = _signals("test_the_process_ends_with_the_message_and_its_code")
_SAYS = _signals("test_an_interrupt_says_what_it_costs")

FAULTS: list[Fault] = [
    # interrupts
    Fault("interrupt-ends-with-success", "cli/interrupts", "os._exit(128 + number)", "os._exit(0)", _ENDS),
    Fault(
        "interrupt-waits-for-native-code",
        "cli/interrupts",
        "signal.signal(number, lambda *_: None)",
        "signal.signal(number, lambda *got: watched.leave(got[0]))\n            signal.set_wakeup_fd(-1)",
        _ENDS,
    ),
    Fault(
        "interrupt-leaves-processes",
        "cli/interrupts",
        "child.kill()",
        "child.is_alive()",
        _signals("test_what_it_began_ends_with_it"),
    ),
    Fault(
        "ignored-signal-is-heard",
        "cli/interrupts",
        "if signal.getsignal(number) is not signal.SIG_IGN:",
        "if number:",
        _signals("test_a_signal_that_is_ignored_from_the_start_is_ignored_further"),
    ),
    Fault(
        "interrupt-after-imports",
        "__main__",
        "from consensus_imitation.cli.interrupts import watch",
        "import argparse\n\nfrom consensus_imitation.cli.interrupts import watch",
        _signals("test_nothing_heavy_is_imported_before_it_listens"),
    ),
    Fault(
        "command-claims-to-continue",
        "cli/main",
        "arguments.results is None:\n        return _BEGINS_ANEW\n    without",
        "arguments.results is None:\n        return _CONTINUES\n    without",
        _SAYS,
    ),
    Fault(
        "overwrite-claims-to-continue",
        "cli/main",
        'without = " without --overwrite" if arguments.results.overwrite else ""',
        'without = ""',
        _SAYS,
    ),
    # the ledger
    Fault(
        "ledger-keeps-unfinished",
        "experiments/ledger",
        "[[row for row in rows if part_of(row) in self.finished] for rows in saved]",
        "saved",
        _LEDGER,
    ),
    Fault(
        "ledger-keeps-old-results",
        "experiments/ledger",
        "for old in (file.name, *files):",
        "for old in ():",
        _LEDGER,
    ),
    Fault(
        "shared-measure-made-again",
        "experiments/ledger",
        "if path is not None and path.exists():",
        "if False:",
        _LEDGER,
    ),
    Fault(
        "identity-of-what-can-be-added",
        "experiments/ledger",
        "if name not in grows and value != {}",
        "if value != {}",
        _LEDGER,
    ),
    Fault(
        "table-written-in-place",
        "experiments/results",
        "        yield part\n        os.replace(part, path)",
        "        yield path",
        _LEDGER,
    ),
    Fault(
        "suite-begins-anew",
        "experiments/redteam/run",
        "ledger.missing(scenarios, progress)",
        "scenarios",
        _LEDGER,
    ),
    Fault(
        "pendulum-begins-anew",
        "experiments/pendulum/run",
        "ledger.missing(wanted, progress)",
        "wanted",
        _LEDGER,
    ),
    Fault(
        "option-replaces-another-silently",
        "cli/arguments",
        "    if twice:\n",
        "    if False:\n",
        ("tests/cli/test_cli.py::test_a_mistake_is_told_with_exit_code_2",),
    ),
    Fault(
        "bounds-begin-anew",
        "experiments/bounds/run",
        "ledger.missing(settings, progress)",
        "settings",
        _LEDGER,
    ),
    Fault(
        "old-demo-returns",
        "experiments/demo/run",
        "overwrite, parts)",
        "overwrite)",
        _LEDGER,
    ),
    # the first minutes
    Fault(
        "compiling-is-not-said",
        "experiments/progress",
        '_COMPILING = " (compiling first)"',
        '_COMPILING = ""',
        ("tests/cli/test_cli.py::test_progress_is_told_in_lines_where_no_bar_can_be_drawn",),
    ),
    Fault(
        "help-is-wider-than-the-terminal",
        "cli/main",
        'textwrap.fill(part, width, subsequent_indent="  ")',
        "part",
        ("tests/cli/test_cli.py::test_help",),
    ),
    Fault(
        "numbers-beyond-32-bits-pass",
        "cli/main",
        "one >= 2**31",
        "one >= 2**63",
        ("tests/cli/test_cli.py::test_a_mistake_is_told_with_exit_code_2",),
    ),
    Fault(
        "outlook-is-not-said",
        "cli/main",
        "show_progress(command.outlook)",
        "show_progress()",
        ("tests/cli/test_cli.py::test_the_demo_says_first_what_it_is_about_to_do",),
    ),
    Fault(
        "film-without-a-legend",
        "experiments/demo/figure",
        '    for name, colour in (_ACTING, _ASKING, ("harm", _HARM)):',
        "    for name, colour in ():",
        ("tests/experiments/test_demo_page.py::test_the_film_has_a_legend_and_says_when_the_deceiver_turns",),
    ),
    Fault(
        "legend-leaves-tiles-out",
        "experiments/demo/page",
        "for tile in TILE_NAMES if tile in seen}",
        'for tile in "G~" if tile in seen}',
        ("tests/experiments/test_demo_page.py::test_the_legend_names_every_tile_of_a_world",),
    ),
]
