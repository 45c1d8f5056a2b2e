"""Publish a complete run: compare it with the last one in git, then write the tables and the page.

`python -m tests.bench.publish FILE…` does so with the JSON of one or more runs; of several, later
parts replace earlier ones. It lists each ratio that got worse by more than a fifth, and a Python
that is not the image's, and then does not publish the run without `--accept`.

A ratio is a figure of the bridge divided by another program's in the same round, or a figure that
does not depend on the machine's speed, such as memory. A figure with a ratio to both the lean
forwarder and heisenbridge must be worse in both: else one of these two has changed.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.bench import soak
from tests.bench.charts import Bar, Group, chart
from tests.bench.columns import COLUMNS
from tests.bench.report import (
    OURS,
    PARTS,
    Pick,
    Report,
    against_bare,
    cpu,
    database_cpu,
    encrypted_table,
    faults,
    files_table,
    goals,
    p50,
    p99,
    rate,
    sessions_table,
    starts_table,
    storms_table,
    tables,
)
from tests.bench.subjects import ROOT

RESULTS, TABLES = Path("tests/bench/results"), Path("tests/bench/results.md")
PAGE, IMAGES = Path("docs/performance.md"), Path("docs/images")
"""Paths relative to a checkout."""
WORSE = 1.2
"""Maximum factor by which a ratio may grow from run to run."""
Say = Callable[[str], None]


def read(path: Path) -> Report:
    """Read a run's JSON."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def publish(
    report: Report, before: Report | None, *, accept: bool, say: Say, root: Path = ROOT
) -> int:
    """Compare a run with the one before, and write tables, charts and page; returns an exit code.

    Args:
        accept: publish even if a ratio got worse.
        root: the checkout to write into.
    """
    lines = worse(before, report) if before is not None else []
    ours, images = report.machine["python"], image_python()
    if not ours.startswith(f"{images}."):
        lines.append(f"measured on Python {ours}, but operators run the image's {images}")
    for line in lines:
        say(line)
    if lines and not accept:
        say("nothing published (--accept)")
        return 1
    source = RESULTS / f"{_commit(report)}.json"
    (root / source).write_bytes(report.encoded())
    (root / TABLES).write_text(tables(report, source.name), encoding="utf-8")
    for name, (title, told, groups) in charts(report).items():
        if groups:
            drawn = chart(title, told, groups)
            (root / IMAGES / f"performance-{name}.svg").write_text(drawn, encoding="utf-8")
    page = filled((root / PAGE).read_text(encoding="utf-8"), sections(report))
    (root / PAGE).write_text(page, encoding="utf-8")
    say(f"published: {source}, {PAGE} and its charts")
    return 0


def _commit(report: Report) -> str:
    return report.machine["commit"].rstrip("+")


def last_committed(but: Report) -> Report | None:
    """Return the newest run in git with columns and of a different commit; None without one."""
    names = _git("ls-tree", "--name-only", "HEAD", f"{RESULTS.as_posix()}/").decode().split()
    found = []
    for name in names:
        try:
            report = msgspec.json.decode(_git("show", f"HEAD:{name}"), type=Report)
        except msgspec.ValidationError:
            continue  # a file of another bench
        if report.rows and _commit(report) != _commit(but):
            found.append(report)
    return max(found, key=lambda report: report.machine["when"], default=None)


def _git(*arguments: str) -> bytes:
    command = ("git", "-C", str(ROOT), *arguments)
    return subprocess.run(command, capture_output=True, check=False).stdout  # noqa: S603


# --- what got worse -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Ratio:
    """One ratio of a run.

    Attributes:
        what: such as `CPU, c→a, 10, SQLite`.
        to: the program in the denominator; empty if `value` is an absolute figure.
        more_is_worse: False for rates.
    """

    what: str
    to: str
    value: float
    more_is_worse: bool = True

    def grown(self, before: Ratio) -> bool:
        """Whether it got worse by more than `WORSE`."""
        now, then = self.value, before.value
        return now > then * WORSE if self.more_is_worse else now * WORSE < then


