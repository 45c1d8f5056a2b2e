"""A sampling profile of a process during one piece of work.

The sampler is py-spy from PyPI, in its own environment below `.cache/`. It writes collapsed stacks
(for `flamegraph.pl` and speedscope.app) and a summary beside them: the share of samples by package
and file where the time is spent, and by function, alone and with its callees.
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
"""Samples per second."""
_FRAME = re.compile(r"(?P<function>\S+) \((?P<file>[^:()]+)(?::(?P<line>\d+))?\)")
LONGEST = 60
"""Maximum number of lines of a table."""


async def installed(package: str) -> Path:
    """Return the `bin` folder of an environment with the package, created at first use."""
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
    """Sample a process during the block, and write collapsed stacks to a file.

    Only the thread that holds the GIL counts, so samples measure CPU (except code that runs without
    the GIL, such as SQLite). The process is paused for each sample.
    """
    sampler = await installed("py-spy")
    process = await asyncio.create_subprocess_exec(
        str(sampler / "py-spy"),
        *("record", "--pid", str(pid), "--rate", str(RATE), "--format", "raw"),
        *("--output", str(stacks), "--duration", "3600", "--gil"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await asyncio.sleep(1)  # py-spy reads the process's symbols first
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()


def summary(stacks: Path, cost: float) -> str:
    """Return tables of the samples; they are also written to a file beside the stacks.

    Args:
        stacks: the file of collapsed stacks.
        cost: µs of CPU that all samples together represent, such as those of one message.
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
    """Return a frame's file, relative to the parent of its package, and its function."""
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
