"""Rules for the code: sizes, names, imports, inheritance, docstrings, mutable module state.

A rule has a list of exceptions with reasons; a stale exception fails the test too. Each rule is one
test, which lists all violations.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypedDict

import msgspec
import pydantic
import pytest
from packaging.utils import canonicalize_name as normal

ROOT = Path(__file__).parents[2]
BRIDGE = ROOT / "bridge"
TESTS = ROOT / "tests"

MAX_FILE = 800
MAX_FUNCTION = 60
MAX_FOLDER = 25
"""Maximum number of modules in a folder, without `__init__`."""
MAX_FLOORS = 8
"""Maximum length of an import chain within a folder."""
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base"}

LONG_FILES: Mapping[str, str] = {}
LONG_FUNCTIONS: Mapping[str, str] = {}
_HOOK = "the library's way to have a method of its own replaced"
HEIRS: Mapping[str, str] = {
    "bridge/config/document.py:_Constructor": _HOOK,
    "bridge/link/link.py:_Connect": _HOOK,
    "bridge/link/socket.py:Connection": _HOOK,
    "bridge/link/files.py:GuardedResolver": "aiohttp takes no other resolver",
    "bridge/matrix/client.py:_Answer": "mautrix reads answers whole, however long",
    "bridge/rooms/surroundings.py:Connector": "aiohttp gives stray answers to the next request",
}
"""Classes that inherit behaviour, not only the form of a value, a port or an exception."""
HIGH_FOLDERS: Mapping[str, str] = {}
"""Folders with longer import chains; the key contains the length, so that it cannot grow."""
REPEATED_NAMES: Mapping[str, str] = {
    "operations": "of the bridge (`admin`) and of the simulator: each is the field's word"
}
MAY_REPEAT = {"__init__", "ports", "settings", "model"}
"""File names that every package may have."""


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


SOURCES = _files(BRIDGE)
EVERYTHING = SOURCES + _files(TESTS)
Defined = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def _nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(_tree(path)))


def _length(node: Defined) -> int:
    """Return the number of lines of a function from `def` on, without its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def _too_long_files() -> Iterator[str]:
    for path in EVERYTHING:
        if len(path.read_text(encoding="utf-8").splitlines()) > MAX_FILE:
            yield _name(path)


def _functions(path: Path) -> Iterator[Defined]:
    ours = path.is_relative_to(BRIDGE)
    nodes = _nodes(path) if ours else ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return (node for node in nodes if isinstance(node, Defined))


def _too_long_functions() -> Iterator[str]:
    for path in EVERYTHING:
        for node in _functions(path):
            if _length(node) > MAX_FUNCTION:
                yield f"{_name(path)}:{node.name}"


def _meant(base: ast.expr, path: Path) -> object:
    """Return the object that a base class expression names."""
    if isinstance(base, ast.Subscript):
        return _meant(base.value, path)
    if isinstance(base, ast.Attribute):
        return getattr(_meant(base.value, path), base.attr)
    assert isinstance(base, ast.Name), ast.unparse(base)
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return getattr(importlib.import_module(dotted), base.id, None) or getattr(builtins, base.id)


def _heirs() -> Iterator[str]:
    """Yield classes that inherit behaviour."""
    shapes: tuple[object, ...] = (Generic, NamedTuple, TypedDict)
    values = (Enum, msgspec.Struct, pydantic.BaseModel, BaseException)
    for path in SOURCES:
        for node in _nodes(path):
            if not isinstance(node, ast.ClassDef):
                continue
            bases = [_meant(base, path) for base in node.bases]
            if Protocol in bases:  # Python itself allows only Protocols as other bases
                continue
            for base in bases:
                if base not in shapes and not (isinstance(base, type) and issubclass(base, values)):
                    yield f"{_name(path)}:{node.name}"


def _too_full_folders() -> Iterator[str]:
    count = Counter(path.parent for path in SOURCES if path.stem != "__init__")
    yield from (_name(folder) for folder, files in count.items() if files > MAX_FOLDER)


