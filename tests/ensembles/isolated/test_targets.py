"""Which functions can be members in processes of their own, and what is said of those that cannot."""

import functools
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ensembles
from consensus_imitation.ensembles.isolated._target import Target, target_of
from consensus_imitation.errors import ConfigurationError

from . import members
from .members import GOOD


class Policy:
    def act(self, observation: Any) -> list[float]:
        return GOOD

    def __call__(self, observation: Any) -> list[float]:
        return GOOD


def decorated(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(function)
    def wrapper(observation: Any) -> Any:
        return function(observation)

    return wrapper


@decorated
def wrapped(observation: Any) -> list[float]:
    return GOOD


def closure() -> Callable[[Any], Any]:
    def within(observation: Any) -> list[float]:
        return GOOD

    return within


REFUSED: dict[str, tuple[Any, str]] = {
    "lambda": (lambda observation: GOOD, "lambda"),
    "closure": (closure(), "within another"),
    "method": (Policy().act, "method"),
    "method of the class": (Policy.act, "a method"),
    "object": (Policy(), "Policy"),
    "class": (Policy, "type"),
    "partial": (functools.partial(members.good), "partial"),
    "builtin": (len, "builtin"),
    "hidden by its decorator": (wrapped.__wrapped__, "wrapped"),  # type: ignore[attr-defined]
    "number": (3, "3, not a plain function"),
    "none": (None, "None"),
    "no colon": ("tests.ensembles.isolated.members.good", "does not name a function"),
    "nothing": ("", "does not name a function"),
    "no module": (":good", "does not name a function"),
    "expression": ("tests.ensembles.isolated.members:good()", "does not name a function"),
    "attribute": ("tests.ensembles.isolated.members:Policy.act", "does not name a function"),
    "path that is none": ("tests/ensembles/isolated/members:good", "neither a module's name nor a path"),
    "missing file": ("tests/ensembles/isolated/nowhere.py:good", "there is no file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_other_process_could_find_is_refused(case: str) -> None:
    function, words = REFUSED[case]
    with pytest.raises(ConfigurationError, match="member 1") as caught:
        ensembles.isolated([members.good, function], 2)
    assert words in str(caught.value)


def test_a_decorated_function_is_found_by_its_name() -> None:
    assert target_of(wrapped, 0) == Target("wrapped", module=__name__)


BROKEN = {
    "raises": ("raise RuntimeError('no import today')", "RuntimeError: no import today"),
    "exits": ("import sys; sys.exit(0)", "SystemExit"),
    "dies": ("import os; os._exit(0)", "process ended"),
    "syntax": ("def act(observation:", "SyntaxError"),
    "no such function": ("def other(observation): ...", "act"),
    "no function": ("act = 3", "not a function but int"),
    "missing import": ("import nothing_of_that_name", "nothing_of_that_name"),
    "memory": ("bytearray(6 * 2**30)", "MemoryError"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_imported_is_an_error_at_construction(case: str, tmp_path: Path) -> None:
    code, words = BROKEN[case]
    file = tmp_path / "members.py"
    file.write_text(code, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"member 1, .*/members.py:act, could not be started") as caught:
        ensembles.isolated([members.good, f"{file}:act"], 2, memory=4 * 2**30)
    assert words in str(caught.value)


def test_a_start_that_takes_too_long_is_an_error_at_construction(tmp_path: Path) -> None:
    file = tmp_path / "slow.py"
    file.write_text("import time\ntime.sleep(1000)", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"was not ready after 1 s: give it a longer start_deadline"):
        ensembles.isolated([f"{file}:act"], 2, start_deadline=1.0)


def test_a_module_that_does_not_exist_is_an_error_at_construction() -> None:
    with pytest.raises(ConfigurationError, match="No module named 'nowhere'"):
        ensembles.isolated(["nowhere.to_be:found"], 2)


def test_too_little_memory_is_an_error_at_construction() -> None:
    with pytest.raises(ConfigurationError, match=r"could not be started .*memory"):
        ensembles.isolated(["tests.ensembles.isolated.members:good"], 2, memory=10_000_000)


OPTIONS: list[tuple[dict[str, Any], str]] = [
    *(({"deadline": bad}, "deadline") for bad in (0, -1.0, np.nan, np.inf, None, "1", True, np.ones(2))),
    *(({"start_deadline": bad}, "start_deadline") for bad in (0, np.nan)),
    *(({"memory": bad}, "memory") for bad in (0, -1, 1e9, True, "1G")),
    *(({"num_actions": bad}, "num_actions") for bad in (0, -1, 2.0, True, None)),
    *(({"functions": bad}, "functions") for bad in ([], (), "tests.ensembles.isolated.members:good")),
    ({"prior": [0.5, 0.5]}, "prior"),
]


@pytest.mark.parametrize(("options", "words"), OPTIONS, ids=str)
def test_bad_options_are_refused(options: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"functions": [members.good], "num_actions": 2, **options}
    with pytest.raises(ValueError, match=words):
        ensembles.isolated(**given)


SCRIPT = """
import neighbour

def act(observation):
    return helper()

def helper():
    return [0.6, 0.4]

if __name__ == "__main__":
    from consensus_imitation import ensembles
    with ensembles.isolated([act], 2) as members:
        print(members.log_probs((), 0, None).shape, members.failures)
"""


def test_functions_of_a_script_run_from_its_file_but_not_its_main_part(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("", encoding="utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "(1, 2) ('',)\n", done.stderr


MAINS: dict[str, tuple[dict[str, Any], Target | None]] = {
    "script": ({"__file__": __file__, "__spec__": None}, Target("act", file=__file__)),
    "python -m": ({"__file__": __file__, "__spec__": ModuleSpec("some.module", None)}, Target("act", "some.module")),
    "typed in": ({"__spec__": None}, None),
    "from standard input": ({"__file__": "<stdin>", "__spec__": None}, None),
}


@pytest.mark.parametrize("case", MAINS)
def test_functions_of_the_main_module_are_found_where_they_are(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attributes, expected = MAINS[case]
    main = ModuleType("__main__")
    vars(main).update(attributes)
    exec("def act(observation): ...", vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    if expected is None:
        with pytest.raises(ConfigurationError, match="member 0: act was typed in, so no file holds it"):
            target_of(main.act, 0)
    else:
        assert target_of(main.act, 0) == expected


def test_a_file_is_taken_relative_to_the_folder_at_construction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "members.py").write_text("def act(observation): return [1.0]", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with ensembles.isolated(["members.py:act"], 1) as ensemble:
        assert str(ensemble.targets[0]) == f"{tmp_path}/members.py:act"
