"""The bench's report: every measurement, as JSON and as long tables.

`tests.bench.publish` compares it with the previous run, and writes the tables and the page.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

import msgspec

from tests.bench.bench_encrypted import Added
from tests.bench.columns import COLUMNS, Figure
from tests.bench.files import Carried
from tests.bench.sessions import Size
from tests.bench.starts import Start
from tests.bench.storms import AWAY, Storm, told
from tests.bench.writes import Written

Pick = Callable[[Figure], float]
OURS = ("SQLite", "PostgreSQL", "PostgreSQL ×2", "PostgreSQL ×3")
BRIDGES = (*OURS, "SQLite before", "PostgreSQL before")
SUBJECTS = ("L", "L uvloop", "D SQLite", "D PostgreSQL", "H", *BRIDGES)


PARTS = {
    "columns": ("rows", "rounds", "rooms"),
    "sessions": ("sessions", "storms"),
    "starts": ("starts",),
    "files": ("files",),
    "encrypted": ("encrypted",),
    "writes": ("writes",),
    "crypto": ("crypto",),
}
"""The parts of a run, in order, and the fields of the report with their measurements."""


class Row(msgspec.Struct, frozen=True):
    round: int
    subject: str
    column: str
    figure: Figure


class Part(msgspec.Struct, frozen=True):
    """When a part of a run was measured, and on which commit.

    Attributes:
        load: the machine's load average before it.
        minutes: its duration.
    """

    when: str
    commit: str
    load: float
    minutes: float


class Report(msgspec.Struct):
    """One run, or the parts of several."""

    machine: dict[str, str]
    rounds: int
    rooms: int
    rows: list[Row] = []
    writes: dict[str, dict[str, Written]] = {}
    """By subject and column."""
    sessions: dict[str, list[Size]] = {}
    storms: dict[str, list[Storm]] = {}
    starts: dict[str, list[Start]] = {}
    files: list[Carried] = []
    encrypted: list[Added] = []
    crypto: dict[str, dict[str, float]] = {}
    """By checkout (empty: this one): µs of CPU to decrypt and to encrypt a message."""
    parts: dict[str, Part] = {}

    def take(self, newer: Report) -> None:
        """Replace parts by those of a newer run."""
        for part in newer.parts:
            for name in PARTS[part]:
                setattr(self, name, getattr(newer, name))
        self.parts |= newer.parts
        self.machine = newer.machine

    def encoded(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    def subjects(self) -> list[str]:
        found = {row.subject for row in self.rows}
        return [name for name in SUBJECTS if name in found]

    def columns(self) -> list[str]:
        return list(dict.fromkeys(row.column for row in self.rows))

    def values(self, subject: str, column: str, pick: Pick) -> dict[int, float]:
        """Return the figure of each round that has one."""
        return {
            row.round: pick(row.figure)
            for row in self.rows
            if (row.subject, row.column) == (subject, column)
        }

    def median(self, subject: str, column: str, pick: Pick) -> float | None:
        """Return the median of all rounds; None without any."""
        values = self.values(subject, column, pick).values()
        return statistics.median(values) if values else None

    def ratios(self, subject: str, other: str, column: str, pick: Pick) -> list[float]:
        """Return the ratios of a subject to another one, within each round."""
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
    """Limits of a figure: `must` be met, `good` is the goal; upper bounds if `most`, else lower."""

    must: float
    good: float
    most: bool = True

    def standing(self, value: float) -> str:
        """Return a value with "goal", "must" or "missed"."""

        def meets(bound: float) -> bool:
            return value <= bound if self.most else value >= bound

        verdict = "goal" if meets(self.good) else "must" if meets(self.must) else "missed"
        return f"{_short(value)}: {verdict}"


class Goal(msgspec.Struct, frozen=True):
    """The limit of a bridge's figure, or of its ratio to another subject.

    Attributes:
        to: the other subject; empty: the figure itself.
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
"""Goals of issue 9 for the columns."""


