"""The bench's report: every measurement as JSON, and the tables made from it.

As a program it makes `results.md` anew from a JSON file: `python -m tests.bench.report FILE`.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from tests.bench.columns import COLUMNS, Figure
from tests.bench.sessions import Size
from tests.bench.storms import AWAY, Storm, told
from tests.bench.writes import Written

TABLES = Path(__file__).with_name("results.md")
Pick = Callable[[Figure], float]
BRIDGES = ("SQLite", "PostgreSQL", "SQLite before", "PostgreSQL before")
SUBJECTS = ("L", "L uvloop", "H", *BRIDGES)


class Row(msgspec.Struct, frozen=True):
    """One measurement."""

    round: int
    subject: str
    column: str
    figure: Figure


class Report(msgspec.Struct):
    """One run."""

    machine: dict[str, str]
    rounds: int
    rooms: int
    rows: list[Row] = []
    writes: dict[str, dict[str, Written]] = {}
    """By subject and column."""
    sessions: dict[str, list[Size]] = {}
    storms: dict[str, list[Storm]] = {}
    crypto: dict[str, dict[str, float]] = {}
    """By checkout (empty: this one): µs of CPU to open and to seal a message."""

    def encoded(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    def subjects(self) -> list[str]:
        found = {row.subject for row in self.rows}
        return [name for name in SUBJECTS if name in found]

    def columns(self) -> list[str]:
        return list(dict.fromkeys(row.column for row in self.rows))

    def values(self, subject: str, column: str, pick: Pick) -> dict[int, float]:
        """Of each round that has one."""
        return {
            row.round: pick(row.figure)
            for row in self.rows
            if (row.subject, row.column) == (subject, column)
        }

    def ratios(self, subject: str, other: str, column: str, pick: Pick) -> list[float]:
        """A subject by another one, within each round."""
        ours, theirs = self.values(subject, column, pick), self.values(other, column, pick)
        return [ours[number] / theirs[number] for number in ours if theirs.get(number)]


def cpu(figure: Figure) -> float:
    return figure.cpu


def database_cpu(figure: Figure) -> float:
    return figure.database_cpu or 0.0


def rate(figure: Figure) -> float:
    return figure.rate


def p50(figure: Figure) -> float:
    return figure.p50


def p99(figure: Figure) -> float:
    return figure.p99


# --- goals --------------------------------------------------------------------------------------


class Limit(msgspec.Struct, frozen=True):
    """What a figure has to be at most, or at least, and what it should be."""

    must: float
    good: float
    most: bool = True

    def standing(self, value: float) -> str:
        """A value, and how it stands to the limit."""

        def meets(bound: float) -> bool:
            return value <= bound if self.most else value >= bound

        verdict = "goal" if meets(self.good) else "must" if meets(self.must) else "missed"
        return f"{_short(value)}: {verdict}"


class Goal(msgspec.Struct, frozen=True):
    """What a bridge's figure has to be: a ratio to another subject, or the figure itself.

    Attributes:
        to: the other subject; empty: none.
    """

    title: str
    columns: tuple[str, ...]
    pick: Pick
    to: str
    limit: Limit


GOALS = (
    Goal("CPU in hundreds", ("in100",), cpu, "L", Limit(4, 3)),
    Goal("CPU in tens", ("in10",), cpu, "L", Limit(4, 3)),
    Goal("CPU in ones", ("in1",), cpu, "H", Limit(1.3, 1.0)),
    Goal("CPU agent → customer", ("out",), cpu, "H", Limit(1.0, 0.7)),
    Goal("CPU at 100/s", ("in_paced", "out_paced"), cpu, "H", Limit(1.2, 1.0)),
    Goal("rate in batches", ("in10", "in100"), rate, "H", Limit(1.5, 2.0, most=False)),
    Goal("p50 at 100/s", ("in_paced", "out_paced"), p50, "L", Limit(3, 2)),
    Goal("p99 at 100/s, ms", ("in_paced", "out_paced"), p99, "", Limit(40, 25)),
)
"""Issue 9's, of the columns."""


def _goals(report: Report) -> Iterator[str]:
    bridges = [name for name in BRIDGES if name in report.subjects()]
    yield f"| | must | goal | {' | '.join(bridges)} |"
    yield f"|---|---|---|{'---|' * len(bridges)}"
    for goal in GOALS:
        for column in goal.columns:
            cells = [_standing(report, goal, column, name) for name in bridges]
            if any(cells):
                sign = "≤" if goal.limit.most else "≥"
                bounds = [
                    f"{sign} {bound:g} {goal.to}".rstrip()
                    for bound in (goal.limit.must, goal.limit.good)
                ]
                title = f"{goal.title}: {COLUMNS[column].title}"
                yield f"| {' | '.join([title, *bounds, *cells])} |"
    yield from _other_goals(report, bridges)


