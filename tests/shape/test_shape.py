"""The shape of the code: sizes, names, no mutable module state, tests where one looks for them.

A rule has a list of named exceptions, each with its reason, and an exception that is no longer
needed fails too. So the lists only shrink, or grow on purpose.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BRIDGE = ROOT / "bridge"
TESTS = ROOT / "tests"

MAX_FILE = 400
MAX_FUNCTION = 60
MAX_METHODS = 15
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base"}

LONG_FILES: Mapping[str, str] = {}
LONG_FUNCTIONS: Mapping[str, str] = {}
BIG_CLASSES: Mapping[str, str] = {
    "bridge/rooms/store.py:StorePort": "one port: every call a room's engine makes to a database",
}
VALUES_ONLY = {
    "bridge/ids.py",
    "bridge/conversation/effects.py",
    "bridge/conversation/inputs.py",
    "bridge/conversation/model.py",
    "bridge/conversation/policy.py",
    "bridge/link/ports.py",
    "bridge/rooms/effects.py",
    "bridge/rooms/inputs.py",
    "bridge/rooms/ports.py",
    "bridge/rooms/recorded.py",
    "bridge/rooms/signs.py",
    "bridge/rooms/store.py",
    "bridge/rooms/surroundings.py",
    "bridge/rooms/tapping.py",
    "bridge/storage/errors.py",
}
"""Modules that only say what things are: types, values, protocols."""

COVERED_BY: Mapping[str, set[str]] = {
    "tests/unit/test_main.py": {"bridge/__main__.py"},
    "tests/unit/texts/test_catalogue.py": {
        "bridge/texts/again.py",
        "bridge/texts/agents.py",
        "bridge/texts/chat.py",
        "bridge/texts/commands.py",
        "bridge/texts/configuration.py",
        "bridge/texts/delivery.py",
        "bridge/texts/encrypting.py",
        "bridge/texts/entering.py",
        "bridge/texts/outage.py",
        "bridge/texts/queueing.py",
        "bridge/texts/rating.py",
        "bridge/texts/records.py",
        "bridge/texts/robot.py",
        "bridge/texts/robotmodes.py",
        "bridge/texts/trouble.py",
        "bridge/texts/unreadable.py",
        "bridge/texts/usage.py",
        "bridge/texts/waiting.py",
    },
    "tests/unit/rooms/test_reception.py": {
        "bridge/rooms/gestures.py",
        "bridge/rooms/pace.py",
    },
    "tests/unit/link/test_link.py": {"bridge/link/hints.py"},
    "tests/unit/matrix/test_ghosts.py": {"bridge/matrix/pictures.py"},
    "tests/unit/matrix/test_transactions.py": {"bridge/matrix/ephemeral.py"},
    "tests/integration/test_outage.py": {"bridge/app/catching_up.py", "bridge/matrix/signs.py"},
    "tests/unit/rooms/test_lane_matrix.py": {"bridge/rooms/done.py", "bridge/rooms/doors.py"},
    "tests/unit/rooms/test_robot.py": {"bridge/rooms/lane_aside.py"},
    "tests/unit/rooms/test_worker.py": {
        "bridge/rooms/carrying.py",
        "bridge/rooms/stepping.py",
    },
    # One suite for the port, run on every engine.
    "tests/unit/storage/test_contract.py": {
        "bridge/storage/query.py",
        "bridge/storage/reads.py",
        "bridge/storage/statements.py",
        "bridge/storage/store.py",
        "bridge/storage/tables.py",
        "bridge/storage/writes.py",
    },
    "tests/unit/storage/test_engines.py": {
        "bridge/storage/channel.py",
        "bridge/storage/engine.py",
        "bridge/storage/open.py",
        "bridge/storage/postgres.py",
        "bridge/storage/sqlite.py",
    },
    # What has a socket is tested through it.
    "tests/conformance/test_link.py": {
        "bridge/link/dialling.py",
        "bridge/link/failures.py",
        "bridge/link/http.py",
        "bridge/link/keeper.py",
        "bridge/link/logins.py",
        "bridge/link/settings.py",
        "bridge/link/source.py",
    },
    "tests/desk/test_using.py": {"bridge/simulator/deskside.py"},
    "tests/conformance/test_simulator.py": {
        "bridge/simulator/control.py",
        "bridge/simulator/desk.py",
        "bridge/simulator/http.py",
        "bridge/simulator/outgoing.py",
        "bridge/simulator/pulse.py",
        "bridge/simulator/pushes.py",
        "bridge/simulator/report.py",
        "bridge/simulator/samples.py",
        "bridge/simulator/server.py",
        "bridge/simulator/sockets.py",
        "bridge/simulator/state.py",
    },
    "tests/integration/test_matrix_adapter.py": {
        "bridge/matrix/adapter.py",
        "bridge/matrix/arrival.py",
        "bridge/matrix/homeserver.py",
        "bridge/matrix/outgoing.py",
        "bridge/matrix/presence.py",
    },
    # The whole bridge as a process, on a real Synapse.
    "tests/integration/test_conversation.py": {
        "bridge/app/process.py",
        "bridge/app/stores.py",
        "bridge/demo/customer.py",
        "bridge/demo/process.py",
        "bridge/demo/stage.py",
    },
    "tests/integration/test_synapse.py": {"bridge/demo/synapse.py"},
    "tests/integration/test_demo.py": {
        "bridge/demo/agents.py",
        "bridge/demo/first_chat.py",
        "bridge/demo/phone.py",
        "bridge/demo/play.py",
        "bridge/demo/samples.py",
        "bridge/demo/scene.py",
        "bridge/demo/second_chat.py",
        "bridge/demo/transcript.py",
    },
}
"""Test file -> the modules that are tested there and have no file of their own."""

CROSSING: Mapping[str, str] = {
    "tests/unit/conversation/test_earlier_version.py": "chats that an earlier version began",
    "tests/unit/conversation/test_told_twice.py": "`outage`, where push and history meet",
    "tests/unit/conversation/test_missed.py": "agents' messages, by push and history, at random",
    "tests/unit/conversation/test_walk.py": "the machine as a whole, at random",
    "tests/unit/conversation/test_human.py": "from the robot to a person, likewise",
    "tests/unit/conversation/test_robot_stays.py": "who is a robot, by push and by reply",
    "tests/unit/conversation/test_cut_queue.py": "places in a queue over a cut link",
    "tests/unit/matrix/crypto/test_engine_strangers.py": "the engine, and whoever means it ill",
    "tests/unit/matrix/crypto/test_crash_points.py": "all of encryption, killed at every step",
    "tests/unit/storage/test_ping.py": "the store's sign of life, on disks that are full or gone",
    "tests/unit/rooms/test_at_once.py": "engine, workers and store: how few commits it takes",
    "tests/unit/rooms/test_crashes.py": "the whole engine, killed at random",
    "tests/unit/rooms/test_kinds.py": "the whole engine, killed, with content of every kind",
    "tests/unit/rooms/test_missed.py": "the whole engine, killed, with pushes that get lost",
    "tests/unit/rooms/test_stopping.py": "engine, workers and lanes, asked to end",
    "tests/unit/storage/test_at_once.py": "steps that store what they were made of, likewise",
    "tests/unit/storage/test_chats.py": "the port's part for chats, on every engine",
    "tests/unit/storage/test_claim.py": "one bridge a database, on both engines",
    "tests/unit/storage/test_plans.py": "which index serves each statement, on both engines",
    "tests/unit/storage/test_revision.py": "the port's optimistic lock, on every engine",
    "tests/unit/storage/test_secrets.py": "the port's part for encryption, on every engine",
    "tests/unit/texts/test_texts.py": "bridge/texts/__init__.py",
    "tests/unit/storage/test_postgres_loss.py": "engines and writer, when the server goes away",
    "tests/unit/storage/test_sqlite_kill.py": "engine and writer, killed",
}
"""Unit tests of no one module, beside those of COVERED_BY."""


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


SOURCES = _files(BRIDGE)
EVERYTHING = SOURCES + _files(TESTS)
Defined = ast.FunctionDef | ast.AsyncFunctionDef


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _length(node: Defined) -> int:
    """Lines of a function from `def` on, without its docstring: explaining is not punished."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def _too_long_files() -> Iterator[str]:
    for path in EVERYTHING:
        if len(path.read_text(encoding="utf-8").splitlines()) > MAX_FILE:
            yield _name(path)


