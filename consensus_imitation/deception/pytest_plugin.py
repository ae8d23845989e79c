"""A pytest fixture that runs an imitator through the suite of deceptive members.

A test asks for the fixture and calls it with a function that builds the imitator of one run:

    def test_my_imitator_is_not_deceived(deception_suite):
        report = deception_suite(make_my_imitator, scenarios=("time-bomb", "backdoor"))
        report.assert_as_expected()

Load it with ``pytest_plugins = ["consensus_imitation.deception.pytest_plugin"]`` in the top-level ``conftest.py``. It
does not load by itself, since that would import JAX into every run of pytest.
"""

from collections.abc import Callable, Iterable

import pytest

from consensus_imitation.core._escaping import visible
from consensus_imitation.deception.contestants import Contestant, Factory
from consensus_imitation.deception.scenario import Scenario
from consensus_imitation.deception.scenarios import SHORT
from consensus_imitation.deception.suite import Result, format_table, run


class DeceptionReport:
    """The findings of the suite.

    Attributes:
        results: one for each scenario, without and with planted members.
    """

    def __init__(self, results: Iterable[Result]) -> None:
        self.results = tuple(results)

    @property
    def surprises(self) -> tuple[Result, ...]:
        """The results that are not as theory expects."""
        return tuple(result for result in self.results if not result.as_expected)

    def __str__(self) -> str:
        return format_table(self.results)

    def assert_as_expected(self) -> None:
        """Fail, with the table of results and the reasons, unless everything is as theory expects.

        Raises:
            AssertionError: if any result is different.
        """
        if self.surprises:
            reasons = "\n".join(
                "  "
                + visible(
                    f"{r.scenario}, {'attack' if r.attack else 'honest'}, {r.contestant}: expected {r.expected.value}, "
                    f"because {r.reason}; {r.harmed_runs} of {r.num_seeds} runs were harmed"
                )
                for r in self.surprises
            )
            raise AssertionError(f"{len(self.surprises)} results are not as expected:\n{reasons}\n{self}")


@pytest.fixture(scope="session")
def deception_suite() -> Callable[..., DeceptionReport]:
    """Run an imitator through threat models: ``deception_suite(imitator, scenarios=..., num_seeds=12, seed=0)``.

    The arguments of the function that this fixture gives are:

    * ``imitator``: a function ``problem -> object`` whose ``act(observation)`` returns an object with ``action`` and
      ``queried`` (see `consensus_imitation.deception.Problem`), or a `consensus_imitation.deception.Contestant`;
    * ``scenarios``: names or scenarios, by default the short selection `consensus_imitation.deception.SHORT`; pass
      `consensus_imitation.deception.scenario_names` () for everything;
    * ``num_seeds``: runs of each scenario with and without planted members, at least 8;
    * ``seed``: of everything.

    It returns a `DeceptionReport`, whose ``assert_as_expected()`` fails the test if the imitator was harmed where the
    library promises that it need not be.
    """

    def suite(
        imitator: Contestant | Factory,
        scenarios: str | Iterable[str | Scenario] | None = None,
        num_seeds: int = 12,
        seed: int = 0,
    ) -> DeceptionReport:
        chosen = SHORT if scenarios is None else scenarios
        return DeceptionReport(run(chosen, [imitator], num_seeds, seed, num_loop_seeds=num_seeds))

    return suite