def _standing(report: Report, goal: Goal, column: str, name: str) -> str:
    if goal.to:
        values = report.ratios(name, goal.to, column, goal.pick)
    else:
        values = list(report.values(name, column, goal.pick).values())
    if not values:
        return ""
    return goal.limit.standing(statistics.median(values))


def _other_goals(report: Report, bridges: Sequence[str]) -> Iterator[str]:
    """Those of sessions and of encryption, which are measured once."""
    memory, among, opening = Limit(40, 28), Limit(1.15, 1), Limit(120, 90)
    kib, spread, added = [], [], []
    for name in bridges:
        sizes = {size.rooms: size for size in report.sessions.get(name, ())}
        kib.append(memory.standing(sizes[1_000].kib) if 1_000 in sizes else "")
        both = 1_500 in sizes and 2_600 in sizes
        spread.append(among.standing(sizes[2_600].cpu / sizes[1_500].cpu) if both else "")
        costs = report.crypto.get("before" if name.endswith("before") else "", {})
        cost = costs.get("decrypt SQLite") if name.startswith("SQLite") else None
        added.append("" if cost is None else opening.standing(cost))
    for title, limit, cells in (
        ("KiB a live session, of 1,000", memory, kib),
        ("CPU a message, 2,600 live / 1,500 live", among, spread),
        ("encrypted: added µs of a message in", opening, added),
    ):
        if any(cells):
            yield f"| {title} | ≤ {limit.must:g} | ≤ {limit.good:g} | {' | '.join(cells)} |"


# --- tables -------------------------------------------------------------------------------------


def tables(report: Report, source: str) -> str:
    """The report in Markdown."""
    lines = ["# What a message costs", "", _conditions(report, source)]
    if report.rows:
        titles = [COLUMNS[key].title for key in report.columns()]
        head = f"| | {' | '.join(titles)} |"
        rule = f"|---|{'---|' * len(titles)}"
        lines += ["", "## CPU, µs a message (+ PostgreSQL's own)", "", head, rule]
        lines += [_costs(report, name) for name in report.subjects()]
        lines += ["", "## CPU, ratios", "", head, rule, *_ratios(report)]
        lines += ["", "## Rate, messages a second", "", *_rates(report)]
        if any(COLUMNS[key].rate for key in report.columns()):
            lines += ["", "## Delay at 100/s, p50 / p99 ms", "", *_delays(report)]
        lines += ["", "## Goals", "", *_goals(report)]
        lines += ["", "## Lost, doubled, disordered", "", _faults(report)]
    if report.writes:
        lines += ["", "## Writes to PostgreSQL, a message", "", *_writes(report)]
    if report.sessions:
        lines += ["", "## Live sessions", "", *_sessions(report)]
    if report.storms:
        title = f"## All sessions back after {AWAY:.0f} s without WebChat"
        lines += ["", title, "", *_storms(report)]
    if report.crypto:
        lines += ["", "## Encryption, CPU µs a message", "", *_crypto(report)]
    return "\n".join(lines) + "\n"


def _conditions(report: Report, source: str) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    return (
        f"Made by `make bench` from [{source}](results/{source}), which has every measurement. "
        f"{report.rooms} rooms, texts of 80 characters, medians of {report.rounds} interleaved "
        "rounds with their range; ratios within a round. c→a: customer to agent, by so many in a "
        "transaction; a→c: agents as fast as they are carried; 100/s: Poisson arrivals. L: lean "
        "forwarder, H: heisenbridge without pacing (with ngircd); neither stores anything. "
        f"Everything shared the cores of one machine: {facts}."
    )


def _costs(report: Report, name: str) -> str:
    cells = []
    for column in report.columns():
        own = list(report.values(name, column, cpu).values())
        theirs = list(report.values(name, column, database_cpu).values())
        more = f" +{statistics.median(theirs):.0f}" if any(theirs) else ""
        cells.append(f"{_spread(own)}{more}")
    return f"| {name} | {' | '.join(cells)} |"


def _ratios(report: Report) -> Iterator[str]:
    known = report.subjects()
    pairs = [(name, other) for other in ("L", "L uvloop", "H") for name in known if name in BRIDGES]
    pairs += [("H", "L"), ("L uvloop", "L")]
    pairs += [(name, f"{name} before") for name in BRIDGES]
    for name, other in pairs:
        if name in known and other in known:
            cells = [
                _spread(report.ratios(name, other, column, cpu)) for column in report.columns()
            ]
            yield f"| {name} / {other} | {' | '.join(cells)} |"