def image_python() -> str:
    """Return the Python version of the container image, such as "3.13"."""
    found = re.search(
        r"^FROM python:([0-9.]+)-slim", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    assert found is not None, "Dockerfile: no line FROM python:…-slim"
    return found[1]


def worse(before: Report, now: Report) -> list[str]:
    """Return a line for each ratio that got worse by more than a fifth: what, before, now."""
    known = {(one.what, one.to): one for one in ratios(before)}
    pairs: dict[str, list[tuple[Ratio, Ratio]]] = {}
    for one in ratios(now):
        if (then := known.get((one.what, one.to))) is not None:
            pairs.setdefault(one.what, []).append((then, one))
    return [
        f"{what}: {_times(then)} before, {_times(one)} now"
        for what, both in pairs.items()
        if all(one.grown(then) for then, one in both)
        for then, one in both[:1]
    ]


def _times(ratio: Ratio) -> str:
    return f"{ratio.value:.3g}{f' × {ratio.to}' if ratio.to else ''}"


def ratios(report: Report) -> Iterator[Ratio]:
    """Yield all ratios of a run: medians of those within each round."""
    picks: tuple[tuple[str, Pick, bool], ...] = (
        ("CPU", cpu, True),
        ("rate", rate, False),
        ("p50", p50, True),
    )
    for name in OURS:
        for column in report.columns():
            for title, pick, more_is_worse in picks:
                paced = COLUMNS[column].paced
                if paced != (title == "p50") and title != "CPU":
                    continue  # a paced rate is only the pace, a saturated delay only the queue
                what = f"{title}, {COLUMNS[column].title}, {name}"
                for to in ("L", "H"):
                    if found := report.ratios(name, to, column, pick):
                        yield Ratio(what, to, statistics.median(found), more_is_worse)
        for size in report.sessions.get(name, ()):
            yield Ratio(f"KiB a session of {size.rooms:,}, {name}", "", size.kib)
        for storm in report.storms.get(name, ()):
            value = against_bare(report, name, storm.sessions, lost=storm.lost)
            tokens = "lost" if storm.lost else "kept"
            if value is not None:
                what = f"{storm.sessions:,} sessions back, tokens {tokens}, {name}"
                yield Ratio(what, "bare client", value)
    for one in report.encrypted:
        yield Ratio(f"CPU, encrypted, {one.way}", "clear", one.encrypted / one.clear)


# --- the page -----------------------------------------------------------------------------------

_MARKED = re.compile(r"(<!-- figures: ([a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, parts: Mapping[str, Sequence[str]]) -> str:
    """Return a page with new figures between each `<!-- figures: NAME -->` and `<!-- end -->`.

    Raises:
        KeyError: a mark has an unknown name.
    """

    def anew(found: re.Match[str]) -> str:
        lines = parts[found[2]] or ["*Not in this run.*"]
        return found[1] + "\n".join(["", *lines, ""]) + "\n" + found[3]

    return _MARKED.sub(anew, page)


def sections(report: Report) -> dict[str, list[str]]:
    """Return the page's lines by the name of their mark; no lines where nothing was measured."""
    drawn = charts(report)
    saturated, paced = _columns(report, paced=False), _columns(report, paced=True)
    return {
        "run": [_run(report)],
        "costs": [*_image(drawn, "costs"), *_table(report, report.columns(), _cost)],
        "rates": [*_image(drawn, "rates"), *_table(report, saturated, _rate)],
        "delays": [*_image(drawn, "delays"), *_table(report, paced, _delay)],
        "faults": [faults(report)] if report.rows else [],
        "sessions": [*_image(drawn, "memory"), *_if(report.sessions, sessions_table, report)],
        "storms": _if(report.storms, storms_table, report),
        "starts": _if(report.starts, starts_table, report),
        "files": _if(report.files, files_table, report),
        "encrypted": _if(report.encrypted, encrypted_table, report),
        "soak": soak.told(),
        "targets": _targets(report),
    }


def _run(report: Report) -> str:
    facts, commit = report.machine, _commit(report)
    about = {
        "cpu": "{}",
        "cores": "{} cores",
        "python": "Python {}",
        "postgresql": "PostgreSQL {}",
        "fsync ms": "an fsync {} ms",
    }
    told = [words.format(facts[key]) for key, words in about.items() if key in facts]
    earlier: dict[str, list[str]] = {}
    for name, part in report.parts.items():
        if part.commit.rstrip("+") != commit:
            earlier.setdefault(part.commit.rstrip("+"), []).append(name)
    before = "; ".join(f"{', '.join(names)} at `{one}`" for one, names in earlier.items())
    return (
        f"Commit `{commit}`{f' ({before})' if before else ''}, "
        f"{facts['when'][:10]}, {report.rounds} rounds; {', '.join(told)}. "
        "Every figure with its range: [results.md](../tests/bench/results.md); every measurement: "
        f"[JSON](../tests/bench/results/{commit}.json)."
    )


def _if(there: object, table: Callable[[Report], Iterator[str]], report: Report) -> list[str]:
    return list(table(report)) if there else []


def _image(drawn: Mapping[str, Drawing], name: str) -> list[str]:
    title, told, groups = drawn[name]
    return [f"![{title}. {told}](images/performance-{name}.svg)", ""] if groups else []


def _columns(report: Report, *, paced: bool) -> list[str]:
    return [key for key in report.columns() if COLUMNS[key].paced == paced]


def _table(
    report: Report, columns: Sequence[str], cell: Callable[[Report, str, str], str]
) -> list[str]:
    """Return a table of subjects by columns."""
    if not columns:
        return []
    lines = [f"| | {' | '.join(COLUMNS[key].title for key in columns)} |"]
    lines.append(f"|---|{'---|' * len(columns)}")
    for name in report.subjects():
        cells = [cell(report, name, column) for column in columns]
        if not any(cells):
            continue
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _cost(report: Report, name: str, column: str) -> str:
    own, theirs = (report.median(name, column, pick) for pick in (cpu, database_cpu))
    return "" if own is None else f"{own:.0f}" + (f" + {theirs:.0f}" if theirs else "")


def _rate(report: Report, name: str, column: str) -> str:
    found = report.median(name, column, rate)
    return "" if found is None else f"{found:,.0f}"


def _delay(report: Report, name: str, column: str) -> str:
    middle, tail = (report.median(name, column, pick) for pick in (p50, p99))
    return "" if middle is None or tail is None else f"{middle:.1f} / {tail:.1f}"


def _targets(report: Report) -> list[str]:
    """Return a line for each missed goal."""
    lines = list(goals(report))
    head, missed = [cell.strip() for cell in lines[0].split("|")], []
    for line in lines[2:]:
        cells = [cell.strip() for cell in line.split("|")]
        missed += [
            f"- {cells[1]}, {name}: {cell.partition(':')[0]}, should be {cells[2]}"
            for name, cell in zip(head, cells, strict=True)
            if cell.endswith("missed")
        ]
    table = "[the table](../tests/bench/results.md#goals)"
    return (
        [f"Missed in this run ({table} has all):", "", *missed]
        if missed
        else [f"None is missed: {table}."]
    )


# --- its charts ---------------------------------------------------------------------------------

Drawing = tuple[str, str, list[Group]]
"""Title, description, groups."""


def charts(report: Report) -> dict[str, Drawing]:
    """Return the page's charts; no groups where nothing was measured."""
    saturated, paced = _columns(report, paced=False), _columns(report, paced=True)
    sized = {size.rooms for sizes in report.sessions.values() for size in sizes}
    memory = [
        Group(
            f"{rooms:,} live sessions",
            [
                Bar(name, size.kib, f"{size.kib:.1f} KiB")
                for name, sizes in report.sessions.items()
                for size in sizes
                if size.rooms == rooms
            ],
        )
        for rooms in sorted(sized)
    ]
    return {
        "costs": (
            "CPU a message, µs",
            "Bars by program for each kind of traffic; shorter is cheaper. Pale: PostgreSQL's own.",
            _groups(report, saturated, cpu, database_cpu, _cost),
        ),
        "rates": (
            "Messages a second, as fast as they are carried",
            "Bars by program for each kind of traffic; longer is faster.",
            _groups(report, saturated, rate, None, _rate),
        ),
        "delays": (
            "Delay, p50 and p99 in ms",
            "Bars by program, at 100/s and at half of its own rate. Pale: up to the p99.",
            _groups(report, paced, p50, p99, _delay),
        ),
        "memory": (
            "Memory of a live session",
            "KiB over the empty process, on SQLite and PostgreSQL; shorter is better.",
            memory,
        ),
    }


def _groups(
    report: Report,
    columns: Sequence[str],
    pick: Pick,
    more: Pick | None,
    cell: Callable[[Report, str, str], str],
) -> list[Group]:
    groups = []
    for column in columns:
        bars = []
        for name in report.subjects():
            value = report.median(name, column, pick)
            if value is None:
                continue
            extra = (report.median(name, column, more) or 0.0) if more is not None else 0.0
            if more is p99:
                extra = max(extra - value, 0.0)
            figure = cell(report, name, column)
            bars.append(Bar(name, value, figure, extra, ours=name in OURS))
        groups.append(Group(_spelt(COLUMNS[column].title), bars))
    return groups


def _spelt(title: str) -> str:
    """Return a column's title in full, for a chart without the page."""
    way, _, pace = title.replace(",", "").partition(" ")
    ways = {"c→a": "customer → agent", "a→c": "agent → customer"}
    paces = {"": "as fast as they go", "half": "at half of its rate", "100/s": "100 a second"}
    return f"{ways[way]}, {paces.get(pace, f'{pace} in a transaction')}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, help="JSON of runs")
    parser.add_argument("--accept", action="store_true", help="even if a ratio got worse")
    parser.add_argument("--output", type=Path, help="only write what the files are together")
    asked = parser.parse_args()
    first, *others = asked.files
    report = read(first)
    for other in others:
        report.take(read(other))
    if asked.output:
        asked.output.write_bytes(report.encoded())
        return
    if missing := set(PARTS) - set(report.parts):
        _say(f"not in these runs: {', '.join(sorted(missing))}")
    sys.exit(publish(report, last_committed(report), accept=asked.accept, say=_say))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
