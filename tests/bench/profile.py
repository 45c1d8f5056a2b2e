"""A sampling profile of one process while it does one piece of work.

The sampler is py-spy, from PyPI, in an environment of its own below `.cache/`. It writes collapsed
stacks (`flamegraph.pl` and speedscope.app read them) and the summary beside them: the share of
samples by package and file where the time is spent, and by function, alone and with what it calls.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache"
RATE = 200
"""Samples a second."""
_FRAME = re.compile(r"(?P<function>\S+) \((?P<file>[^:()]+)(?::(?P<line>\d+))?\)")
LONGEST = 60
"""Lines of a table."""


async def installed(package: str) -> Path:
    """The folder of programs of an environment that holds the package; made at first use."""
    folder = CACHE / package
    programs = folder / "bin"
    if not (folder / ".done").exists():
        await _run(sys.executable, "-m", "venv", "--clear", str(folder))
        pip = (str(programs / "python"), "-m", "pip", "--disable-pip-version-check", "install")
        await _run(*pip, "--quiet", package)
        (folder / ".done").touch()
    return programs


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    if await process.wait() != 0:
        raise RuntimeError(f"{' '.join(command)} failed")


@asynccontextmanager
async def sampling(pid: int, stacks: Path) -> AsyncIterator[None]:
    """Sample a process as long as the block lasts, and write collapsed stacks to a file.

    Only the thread that holds the interpreter's lock counts, so a sample stands for CPU (but of
    what runs without the lock, such as SQLite). The process is stopped for each sample.
    """
    sampler = await installed("py-spy")
    process = await asyncio.create_subprocess_exec(
        str(sampler / "py-spy"),
        *("record", "--pid", str(pid), "--rate", str(RATE), "--format", "raw"),
        *("--output", str(stacks), "--duration", "3600", "--gil"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await asyncio.sleep(1)  # it reads the process's symbols first
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()


def summary(stacks: Path, cost: float) -> str:
    """Tables of where the samples are; they are kept beside the stacks as well.

    Args:
        stacks: the file of collapsed stacks.
        cost: µs of CPU that all of them together stand for, such as those of one message.
    """
    total = 0
    package: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    nearest: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in stacks.read_text(encoding="utf-8").splitlines():
        stack, _, times = line.rpartition(" ")
        frames = [_named(frame) for frame in stack.split(";")]
        count = int(times)
        total += count
        alone[" ".join(frames[-1])] += count
        package[_package(frames[-1][0])] += count
        ours = [frame for frame in frames if frame[0].startswith("bridge/")]
        nearest[ours[-1][0] if ours else "(no frame of the bridge)"] += count
        for frame in set(frames):
            within[" ".join(frame)] += count
    tables = (
        ("by package, where the time is spent", package),
        ("by the innermost file of the bridge, what it calls in libraries included", nearest),
        ("by function, alone", alone),
        ("by function, with all that it calls", within),
    )
    lines = [f"{total} samples; share, and µs of {cost:.0f}"]
    for title, counter in tables:
        lines += ["", f"== {title}"]
        everywhere = [name for name, count in counter.items() if count == total]
        for name in everywhere if len(counter) > len(everywhere) else ():
            del counter[name]
        for name, count in counter.most_common(LONGEST):
            share = count / max(total, 1)
            lines.append(f"{share:6.1%} {share * cost:6.1f}  {name}")
    text = "\n".join(lines) + "\n"
    stacks.with_suffix(".txt").write_text(text, encoding="utf-8")
    return text


def _named(frame: str) -> tuple[str, str]:
    """File and function of a frame, the file from its package on."""
    found = _FRAME.match(frame)
    if found is None:
        return (frame, "")
    file = found["file"]
    for root in ("site-packages/", "/lib/python3"):
        if root in file:
            return (file.rpartition(root)[2], found["function"])
    _, bridge, inner = file.rpartition("/bridge/")
    return (f"bridge/{inner}" if bridge else file, found["function"])


def _package(file: str) -> str:
    parts = file.split("/")
    return "/".join(parts[:2]) if parts[0] == "bridge" and len(parts) > 2 else parts[0]