def _rates(report: Report) -> Iterator[str]:
    columns = [key for key in report.columns() if not COLUMNS[key].rate]
    yield f"| | {' | '.join(COLUMNS[key].title for key in columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name in report.subjects():
        cells = []
        for column in columns:
            found = statistics.median(report.values(name, column, rate).values())
            by = report.ratios(name, "H", column, rate) if name in BRIDGES else []
            cells.append(f"{found:.0f}" + (f" ({statistics.median(by):.2f} H)" if by else ""))
        yield f"| {name} | {' | '.join(cells)} |"


def _delays(report: Report) -> Iterator[str]:
    columns = [key for key in report.columns() if COLUMNS[key].rate]
    yield f"| | {' | '.join(COLUMNS[key].title for key in columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name in report.subjects():
        cells = []
        for column in columns:
            middle = statistics.median(report.values(name, column, p50).values())
            tail = statistics.median(report.values(name, column, p99).values())
            by = report.ratios(name, "L", column, p50) if name in BRIDGES else []
            more = f" ({statistics.median(by):.1f} L)" if by else ""
            cells.append(f"{middle:.1f}{more} / {tail:.0f}")
        yield f"| {name} | {' | '.join(cells)} |"


def _faults(report: Report) -> str:
    wrong = []
    for name in report.subjects():
        figures = [row.figure for row in report.rows if row.subject == name]
        lost, doubled = sum(one.lost for one in figures), sum(one.doubled for one in figures)
        moved, astray = sum(one.disordered for one in figures), sum(one.astray for one in figures)
        if lost or doubled or moved or astray:
            said = f"{name}: {lost} lost, {doubled} doubled, {moved} disordered"
            wrong.append(said + (f", {astray} in another room" if astray else ""))
    total = sum(row.figure.messages for row in report.rows)
    if not wrong:
        return f"None, of {total:,} messages."
    return (
        f"Of {total:,} messages: {'; '.join(wrong)}; nothing of all others. (H's speakers have "
        "a connection each and may overtake one another within ngircd.)"
    )


def _writes(report: Report) -> Iterator[str]:
    yield "| | | statements | commits | WAL, bytes | rows |"
    yield "|---|---|---|---|---|---|"
    for name, columns in report.writes.items():
        for column, written in columns.items():
            rows = ", ".join(f"{kind} {value:.2g}" for kind, value in written.rows.items())
            yield (
                f"| {name} | {COLUMNS[column].title} | {written.statements:.2g} "
                f"| {written.commits:.2g} | {written.log_bytes:.0f} | {rows} |"
            )


def _sessions(report: Report) -> Iterator[str]:
    yield "| | live | KiB each | ms CPU to open | idle, % of a core | c→a, 10: µs a message |"
    yield "|---|---|---|---|---|---|"
    for name, sizes in report.sessions.items():
        for size in sizes:
            yield (
                f"| {name} | {size.rooms:,} | {size.kib:.1f} | {size.opening:.1f} "
                f"| {size.idle:.1f} | {size.cpu:.0f} |"
            )


def _storms(report: Report) -> Iterator[str]:
    yield "| sessions, tokens | | half back, s | all back, s | ms CPU each | warnings |"
    yield "|---|---|---|---|---|---|"
    bare = {(one.sessions, one.lost): one for one in report.storms.get("bare client", ())}
    for (sessions, lost), base in bare.items():
        for name, storms in report.storms.items():
            for one in storms:
                if (one.sessions, one.lost) == (sessions, lost):
                    more = ""
                    if one is not base and one.whole and base.whole:
                        more = f" ({one.whole / base.whole:.2f} × bare)"
                    yield (
                        f"| {sessions:,}, {'lost' if lost else 'kept'} | {name} | {told(one.half)} "
                        f"| {told(one.whole)}{more} | {one.cpu:.1f} | {one.warnings} |"
                    )


def _crypto(report: Report) -> Iterator[str]:
    kinds = list(next(iter(report.crypto.values())))
    yield f"| | {' | '.join(kinds)} |"
    yield f"|---|{'---|' * len(kinds)}"
    for checkout, costs in report.crypto.items():
        cells = [f"{costs[kind]:.0f}" if kind in costs else "" for kind in kinds]
        yield f"| {checkout or 'now'} | {' | '.join(cells)} |"


def _spread(values: Sequence[float]) -> str:
    """Median, and the range where there are several."""
    if not values:
        return ""
    middle = statistics.median(values)
    if len(values) == 1:
        return _short(middle)
    return f"{_short(middle)} ({_short(min(values))}–{_short(max(values))})"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def main() -> None:
    source = Path(sys.argv[1])
    report = msgspec.json.decode(source.read_bytes(), type=Report)
    TABLES.write_text(tables(report, source.name), encoding="utf-8")


if __name__ == "__main__":
    main()
