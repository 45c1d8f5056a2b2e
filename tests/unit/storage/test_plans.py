"""Every statement finds its rows by an index, on both engines: none gets slower with the years."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Collection, Iterator, Sequence

import pytest

from bridge import storage
from bridge.storage import erasing, postgres, sql
from bridge.storage.migrate import migrate
from bridge.storage.postgres import PLANNED_ONCE
from bridge.storage.query import Dialect, Engine, Part, Query, Statement, as_one, same
from bridge.storage.sqlstore import engine_for
from tests.unit.storage.conftest import FixedClock

WHOLE_TABLES = {
    "COUNT_SECRETS", "DROP_ALL_SECRETS", "ENDS", "FACTS", "FACTS_NAMING", "PING", "PRUNES accounts",
    "PRUNES audit", "PRUNES ghosts", "SECRET_NAMES", "SECRETS_NAMING", "SIZE", "UNNAME", "WRITING",
}  # fmt: skip
"""Rare statements that read a whole table (or one of a few rows, or either end of one)."""
BY_KEY = {
    "SAVE_ROOMS", "END_INPUTS", "SETTLE_EFFECTS", "MARK_ATTEMPTED", "commit, whole, 1",
    "commit, whole, 2", "commit, ends, 1", "commit, ends, 2",
}  # fmt: skip
"""Statements planned once, maybe while the tables are empty: they must find rows by their key."""
WHOLE = (
    sql.INSERT_ROOMS, sql.SAVE_ROOMS, sql.SAVE_CHATS, sql.END_INPUTS, sql.SETTLE_EFFECTS,
    sql.SAVE_ANCHORS, sql.INSERT_ENTRIES, sql.INSERT_WAITING,
)  # fmt: skip
"""Statements of which a commit may consist."""
PARTS = {"journal_open", "journal_dead", "rooms_live", "rooms_deadline"}
"""Partial indexes over a few rows, which may be read completely."""

_SCAN = re.compile(
    r"SCAN (?:journal|rooms|chats|anchors|secrets|facts|accounts|ghosts|changes)\b(.*)"
)
_INDEX = re.compile(r"(?:Index (?:Only )?Scan using|Bitmap Index Scan on) (\w+)")


def every_statement() -> Iterator[tuple[str, Statement]]:
    more = ((name, one) for name, one in vars(erasing).items() if one is not vars(sql).get(name))
    for name, value in (*vars(sql).items(), *more):
        if isinstance(value, Statement):
            yield name, value
            if value.usual:
                yield f"{name}, usual", Statement(value.usual, "SELECT 1")
        elif isinstance(value, dict | list):  # by kind
            for kind, one in dict(value if name != "DROPS" else enumerate(value)).items():
                if isinstance(one, Statement):
                    yield f"{name} {kind}", one
    for name, statements in (("whole", (*WHOLE, postgres._MARK)), ("ends", WHOLE[3:5])):
        for rows in (1, 2):
            parts = []
            for one in statements:
                row = (None,) * len(set(re.findall(r"\?\d+", one.sqlite)))
                parts.append(Part(one, [row] * rows, strict="RETURNING" in one.postgres))
            yield f"commit, {name}, {rows}", Statement("SELECT 1", as_one(parts)[0])


async def explained(engine: Engine, name: str, statement: Statement) -> list[str]:
    """Return the lines of the plan for any parameters."""
    if engine.dialect is Dialect.SQLITE:
        asked = f"EXPLAIN QUERY PLAN {statement.sqlite}"
        nothing = (None,) * len(set(re.findall(r"\?\d+", asked)))
        return [str(row[-1]) for row in await engine.read(Query(same(asked), nothing))]
    unknown = ["NULL"] * len(set(re.findall(r"\$\d+", statement.postgres)))
    plan = re.sub(r"\W", "_", name).lower()
    # The writer's settings; otherwise an empty table would be read whole in spite of its indexes.
    settings = [f"SET {name} = {value}" for name, value in PLANNED_ONCE.items()]
    for prepared in (*settings, f"PREPARE {plan} AS {statement.postgres}"):
        await engine.read(Query(Statement("", prepared)))
    executed = f"EXPLAIN EXECUTE {plan}" + f"({', '.join(unknown)})" * bool(unknown)
    return [str(row[0]) for row in await engine.read(Query(Statement("", executed)))]


def whole_tables(dialect: Dialect, plan: Sequence[str], parts: Collection[str]) -> list[str]:
    """Return the lines that read every row; `parts` are indexes that may be read completely."""
    found = []
    for at, line in enumerate(plan):
        if dialect is Dialect.SQLITE:
            scan = _SCAN.match(line)
            index = re.search(r"INDEX (\w+)", scan[1]) if scan else None
            bad = scan is not None and (index is None or index[1] not in parts)
        else:
            index = _INDEX.search(line)
            bounded = at + 1 < len(plan) and "Index Cond" in plan[at + 1]
            bad = "Seq Scan on" in line or (
                index is not None and index[1] not in parts and not bounded
            )
        if bad:
            found.append(line)
    return found


@pytest.mark.asyncio
async def test_no_statement_reads_a_whole_table(url: str) -> None:
    engine = engine_for(url, FixedClock())
    await engine.open()
    try:
        await migrate(engine, 1)
        slow = {}
        for name, statement in every_statement():
            plan = await explained(engine, name, statement)
            if whole_tables(engine.dialect, plan, () if name in BY_KEY else PARTS):
                slow[name] = plan
    finally:
        await engine.close()
    assert set(slow) <= WHOLE_TABLES, slow
    assert "FACTS" in slow, "the test sees what it is there for"


def statements_in(value: object) -> Iterator[Statement]:
    if isinstance(value, Statement):
        yield value
    elif isinstance(value, dict):
        yield from statements_in(tuple(value.values()))
    elif isinstance(value, tuple):
        for one in value:
            yield from statements_in(one)


def test_parameters_of_sqlite_have_numbers_and_no_names() -> None:
    """From Python 3.14 on, named placeholders accept no sequence of values."""
    texts = [
        text
        for module in pkgutil.iter_modules(storage.__path__, "bridge.storage.")
        for value in vars(importlib.import_module(module.name)).values()
        for one in statements_in(value)
        for text in (one.sqlite, one.usual)
    ]
    assert any("?1" in text for text in texts)
    assert [text for text in texts if re.search(r"\$\d", text)] == []
