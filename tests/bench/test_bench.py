"""The bench notices what goes wrong, and its tables say what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.bench.columns import COLUMNS, Figure, measure
from tests.bench.report import Report, Row, tables
from tests.bench.storms import Storm
from tests.bench.stubs import Faults, Ledger, wording
from tests.bench.subjects import bridge, lean_forwarder

ROOMS = 3


def test_a_ledger_knows_what_was_lost_or_came_twice_or_too_late() -> None:
    ledger = Ledger()
    for room, number in [(0, 0), (1, 4), (1, 1), (0, 0), (1, 3)]:
        ledger.note(room, f"{wording('run', number)}")
    ledger.note(2, f"{wording('run', 5)}\n{wording('other', 1)}")
    expected = Faults(lost=1, doubled=1, disordered=2, astray=1)
    assert ledger.faults("run", [0, 1, 2, 0, 1, 2]) == expected


def test_a_table_has_medians_ratios_within_a_round_and_the_goals() -> None:
    def figure(cpu: float, lost: int = 0) -> Figure:
        return Figure(100, cpu, None, 10, 0, 0, 0, lost, 0, 0, 0)

    costs = {"L": [100, 10, 30], "PostgreSQL": [350, 37, 99]}
    report = Report({"commit": "abc"}, rounds=3, rooms=ROOMS)
    for name, values in costs.items():
        report.rows += [Row(number, name, "in10", figure(cpu)) for number, cpu in enumerate(values)]
    text = tables(report, "abc.json")
    assert "| L | 30.0 (10.0–100) |" in text
    assert "| PostgreSQL / L | 3.5 (3.3–3.7) |" in text
    assert "| CPU in tens: c→a, 10 | ≤ 4 L | ≤ 3 L | 3.5: must |" in text
    assert "None, of 600 messages." in text
    report.rows.append(Row(4, "PostgreSQL", "in10", figure(1, lost=2)))
    assert "PostgreSQL: 2 lost" in tables(report, "abc.json")


def test_a_storm_without_an_end_can_be_read_back() -> None:
    report = Report({"commit": "abc"}, rounds=1, rooms=ROOMS)
    report.storms = {
        "bare client": [Storm(50, lost=False, half=1.0, whole=2.0, cpu=3.0)],
        "SQLite": [Storm(50, lost=False, half=1.5, whole=None, cpu=4.0)],
    }
    again = msgspec.json.decode(report.encoded(), type=Report)
    assert again == report
    assert "| 50, kept | SQLite | 1.5 | > 300 | 4.0 | 0 |" in tables(again, "abc.json")


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["L", "bridge"])
async def test_a_subject_carries_both_ways(name: str, tmp_path: Path) -> None:
    if name == "L":
        subject = lean_forwarder(ROOMS, tmp_path, "asyncio")
    else:
        subject = bridge(ROOMS, tmp_path, f"sqlite:///{tmp_path}/bridge.db")
    async with subject as opened:
        for key in ("in10", "out", "in_paced"):
            column = replace(COLUMNS[key], messages=30)
            figure = await measure(opened, column, key.replace("_", ""), ROOMS, None)
            assert (figure.lost, figure.doubled, figure.disordered, figure.astray) == (0, 0, 0, 0)
            assert figure.cpu > 0