def _too_long_functions() -> Iterator[str]:
    for path in EVERYTHING:
        for node in ast.walk(_tree(path)):
            if isinstance(node, Defined) and _length(node) > MAX_FUNCTION:
                yield f"{_name(path)}:{node.name}"


def _too_big_classes() -> Iterator[str]:
    for path in SOURCES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ClassDef):
                methods = [one for one in node.body if isinstance(one, Defined)]
                if len(methods) > MAX_METHODS:
                    yield f"{_name(path)}:{node.name}"


def _test_of(path: Path) -> Path:
    inner = path.relative_to(BRIDGE)
    return TESTS / "unit" / inner.parent / f"test_{inner.name}"


def _untested() -> set[str]:
    """Modules that have no test file of their own."""
    return {
        _name(path)
        for path in SOURCES
        if path.name != "__init__.py" and not _test_of(path).exists()
    }


def listed(rule: str, names: set[str]) -> str:
    return "\n  ".join([f"{rule}:", *sorted(names)])


@pytest.mark.parametrize(
    ("found", "exceptions", "rule"),
    [
        (_too_long_files, LONG_FILES, f"a file has at most {MAX_FILE} lines"),
        (_too_long_functions, LONG_FUNCTIONS, f"a function has at most {MAX_FUNCTION} lines"),
        (_too_big_classes, BIG_CLASSES, f"a class has at most {MAX_METHODS} methods"),
    ],
    ids=["files", "functions", "classes"],
)
def test_rule(found: object, exceptions: Mapping[str, str], rule: str) -> None:
    assert callable(found)
    offenders = set(found())
    assert not offenders - set(exceptions), listed(rule, offenders - set(exceptions))
    stale = set(exceptions) - offenders
    assert not stale, listed("no exception needed any more", stale)


