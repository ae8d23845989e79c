"""What importing the package costs: no plotting, no Gymnasium, no environments."""

import subprocess
import sys

import pytest

HEAVY = (
    "matplotlib",
    "gymnasium",
    "consensus_imitation.envs",
    "consensus_imitation.experiments",
    "consensus_imitation.cli.main",
)


def loaded_by(statement: str) -> set[str]:
    """Names of all modules in a fresh interpreter after that statement."""
    code = f"import sys\n{statement}\nsys.stdout.write('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_alone_imports_nothing() -> None:
    loaded = loaded_by("import consensus_imitation")
    assert not [name for name in loaded if name.startswith(("consensus_imitation.", "jax", "numpy"))]


def test_its_public_names_are_light() -> None:
    loaded = loaded_by("from consensus_imitation import TopK")
    assert "consensus_imitation.core.learner" in loaded
    assert not loaded & set(HEAVY)
    assert "envs" not in loaded


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    "statement",
    [
        "import consensus_imitation; consensus_imitation.TopK; consensus_imitation.ensembles.mlp",
        "from consensus_imitation import *; ConsensusImitator; ensembles.mlp; QUERY",
        "from consensus_imitation import TopK, aggregation, errors, ensembles; ensembles.mlp; aggregation.MaxProbGate",
        "import consensus_imitation; assert {'TopK', 'ensembles'} <= set(dir(consensus_imitation))",
        "import consensus_imitation; assert not hasattr(consensus_imitation, 'Bogus')",
        "import consensus_imitation; assert not hasattr(consensus_imitation, 'bogus')",
        "import pickle, consensus_imitation as ci; assert pickle.loads(pickle.dumps(ci.TopK)) is ci.TopK",
    ],
)
def test_public_names_are_there_however_they_are_imported(statement: str) -> None:
    loaded_by(statement)


def test_the_check_sees_what_is_loaded() -> None:
    assert "consensus_imitation.envs" in loaded_by("import consensus_imitation.envs")


def test_the_public_surface_is_what_all_says() -> None:
    import consensus_imitation

    assert sorted(consensus_imitation.__all__) == sorted(set(consensus_imitation.__all__))
    for name in consensus_imitation.__all__:
        assert getattr(consensus_imitation, name).__doc__ or name == "QUERY"


#: Rooms import downward only (`make lint`), so that a circle can only be within a room: others may stay loaded.
_EACH_ALONE = """
import importlib, pkgutil, sys
import consensus_imitation
names = [module.name for module in pkgutil.walk_packages(consensus_imitation.__path__, "consensus_imitation.")]
for name in names:
    room = ".".join(name.split(".")[:2])
    for loaded in [one for one in sys.modules if one == room or one.startswith(room + ".")]:
        del sys.modules[loaded]
    importlib.import_module(name)
sys.stdout.write(str(len(names)))
"""


@pytest.mark.slow
def test_every_module_can_be_imported_first() -> None:
    """No circle of imports is hidden by the order in which the package is usually imported."""
    done = subprocess.run([sys.executable, "-c", _EACH_ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 100