def goals(report: Report) -> Iterator[str]:
    """Yield a table of the goals and the figures of bridges with one process."""
    known = {*report.subjects(), *report.sessions, *report.starts}
    bridges = [name for name in BRIDGES if name in known and "×" not in name]
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
    """Yield the lines of issues 9 and 11 for figures that are measured once."""
    sized = {name: {one.rooms: one for one in report.sessions.get(name, ())} for name in bridges}
    started = {name: report.starts.get(name, ()) for name in bridges}
    goals: list[tuple[str, Limit, list[float | None]]] = [
        (
            "KiB a live session, of 1,000",
            Limit(40, 28),
            [sizes[1_000].kib if 1_000 in sizes else None for sizes in sized.values()],
        ),
        (
            "CPU a message, 5,000 live / 1,000 live",
            Limit(1.15, 1),
            [
                sizes[5_000].cpu / sizes[1_000].cpu if {1_000, 5_000} <= sizes.keys() else None
                for sizes in sized.values()
            ],
        ),
        (
            "MiB with 5,000 live sessions",
            Limit(250, 250),
            [sizes[5_000].memory if 5_000 in sizes else None for sizes in sized.values()],
        ),
        (
            "5,000 live and idle, % of a core",
            Limit(4, 4),
            [sizes[5_000].idle if 5_000 in sizes else None for sizes in sized.values()],
        ),
        (
            "start with 10,000 rooms, s",
            Limit(3, 3),
            [
                statistics.median([one.ready for one in starts if one.rooms == 10_000] or [0.0])
                or None
                for starts in started.values()
            ],
        ),
        *(
            (
                f"{number:,} sessions back, tokens {'lost' if lost else 'kept'}",
                Limit(1.5, 1.5),
                [against_bare(report, name, number, lost=lost) for name in bridges],
            )
            for number in (1_000, 5_000)
            for lost in (False, True)
        ),
        (
            # Set from `bench_crypto`, which shows 390 if each key is read from the database.
            "encrypted: µs to open a message",
            Limit(120, 90),
            [
                report.crypto.get("", {}).get("decrypt, SQLite") if name == "SQLite" else None
                for name in bridges
            ],
        ),
    ]
    for title, limit, values in goals:
        if any(values):
            cells = ["" if value is None else limit.standing(value) for value in values]
            yield f"| {title} | ≤ {limit.must:g} | ≤ {limit.good:g} | {' | '.join(cells)} |"


def against_bare(report: Report, name: str, number: int, *, lost: bool) -> float | None:
    """Return the ratio of a return's duration to the bare client's."""
    found = {
        who: one.whole
        for who in (name, "bare client")
        for one in report.storms.get(who, ())
        if (one.sessions, one.lost) == (number, lost)
    }
    ours, theirs = found.get(name), found.get("bare client")
    return ours / theirs if ours and theirs else None


# --- tables -------------------------------------------------------------------------------------


def tables(report: Report, source: str) -> str:
    """Return the report in Markdown."""
    lines = ["# Every figure of the bench", "", _conditions(report, source)]
    if report.rows:
        titles = [COLUMNS[key].title for key in report.columns()]
        head = f"| | {' | '.join(titles)} |"
        rule = f"|---|{'---|' * len(titles)}"
        lines += ["", "## CPU, µs a message (+ PostgreSQL's own)", "", head, rule]
        lines += [_costs(report, name) for name in report.subjects()]
        lines += ["", "## CPU, ratios", "", head, rule, *_ratios(report)]
        lines += ["", "## Rate, messages a second", "", *_rates(report)]
        if any(COLUMNS[key].paced for key in report.columns()):
            lines += ["", "## Delay, p50 / p99 ms", "", *_delays(report)]
        lines += ["", "## Lost, doubled, disordered", "", faults(report)]
    lines += ["", "## Goals", "", *goals(report)]
    if report.writes:
        lines += ["", "## Writes to PostgreSQL, a message", "", *_writes(report)]
    if report.sessions:
        lines += ["", "## Live sessions", "", *sessions_table(report)]
    if report.storms:
        title = f"## All sessions back after {AWAY:.0f} s without WebChat"
        lines += ["", title, "", *storms_table(report)]
    if report.starts:
        lines += ["", "## Start, and rooms at rest", "", *starts_table(report)]
    if report.files:
        lines += ["", "## Large files", "", *files_table(report)]
    if report.encrypted:
        lines += ["", "## An encrypted room beside a clear one, CPU µs a message", ""]
        lines += encrypted_table(report)
    if report.crypto:
        lines += ["", "## Opening and sealing alone, CPU µs a message", "", *_crypto(report)]
    return "\n".join(lines) + "\n"


