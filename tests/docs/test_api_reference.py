"""The API reference holds every public name, and every public name is documented."""

import importlib
import importlib.util
import inspect
from pathlib import Path

import pytest

from .test_examples import all_modules

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("generate_api", ROOT / "docs" / "generate_api.py")
assert SPEC is not None
assert SPEC.loader is not None
generate_api = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate_api)

NAMES = [(module, name) for module in generate_api.MODULES for name in generate_api.public_names(module)]


def test_page_is_up_to_date() -> None:
    text = generate_api.PAGE.read_text(encoding="utf-8")
    assert text == generate_api.page(), "run: python docs/generate_api.py"


def test_every_exported_name_of_every_module_is_on_the_page() -> None:
    text = generate_api.PAGE.read_text(encoding="utf-8")
    missing = [
        f"{module}.{name}"
        for module in all_modules()
        for name in getattr(importlib.import_module(module), "__all__", ())
        if f"`{name}`" not in text and f"`{name}(" not in text
    ]
    assert not missing


@pytest.mark.parametrize(
    ("module", "name"), NAMES, ids=[f"{m.removeprefix('consensus_imitation')}:{n}" for m, n in NAMES]
)
def test_public_name_is_documented(module: str, name: str) -> None:
    value = getattr(importlib.import_module(module), name)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return
    assert inspect.getdoc(value), f"{module}.{name} has no docstring"
    if inspect.isclass(value):
        for method, function in vars(value).items():
            if (
                inspect.isfunction(function)
                and not method.startswith("_")
                and function.__module__.startswith("consensus")
            ):
                assert inspect.getdoc(getattr(value, method)), f"{module}.{name}.{method} has no docstring"


@pytest.mark.parametrize("name", all_modules())
def test_dunder_all_is_sorted_and_complete(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    if exported is None:
        return
    assert len(set(exported)) == len(exported)
    for one in exported:
        assert hasattr(module, one), f"{name}.__all__ names {one}, which is not there"
