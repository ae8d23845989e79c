"""Speed, as ratios to references that are timed in turns with the library, in one run.

``run()`` measures every case, or the named cases; ``consensus-imitation bench`` prints them as a table. Every case
first checks that both sides of the comparison compute the same.
"""

from collections.abc import Callable, Sequence

from consensus_imitation.benchmarks.cases import CASES
from consensus_imitation.benchmarks.measure import Measurement

__all__ = ["CASES", "Measurement", "run"]


def run(
    cases: Sequence[str] | None = None, repeats: int = 15, progress: Callable[[int, int], None] | None = None
) -> list[Measurement]:
    """Measure the cases.

    Args:
        cases: Names out of `CASES`; None for all of them.
        repeats: How often each function is timed; the median counts.
        progress: Called with the number of cases done and their total, before each case and after the last.

    Raises:
        ValueError: for an unknown name.
        AssertionError: if a baseline does not compute what the library does.
    """
    names = tuple(CASES) if cases is None else tuple(cases)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise ValueError(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    results: list[Measurement] = []
    for done, name in enumerate(names):
        if progress is not None:
            progress(done, len(names))
        results.extend(CASES[name](repeats))
    if progress is not None:
        progress(len(names), len(names))
    return results