def _names_that_stand_twice() -> Iterator[str]:
    count = Counter(path.stem for path in SOURCES)
    yield from (name for name, files in count.items() if files > 1 and name not in MAY_REPEAT)


def _import_names(path: Path) -> Iterator[str]:
    """Yield the dotted names of the modules that a file imports, or of their contents."""
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _imported(path: Path) -> frozenset[Path]:
    """Return the files of the bridge that a file imports, at top level or in functions."""
    found: set[Path] = set()
    for name in _import_names(path):
        # A module, a package, or a name in one.
        for inner in (name, name.rpartition(".")[0]):
            place = ROOT.joinpath(*inner.split("."))
            files = (place.with_suffix(".py"), place / "__init__.py")
            if place.is_relative_to(BRIDGE) and any(map(Path.exists, files)):
                found.add(next(filter(Path.exists, files)))
                break
    return frozenset(found)


def _circles(arrows: Mapping[Path, set[Path]]) -> Iterator[str]:
    """Yield the import cycles: the groups whose members all reach one another."""
    reached = {start: set(ends) for start, ends in arrows.items()}
    changed = True
    while changed:
        changed = False
        for ends in reached.values():
            before = len(ends)
            ends.update(*(reached[end] for end in ends))
            changed = changed or len(ends) > before
    circles = {
        frozenset(end for end in ends if start in reached[end])
        for start, ends in reached.items()
        if start in ends
    }
    yield from (" ⇄ ".join(sorted(_name(one) for one in circle)) for circle in circles)


def _circles_of_files() -> Iterator[str]:
    return _circles({path: set(_imported(path)) - {path} for path in SOURCES})


@cache
def _height(path: Path) -> int:
    """Return the length of a module's longest import chain within its folder."""
    below = (file for file in _imported(path) - {path} if file.parent == path.parent)
    return 1 + max(map(_height, below), default=0)


def _too_high_folders() -> Iterator[str]:
    heights = Counter[Path]()
    for path in SOURCES:
        heights[path.parent] = max(heights[path.parent], _height(path))
    for folder, height in heights.items():
        if height > MAX_FLOORS:
            yield f"{_name(folder)} has {height} floors"


def _folder(path: Path) -> Path:
    """Return a file's folder; a module directly in `bridge` (`ids`, `__main__`) is its own."""
    return path if path.parent == BRIDGE else path.parent


def _circles_of_folders() -> Iterator[str]:
    arrows: dict[Path, set[Path]] = {}
    for path in SOURCES:
        ends = arrows.setdefault(_folder(path), set())
        ends |= {_folder(file) for file in _imported(path)} - {_folder(path)}
    return _circles(arrows)


def listed(rule: str, names: set[str]) -> str:
    return "\n  ".join([f"{rule}:", *sorted(names)])


@pytest.mark.parametrize(
    ("found", "exceptions", "rule"),
    [
        (_too_long_files, LONG_FILES, f"a file has at most {MAX_FILE} lines"),
        (_too_long_functions, LONG_FUNCTIONS, f"a function has at most {MAX_FUNCTION} lines"),
        (_too_full_folders, {}, f"a folder has at most {MAX_FOLDER} modules"),
        (_too_high_folders, HIGH_FOLDERS, f"a folder has at most {MAX_FLOORS} floors"),
        (_names_that_stand_twice, REPEATED_NAMES, "a file's name stands once"),
        (_circles_of_files, {}, "files do not import each other in a circle"),
        (_circles_of_folders, {}, "folders do not import each other in a circle"),
        (_heirs, HEIRS, "a class inherits from Protocols, values and exceptions only"),
    ],
)
def test_rule(found: Callable[[], Iterator[str]], exceptions: Mapping[str, str], rule: str) -> None:
    offenders = set(found())
    assert not offenders - set(exceptions), listed(rule, offenders - set(exceptions))
    stale = set(exceptions) - offenders
    assert not stale, listed("no exception needed any more", stale)


def test_file_and_folder_names_are_not_vague() -> None:
    vague = [_name(path) for path in EVERYTHING if path.stem in VAGUE_NAMES]
    vague += [_name(path) for path in EVERYTHING if path.parent.name in VAGUE_NAMES]
    assert vague == []


