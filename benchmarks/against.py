"""The same cases at another commit, and where figures come from: machine, versions, commit."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from consensus_imitation.benchmarks.measure import show

ROOT = Path(__file__).resolve().parents[1]

#: The packages whose versions matter most for speed.
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


class Change(NamedTuple):
    """One figure of the library here and at another commit."""

    case: str
    quantity: str
    here: float
    there: float
    unit: str

    def as_row(self) -> dict[str, str]:
        """For a table, with rounded numbers; the ratio is that of this checkout to the other."""
        ratio = f"{self.here / self.there:.3g}" if self.there else ""
        figures = {"here": show(self.here, self.unit), "there": show(self.there, self.unit), "here / there": ratio}
        return {"case": self.case, "quantity": self.quantity} | figures


def origin() -> dict[str, Any]:
    """What figures depend on: the machine, the versions, and the commit if this is a checkout."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        **versions,
        "commit": _commit(),
    }


@contextmanager
def checkout(commit: str) -> Generator[Path, None, None]:
    """Give a directory with the packages of another commit, laid out as they are installed; it goes at the end.

    Args:
        commit: anything that git knows as one.

    Raises:
        ValueError: if this is not a checkout, git knows no such commit, or it has no benchmarks.
    """
    with tempfile.TemporaryDirectory(prefix="bench-against-") as place:
        archive, tree = Path(place) / "commit.tar", Path(place) / "tree"
        try:
            # Its hash, so that git takes nothing for an option.
            found = _git("rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}")
            _git("archive", "--format=tar", "-o", str(archive), found)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            raise ValueError(f"against takes a commit of the checkout in {ROOT}: {said.strip()}") from error
        with tarfile.open(archive) as packed:
            packed.extractall(tree, filter="data")
        for name in ("envs", "benchmarks"):
            if not (tree / name).is_dir():
                raise ValueError(f"{commit} has no {name}/: it is too old to be measured")
            shutil.move(tree / name, tree / "consensus_imitation" / name)
        yield tree


def measure_at(
    tree: Path,
    cases: Sequence[str],
    repeats: int,
    results: Path,
    started: Callable[[subprocess.Popen[str]], object] = repr,
) -> Path:
    """Run ``bench`` of another commit, in a separate process, and return the path of its bench.csv.

    It runs under this Python and with the packages that are installed.

    Args:
        tree: from `checkout`.
        cases: names of cases at that commit; none for all of them.
        repeats: how often each function is timed.
        results: a directory.
        started: called with the process.

    Raises:
        ValueError: if it writes no figures.
    """
    command = [sys.executable, "-c", "import sys; from consensus_imitation.cli.main import main; sys.exit(main())"]
    chosen = ["--cases", *cases] if cases else []
    with subprocess.Popen(
        [*command, "bench", *chosen, "--repeats", str(repeats), "--out", str(results)],
        env=os.environ | {"PYTHONPATH": str(tree)},
        cwd=tree,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as child:
        started(child)
        said = child.communicate()[0]
    # A target that is missed is an exit code of 1, and no failure to measure.
    if not (results / "bench.csv").exists():
        last = (said.strip() or f"exit code {child.returncode}").splitlines()[-1]
        raise ValueError(f"bench of the other commit wrote no figures: {last}")
    return results / "bench.csv"


def changes(here: Sequence[Mapping[str, Any]], there: Sequence[Mapping[str, Any]]) -> list[Change]:
    """The library's figures that both have, in the order in which they stand here."""
    known = {(row["case"], row["quantity"]): _number(row["ours"]) for row in there}
    found = {}
    for row in here:
        name = row["case"], row["quantity"]
        there_too = known.get(name)
        if there_too is not None:
            found[name] = Change(*name, float(row["ours"]), there_too, row["unit"])
    return list(found.values())


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _commit() -> str:
    """Name the commit; empty where the library is installed, be it within somebody else's checkout."""
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return ""
        return _git("describe", "--always", "--dirty", "--abbrev=12")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _processor() -> str:
    """The processor's name, where Linux says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown processor")
