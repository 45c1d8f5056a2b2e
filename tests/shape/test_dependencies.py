"""The imports of the package match the dependencies in pyproject.toml.

In a development environment the test extra would hide a missing dependency.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PART_OF = {"pydantic-core": "pydantic"}
"""Distributions that are part of another one, which pins their version."""
LOADED_BY_NAME = {"tzdata": "zoneinfo looks for it where the system has no time zones"}
"""Dependencies that the package does not import, and why they are needed."""
EXTRAS = {"demo": "bridge/demo/", "tracing": "bridge/ops/tracing.py"}
"""Extras, and the part of the package that needs them."""
ROOT = Path(__file__).parents[2]


def normal(name: str) -> str:
    """Return a distribution's normalised name (packaging specification, "Names")."""
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(extra: str = "") -> dict[str, str]:
    """Return the top-level names that an extra's code (or all other code) imports, with a file."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "bridge").rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        if extra != next((name for name, one in EXTRAS.items() if place.startswith(one)), ""):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                found.setdefault(name.partition(".")[0], str(path.relative_to(ROOT)))
    return found


def declared(extra: str = "") -> set[str]:
    """Return the declared dependencies, or those of an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return {normal(re.split(r"[^\w.-]", need, maxsplit=1)[0]) for need in needs}


def test_declared_dependencies_match_the_imports() -> None:
    owners = packages_distributions()
    used: dict[str, str] = {}
    for name, path in imported().items():
        if name in sys.stdlib_module_names or name == "bridge":
            continue
        assert name in owners, f"{path} imports {name}, which nothing installed provides"
        # If several distributions provide the name, the declared one counts.
        candidates = {PART_OF.get(normal(owner), normal(owner)) for owner in owners[name]}
        used[min(candidates & declared() or candidates)] = path
    missing = {name: path for name, path in used.items() if name not in declared()}
    assert not missing, f"not among the dependencies in pyproject.toml: {missing}"
    unused = declared() - set(used) - set(LOADED_BY_NAME)
    assert not unused, f"pyproject.toml lists what nothing imports: {unused}"


@pytest.mark.parametrize(("extra", "needed"), [("demo", "nio"), ("tracing", "opentelemetry")])
def test_optional_code_imports_only_its_extra(extra: str, needed: str) -> None:
    owners = packages_distributions()
    allowed = declared() | declared(extra)
    foreign = {
        name: path
        for name, path in imported(extra).items()
        if name not in sys.stdlib_module_names and name != "bridge"
    }
    assert needed in foreign
    missing = {
        name: path
        for name, path in foreign.items()
        if not {normal(owner) for owner in owners.get(name, [])} & allowed
    }
    assert not missing, f"not in the extra `{extra}` in pyproject.toml: {missing}"