def test_every_module_has_a_docstring() -> None:
    silent = [
        _name(path)
        for path in SOURCES
        if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(_tree(path))
    ]
    assert silent == []


_PRONOUNS = {
    "it", "that", "this", "these", "those", "they", "who", "whoever", "whose", "what",
    "whatever", "which",
}  # fmt: skip


def _docstrings(path: Path) -> Iterator[ast.Constant]:
    """Yield the docstrings of modules, classes, functions and attributes."""
    for node in _nodes(path):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def test_a_docstring_names_its_subject() -> None:
    """A docstring must begin with a technical term to search for, not with a pronoun."""
    riddles = [
        f"{_name(path)}:{text.lineno}"
        for path in SOURCES
        for text in _docstrings(path)
        if re.split(r"\W", str(text.value), maxsplit=1)[0].lower() in _PRONOUNS
    ]
    assert riddles == []


_MUTABLE = ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp
_MUTATORS = {
    "append", "extend", "insert", "remove", "pop", "clear", "update", "setdefault", "add",
    "discard", "popitem", "sort", "reverse",
}  # fmt: skip


def _bound(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names and values of an assignment."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
    elif isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name):
        yield node.target.id, node.value


def _written_into(path: Path) -> Iterator[str]:
    """Yield names of containers that the code modifies."""
    for node in _nodes(path):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            if isinstance(node.value, ast.Name):
                yield node.value.id
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _MUTATORS
            and isinstance(node.func.value, ast.Name)
        ):
            yield node.func.value.id


def _mutable_state(path: Path) -> Iterator[str]:
    if any(isinstance(node, ast.Global) for node in _nodes(path)):
        yield "global"
    tables = {
        name
        for node in _tree(path).body
        for name, value in _bound(node)
        if isinstance(value, _MUTABLE)
    }
    for name in sorted(tables):
        if name != "__all__" and name.upper() != name:
            yield f"{name}: a container at module level must be a CONSTANT"
    for name in sorted(tables & set(_written_into(path))):
        yield f"{name}: a constant is written into"


def test_no_module_has_mutable_state() -> None:
    found = {f"{_name(path)}: {what}" for path in SOURCES for what in _mutable_state(path)}
    assert not found, listed("no mutable module state", found)


def test_the_check_detects_import_cycles() -> None:
    a, b, c, d = (BRIDGE / name for name in "abcd")
    assert list(_circles({a: {b}, b: {c}, c: {b}, d: {a}})) == ["bridge/b ⇄ bridge/c"]
    assert list(_circles({a: {b, c}, b: {d}, c: {d}, d: set()})) == []
    assert BRIDGE / "ids.py" in _imported(BRIDGE / "conversation" / "model.py")


# --- dependencies: in a development environment the test extra would hide a missing one -----------

PART_OF = {"pydantic-core": "pydantic"}
"""Distributions that are part of another one, which pins their version."""
LOADED_BY_NAME = {"tzdata": "zoneinfo looks for it where the system has no time zones"}
"""Dependencies that the package does not import, and why they are needed."""
EXTRAS = {"demo": "bridge/demo/", "tracing": "bridge/ops/tracing.py"}
"""Extras, and the part of the package that needs them."""
owners_of = cache(packages_distributions)


def imported(extra: str = "") -> dict[str, str]:
    """Return the top-level names that an extra's code (or all other code) imports, with a file."""
    found: dict[str, str] = {}
    for path in SOURCES:
        place = _name(path)
        if extra != next((name for name, one in EXTRAS.items() if place.startswith(one)), ""):
            continue
        for name in _import_names(path):
            found.setdefault(name.partition(".")[0], place)
    return found


@cache
def declared(extra: str = "") -> set[str]:
    """Return the declared dependencies, or those of an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return {normal(re.split(r"[^\w.-]", need, maxsplit=1)[0]) for need in needs}


def test_declared_dependencies_match_the_imports() -> None:
    owners = owners_of()
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
    owners = owners_of()
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
