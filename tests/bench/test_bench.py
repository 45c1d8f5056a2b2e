"""Tests of the bench: lost or disordered messages are counted, tables and comparisons are right."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from tests.bench.bench_bridge import crypto
from tests.bench.bench_enterprises import Slice, ratio, verdict
from tests.bench.columns import COLUMNS, Figure, measure
from tests.bench.publish import IMAGES, PAGE, RESULTS, image_python, publish, read, sections, worse
from tests.bench.report import Part, Report, Row, cpu, tables
from tests.bench.sessions import Size
from tests.bench.soak import Look, Soak
from tests.bench.storms import Storm
from tests.bench.stubs import Faults, Ledger, wording
from tests.bench.subjects import ROOT, bridge, lean_forwarder

ROOMS = 3


def test_a_ledger_counts_lost_doubled_disordered_and_astray_texts() -> None:
    ledger = Ledger()
    for room, number in [(0, 0), (1, 4), (1, 1), (0, 0), (1, 3)]:
        ledger.note(room, f"{wording('run', number)}")
    ledger.note(2, f"{wording('run', 5)}\n{wording('other', 1)}")
    expected = Faults(lost=1, doubled=1, disordered=2, astray=1)
    assert ledger.faults("run", [0, 1, 2, 0, 1, 2]) == expected


def test_the_verdict_on_a_neighbours_cost_depends_on_the_interval() -> None:
    quiet, noisy = (Slice({"ms": [size * n for n in range(100)]}, 0.1) for size in (1, 1.5))
    assert ratio([((quiet, quiet), (noisy,))] * 4, "ms", 99) == pytest.approx((1.5,) * 3)
    value, low, high = ratio([((quiet,), (noisy,)), ((noisy,), (quiet,))] * 2, "ms", 50)
    assert value == pytest.approx(1)
    assert low < 0.95
    assert high > 1.05
    assert verdict(low, high, 4) == "open"
    assert [verdict(0.9, 1.15, 4), verdict(1.25, 1.5, 4)] == ["holds", "fails"]
    assert verdict(1, 1, 1) == "open", "of one round there is no interval"


def test_tables_have_medians_ratios_within_a_round_and_goals() -> None:
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


def test_a_storm_that_exceeds_its_timeout_can_be_read_back() -> None:
    report = Report({"commit": "abc"}, rounds=1, rooms=ROOMS)
    report.storms = {
        "bare client": [Storm(50, lost=False, half=1.0, whole=2.0, cpu=3.0)],
        "SQLite": [Storm(50, lost=False, half=1.5, whole=None, cpu=4.0)],
    }
    again = msgspec.json.decode(report.encoded(), type=Report)
    assert again == report
    assert "| 50, kept | SQLite | 1.5 | > 300 | 4.0 | 0 |" in tables(again, "abc.json")


def made_up(costs: Mapping[str, float], *, rate: float = 100, kib: float = 30) -> Report:
    """Return a report with one round of one column, and one size of live sessions on SQLite."""
    machine = {"commit": "abc", "when": "2026-11-27", "python": f"{image_python()}.1"}
    report = Report(machine, rounds=1, rooms=ROOMS)
    for name, cost in costs.items():
        carried = rate if name == "SQLite" else 100
        figure = Figure(100, cost, None, carried, 0, 0, 0, 0, 0, 0, 0)
        report.rows.append(Row(1, name, "in10", figure))
    report.sessions = {"SQLite": [Size(1_000, kib, 1, 1, 1)]}
    return report


BEFORE = {"L": 10.0, "H": 50.0, "SQLite": 30.0}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (made_up(BEFORE), []),
        (made_up(BEFORE | {"SQLite": 35.0}, rate=85, kib=35), []),
        (
            made_up(BEFORE | {"SQLite": 37.0}),
            ["CPU, c→a, 10, SQLite: 3 × L before, 3.7 × L now"],
        ),
        # The other program has changed.
        (made_up(BEFORE | {"L": 5.0}), []),
        (
            made_up(BEFORE, rate=80),
            ["rate, c→a, 10, SQLite: 1 × L before, 0.8 × L now"],
        ),
        (
            made_up(BEFORE, kib=37),
            ["KiB a session of 1,000, SQLite: 30 before, 37 now"],
        ),
        # A figure that was not measured before cannot have got worse.
        (made_up(BEFORE | {"PostgreSQL": 500.0}), []),
    ],
)
def test_a_ratio_that_got_worse_by_more_than_a_fifth_is_named(
    now: Report, expected: list[str]
) -> None:
    assert worse(made_up(BEFORE), now) == expected


def test_a_run_with_worse_ratios_is_published_only_if_it_is_accepted(tmp_path: Path) -> None:
    page, before, said = tmp_path / PAGE, made_up(BEFORE), list[str]()
    for place in (RESULTS, IMAGES):
        (tmp_path / place).mkdir(parents=True)
    page.write_text("# Fast\n\n<!-- figures: costs -->\nold\n<!-- end -->\n", encoding="utf-8")
    slow = made_up(BEFORE | {"SQLite": 40.0})
    assert publish(slow, before, accept=False, say=said.append, root=tmp_path) == 1
    assert said[0] == "CPU, c→a, 10, SQLite: 3 × L before, 4 × L now"
    assert "old" in page.read_text(encoding="utf-8")
    assert publish(slow, before, accept=True, say=said.append, root=tmp_path) == 0
    text = page.read_text(encoding="utf-8")
    assert "| SQLite | 40 |" in text
    assert "old" not in text
    chart = ElementTree.parse(tmp_path / IMAGES / "performance-costs.svg").getroot()  # noqa: S314
    assert chart.get("role") == "img"
    assert "SQLite" in [found.text for found in chart.iter("{http://www.w3.org/2000/svg}text")]
    # The published run is the baseline of the next comparison; publishing it changes no page.
    again = read(tmp_path / RESULTS / "abc.json")
    assert worse(again, slow) == []
    assert publish(again, slow, accept=False, say=said.append, root=tmp_path) == 0
    assert page.read_text(encoding="utf-8") == text
    # Operators run the image's Python, and another one shifts all ratios.
    again.machine["python"] = "3.9.1"
    assert publish(again, slow, accept=False, say=said.append, root=tmp_path) == 1
    assert said[-2].startswith("measured on Python 3.9.1, ")


def test_parts_of_a_newer_run_replace_those_of_a_report() -> None:
    first, second = made_up(BEFORE), made_up(BEFORE | {"SQLite": 60.0}, kib=50)
    part = Part("2026-11-27", "abc", load=0.1, minutes=1)
    later = msgspec.structs.replace(part, minutes=2)
    first.parts = {"columns": part, "sessions": part}
    second.parts = {"sessions": later}
    first.take(second)
    assert first.sessions["SQLite"][0].kib == 50
    assert first.values("SQLite", "in10", cpu) == {1: 30.0}
    assert first.parts == {"columns": part, "sessions": later}
    first.machine = first.machine | {"commit": "def"}
    first.parts["sessions"] = msgspec.structs.replace(later, commit="def")
    (told,) = sections(first)["run"]
    assert told.startswith("Commit `def` (columns at `abc`), ")


def test_the_output_of_bench_crypto_is_parsed() -> None:
    cases = [
        f"{way}, {rows}" for rows in ("bare", "memory", "SQLite") for way in ("decrypt", "encrypt")
    ]
    assert list(crypto(ROOT, 2)) == cases


def test_memory_that_grows_in_a_soak_is_noticed() -> None:
    def soak(*memory: float) -> Soak:
        looks = [Look(number + 1, one, 5, 100, 0) for number, one in enumerate(memory)]
        return Soak("SQLite", 1, looks)

    assert soak(90, 100, 101, 103).flat()
    assert soak(10, 20, 22, 23).flat()  # within the usual variation of a process
    assert not soak(100, 101, 104, 112).flat()


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["L", "D", "bridge"])
async def test_a_subject_carries_both_ways(name: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/bridge.db"
    if name == "bridge":
        subject = bridge(ROOMS, tmp_path, url)
    else:
        subject = lean_forwarder(ROOMS, tmp_path, "asyncio", url if name == "D" else "")
    async with subject as opened:
        for key in ("in10", "out", "in_paced"):
            column = replace(COLUMNS[key], messages=30)
            figure = await measure(opened, column, key.replace("_", ""), ROOMS, None)
            assert (figure.lost, figure.doubled, figure.disordered, figure.astray) == (0, 0, 0, 0)
            assert figure.cpu > 0
    if name == "D":
        with closing(sqlite3.connect(tmp_path / "bridge.db")) as database:
            assert database.execute("SELECT count(*) FROM journal").fetchone() == (90,)
