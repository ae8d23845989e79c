"""What importing the package costs: no plotting, no Gymnasium, no environments."""

import subprocess
import sys

HEAVY = (
    "matplotlib",
    "gymnasium",
    "consensus_imitation.envs",
    "consensus_imitation.experiments",
    "consensus_imitation.cli",
)


def loaded_by(statement: str) -> set[str]:
    """Names of all modules in a fresh interpreter after that statement."""
    code = f"import sys\n{statement}\nsys.stdout.write('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_is_light() -> None:
    loaded = loaded_by("import consensus_imitation")
    assert "consensus_imitation.learner" in loaded
    assert not loaded & set(HEAVY)
    assert "envs" not in loaded


def test_the_check_sees_what_is_loaded() -> None:
    assert "consensus_imitation.envs" in loaded_by("import consensus_imitation.envs")


def test_the_public_surface_is_what_all_says() -> None:
    import consensus_imitation

    assert sorted(consensus_imitation.__all__) == sorted(set(consensus_imitation.__all__))
    for name in consensus_imitation.__all__:
        assert getattr(consensus_imitation, name).__doc__ or name == "QUERY"
