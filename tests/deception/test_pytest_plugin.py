"""The fixture as its users meet it."""

import pytest

pytest_plugins = ["pytester"]
PLUGIN = "consensus_imitation.deception.pytest_plugin"


LOAD = ("-p", PLUGIN)


@pytest.mark.slow
def test_a_users_test_passes_with_a_safe_imitator_and_fails_with_a_reckless_one(pytester):
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
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *LOAD)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: 1 results are not as expected:*", "*time-bomb, attack, careless*"])


def test_the_fixture_is_documented(pytester):
    result = pytester.runpytest_inprocess("--fixtures", "-p", "no:cacheprovider", *LOAD)
    result.stdout.fnmatch_lines(["*deception_suite*", "*Run an imitator through threat models*"])