def _conditions(report: Report, source: str) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    parts = "; ".join(
        f"{name} {part.when} at {part.commit}, load before {part.load:.2f}, {part.minutes:.0f} min"
        for name, part in report.parts.items()
    )
    return (
        f"Made by `make bench` from [{source}](results/{source}), which has every measurement; "
        "[what it means](../../docs/performance.md). "
        f"{report.rooms} rooms, texts of 80 characters, medians of {report.rounds} interleaved "
        "rounds with their range; ratios within a round. c→a: customer to agent, by so many in a "
        "transaction; a→c: agents as fast as they are carried; 100/s: Poisson arrivals; half: at "
        "half of the subject's own rate in tens, and of agents'. L: lean forwarder, D: the same "
        "with each message stored first, H: heisenbridge without pacing (with ngircd); L and H "
        "store nothing. ×3: three processes on one PostgreSQL, their CPU together. "
        f"Everything shared the cores of one machine: {facts}."
        + (f" Parts: {parts}." if parts else "")
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
    pairs += [(name, "L") for name in ("H", "L uvloop", "D SQLite", "D PostgreSQL")]
    pairs += [("SQLite", "D SQLite"), ("PostgreSQL", "D PostgreSQL")]
    pairs += [(name, f"{name} before") for name in BRIDGES]
    for name, other in pairs:
        if name in known and other in known:
            cells = [
                _spread(report.ratios(name, other, column, cpu)) for column in report.columns()
            ]
            yield f"| {name} / {other} | {' | '.join(cells)} |"


def _rates(report: Report) -> Iterator[str]:
    columns = [key for key in report.columns() if not COLUMNS[key].paced]
    yield f"| | {' | '.join(COLUMNS[key].title for key in columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name in report.subjects():
        cells = []
        for column in columns:
            found = report.median(name, column, rate)
            by = report.ratios(name, "H", column, rate) if name in BRIDGES else []
            more = f" ({statistics.median(by):.2f} H)" if by else ""
            cells.append("" if found is None else f"{found:.0f}{more}")
        yield f"| {name} | {' | '.join(cells)} |"


def _delays(report: Report) -> Iterator[str]:
    columns = [key for key in report.columns() if COLUMNS[key].paced]
    yield f"| | {' | '.join(COLUMNS[key].title for key in columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name in report.subjects():
        cells = []
        for column in columns:
            middle, tail = (report.median(name, column, pick) for pick in (p50, p99))
            by = report.ratios(name, "L", column, p50) if name in BRIDGES else []
            more = f" ({statistics.median(by):.1f} L)" if by else ""
            cells.append("" if middle is None else f"{middle:.1f}{more} / {tail:.0f}")
        yield f"| {name} | {' | '.join(cells)} |"


def faults(report: Report) -> str:
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


def sessions_table(report: Report) -> Iterator[str]:
    yield (
        "| | live | KiB each | MiB in all | ms CPU to open | idle, % of a core "
        "| c→a, 10: µs a message |"
    )
    yield "|---|---|---|---|---|---|---|"
    for name, sizes in report.sessions.items():
        for size in sizes:
            yield (
                f"| {name} | {size.rooms:,} | {size.kib:.1f} | {size.memory:.0f} "
                f"| {size.opening:.1f} | {size.idle:.1f} | {size.cpu:.0f} |"
            )


def starts_table(report: Report) -> Iterator[str]:
    yield "| | rooms at rest | ready after, s | s CPU | MiB | bytes of memory a room |"
    yield "|---|---|---|---|---|---|"
    for name in report.starts:
        sizes = by_rooms(report, name)
        for rooms, one in sizes.items():
            over = one.memory - sizes[0].memory
            # Two processes without rooms may differ by this much.
            more = "" if not rooms else "≈ 0" if over < 0.3 else f"{over * 2**20 / rooms:.0f}"
            cells = f"{one.ready:.2f} | {one.cpu:.2f} | {one.memory:.1f} | {more}"
            yield f"| {name} | {rooms:,} | {cells} |"


def by_rooms(report: Report, name: str) -> dict[int, Start]:
    """Return the medians of the starts by number of rooms."""
    starts = report.starts[name]
    return {
        rooms: Start(
            rooms,
            *(
                statistics.median(getattr(one, field) for one in starts if one.rooms == rooms)
                for field in ("ready", "cpu", "memory")
            ),
        )
        for rooms in dict.fromkeys(one.rooms for one in starts)
    }


def files_table(report: Report) -> Iterator[str]:
    yield "| | MB | s | s CPU | memory at most, over before, MiB |"
    yield "|---|---|---|---|---|"
    for one in report.files:
        way = "customer → agent" if one.to_agent else "agent → customer"
        yield (
            f"| {way} | {one.megabytes} | {one.seconds:.2f} | {one.cpu:.2f} | {one.memory:+.1f} |"
        )


def encrypted_table(report: Report) -> Iterator[str]:
    yield "| | clear | encrypted | added (quartiles) | of it vodozemac | ours |"
    yield "|---|---|---|---|---|---|"
    for one in report.encrypted:
        yield (
            f"| {one.way} | {one.clear:.0f} | {one.encrypted:.0f} | {one.added:+.0f} "
            f"({one.least:+.0f} to {one.most:+.0f}) | {one.cipher:.0f} "
            f"| {one.added - one.cipher:+.0f} |"
        )


def storms_table(report: Report) -> Iterator[str]:
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
    """Return the median, and the range if there are several."""
    if not values:
        return ""
    middle = statistics.median(values)
    if len(values) == 1:
        return _short(middle)
    return f"{_short(middle)} ({_short(min(values))}–{_short(max(values))})"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"
