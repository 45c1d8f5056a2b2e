"""The report of `make chaos`: JSON results, and the tables of docs/reliability.md.

`python -m tests.chaos.report FILE` regenerates the tables from a JSON file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import msgspec

from tests.chaos.storm import Act, Played

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- the report of make chaos -->", "<!-- its end -->"


class Report(msgspec.Struct):
    """Results of one run."""

    machine: dict[str, str]
    seed: str
    played: list[Played]

    def encoded(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    def times(self) -> int:
        return sum(len(met.faults) for one in self.played for met in one.met)


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _spread(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.1f} / {max(seconds):.1f} s" if seconds else "–"


def rooms_of(act: Act) -> str:
    return f"{act.clear} + {act.encrypted}"


def tables(report: Report) -> Iterator[str]:
    """Yield the lines of the report in Markdown."""
    failed = [one for one in report.played if one.failure]
    texts = sum(one.messages for one in report.played)
    minutes = sum(one.seconds for one in report.played) / 60
    yield (
        f"Seed {report.seed}: {texts:,} texts, {report.times()} faults, {minutes:.0f} minutes; "
        + (f"**{len(failed)} acts failed**." if failed else "no act failed.")
    )
    yield ""
    yield ", ".join(f"{name} {value}" for name, value in report.machine.items()) + "."
    yield ""
    yield _row(
        "act (database, WebChat)", "rooms, clear + encrypted", "texts to agents, to customers",
        "faults", "lost", "twice to customers", "twice to agents, of them marked",
        "sent again, marked", "lost by WebChat: said, in under 3 s", "found later", "restarts",
    )  # fmt: skip
    yield _row(*["---"] * 11)
    for one in report.played:
        faults = sum(len(met.faults) for met in one.met)
        counts = (
            0,
            0,
            f"{one.doubled}, {one.doubled}",
            one.marked,
            f"{one.told}, {one.brief}",
            one.late,
        )
        yield _row(
            one.act.name, rooms_of(one.act), f"{one.asked}, {one.answered}", faults,
            *(("–",) * 6 if one.failure else counts), one.restarts,
        )  # fmt: skip
    yield ""
    yield _row("fault", "times", "all rooms talk again, p50 / max")
    yield _row(*["---"] * 3)
    by_kind: dict[str, list[float]] = {}
    for met in (met for one in report.played for met in one.met):
        for name in met.faults:
            by_kind.setdefault(name, []).append(met.recovery)
    for name, seconds in sorted(by_kind.items()):
        yield _row(name, len(seconds), _spread(seconds))
    yield _row("all", report.times(), _spread([s for each in by_kind.values() for s in each]))
    yield ""
    takeovers: dict[str, list[float]] = {}
    for kind, took in (each for one in report.played for each in one.takeovers):
        takeovers.setdefault(kind, []).append(took)
    for kind, times in sorted(takeovers.items()):
        yield f"Takeover by another replica after {kind}: {len(times)} times, {_spread(times)}."
    if failed:
        yield ""
        yield from (f"- {one.act.name}: FAILED, `{one.failure[:300]}`" for one in failed)


def write(report: Report) -> None:
    """Write the tables between the markers of the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    lines = "\n".join(tables(report))
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Report))
