"""The fixture as its users meet it, and what loading it costs."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import consensus_imitation

pytest_plugins = ["pytester"]
PLUGIN = "consensus_imitation.deception.pytest_plugin"


@pytest.fixture
def load_plugin() -> list[str]:
    """Arguments that load the plugin, unless it is installed as one and so is loaded anyway."""
    registered = {entry.value for entry in importlib.metadata.entry_points(group="pytest11")}
    return [] if PLUGIN in registered else ["-p", PLUGIN]


def test_a_users_test_passes_with_a_safe_imitator_and_fails_with_a_reckless_one(pytester, load_plugin):
    pytester.makepyfile(
        """
        from consensus_imitation import AlphaThreshold, ConsensusImitator, TopK

        def careful(problem):
            rule = TopK(4) | AlphaThreshold(0.002)
            return ConsensusImitator(problem.ensemble, problem.demonstrator, selection=rule, seed=problem.seed)

        def careless(problem):
            return ConsensusImitator(problem.ensemble, problem.demonstrator, selection=TopK(1), seed=problem.seed)

        def test_careful(deception_suite):
            report = deception_suite(careful, scenarios="time-bomb", num_seeds=8)
            report.assert_as_expected()
            assert len(report.results) == 2 and not report.surprises
            assert "time-bomb" in str(report)

        def test_careless(deception_suite):
            deception_suite(careless, scenarios=["time-bomb"], num_seeds=8).assert_as_expected()
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *load_plugin)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: 1 results are not as expected:*", "*time-bomb, attack, careless*"])


def test_the_fixture_is_documented(pytester, load_plugin):
    result = pytester.runpytest_inprocess("--fixtures", "-p", "no:cacheprovider", *load_plugin)
    result.stdout.fnmatch_lines(["*deception_suite*", "*Run an imitator through threat models*"])


def test_the_plugin_itself_loads_neither_jax_nor_numpy():
    # The parent package is replaced by an empty one, since it is this room's own imports that are looked at.
    root = Path(consensus_imitation.__file__).parent
    program = f"""
import sys, types
parent = types.ModuleType("consensus_imitation")
parent.__path__ = [{str(root)!r}]
sys.modules["consensus_imitation"] = parent
import {PLUGIN}
assert not {{"jax", "numpy", "scipy"}} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_public_name_is_there_and_unknown_ones_are_not():
    from consensus_imitation import deception

    assert dir(deception) == sorted(deception.__all__)
    for name in deception.__all__:
        assert getattr(deception, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'no_such_thing'"):
        _ = deception.no_such_thing