def test_names_say_something() -> None:
    vague = [_name(path) for path in EVERYTHING if path.stem in VAGUE_NAMES]
    vague += [_name(path) for path in EVERYTHING if path.parent.name in VAGUE_NAMES]
    assert vague == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        _name(path)
        for path in SOURCES
        if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(_tree(path))
    ]
    assert silent == []


_MUTABLE = ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp
_MUTATORS = {
    "append", "extend", "insert", "remove", "pop", "clear", "update", "setdefault", "add",
    "discard", "popitem", "sort", "reverse",
}  # fmt: skip


def _bound(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """Names and values of a module's or class's assignment."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
    elif isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name):
        yield node.target.id, node.value


def _written_into(tree: ast.Module) -> Iterator[str]:
    """Names of which an entry is set or that are told to change."""
    for node in ast.walk(tree):
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


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_no_module_has_mutable_state(path: Path) -> None:
    tree = _tree(path)
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree)), "global"
    tables = {
        name for node in tree.body for name, value in _bound(node) if isinstance(value, _MUTABLE)
    }
    variables = {name for name in tables if name != "__all__" and name.upper() != name}
    assert variables == set(), "a container at module level must be a CONSTANT"
    assert tables & set(_written_into(tree)) == set(), "a constant is written into"


def test_every_module_has_its_test() -> None:
    """At the same place in tests/unit, or named in COVERED_BY."""
    elsewhere = set().union(*COVERED_BY.values()) | VALUES_ONLY
    missing, stale = _untested() - elsewhere, elsewhere - _untested()
    assert not missing, listed("write a test, or say where it is tested", missing)
    assert not stale, listed("no exception needed any more", stale)
    assert [name for name in COVERED_BY if not (ROOT / name).exists()] == []


def test_unit_tests_belong_to_a_module() -> None:
    known = set(COVERED_BY) | set(CROSSING)
    strays = [
        _name(path)
        for path in _files(TESTS / "unit")
        if path.name.startswith("test_")
        and not _module_of(path).exists()
        and _name(path) not in known
    ]
    assert strays == []
    assert [name for name in CROSSING if not (ROOT / name).exists()] == []


def _module_of(test: Path) -> Path:
    inner = test.relative_to(TESTS / "unit")
    return BRIDGE / inner.parent / inner.name.removeprefix("test_")
