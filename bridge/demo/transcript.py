"""What the demo prints: who said what, and after each step whether it went as it should."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from bridge.demo.customer import CustomerError
from bridge.simulator.simulator import BadOpError

LONGEST = 160
"""Characters of a line of the conversation; addresses of maps are longer."""
LOG_LINES = 15
SLOW = 2.0
"""Seconds after which a step says that it still goes on."""


class StepFailedError(Exception):
    """A step of the demo did not go as it should; the message says what was expected."""


class Transcript:
    """Prints steps and counts them.

    Attributes:
        failed: titles of the steps that failed.
    """

    def __init__(self, console: Console) -> None:
        self.failed: list[str] = []
        self.passed = 0
        self._console = console

    def title(self, text: str) -> None:
        self._console.print(f"\n[bold]{escape(text)}[/]")

    def note(self, text: str) -> None:
        self._console.print(f"[dim]{escape(text)}[/]")

    def starting(self, part: str) -> None:
        """What takes a few seconds now."""
        self.note(f"starting {part} …")

    def end_of(self, log: Path) -> None:
        """The last lines of a log, if there are any."""
        if log.exists():
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            self.note("\n".join([f"The end of {log.name}:", *lines[-LOG_LINES:]]))

    def said(self, who: str, text: str) -> None:
        """One line of the conversation."""
        lines = (
            line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…" for line in text.split("\n")
        )
        body = ("\n" + " " * 20).join(lines)
        self._console.print(f"        [cyan]{escape(who):>10}[/]  {escape(body)}")

    @asynccontextmanager
    async def step(self, title: str) -> AsyncIterator[None]:
        """One step: PASS if the block ends, FAIL if it raises what a wrong answer raises."""
        began = time.monotonic()
        still = asyncio.get_running_loop().call_later(SLOW, self.note, f"  …   {title}")
        try:
            yield
        except (StepFailedError, TimeoutError, CustomerError, BadOpError) as error:
            self.failed.append(title)
            why = str(error) or "what was expected did not come in time"
            self._console.print(f"[bold red]FAIL[/]  {escape(title)} — {escape(why)}")
            return
        finally:
            still.cancel()
        took = time.monotonic() - began
        self.passed += 1
        self._console.print(f"[bold green]PASS[/]  {escape(title)} [dim]({took:.1f} s)[/]")

    def verdict(self) -> None:
        """The last line."""
        count = self.passed + len(self.failed)
        colour = "red" if self.failed else "green"
        self._console.print(f"\n[bold {colour}]{self.passed} of {count} steps passed[/]")


def expect(condition: object, what: str) -> None:
    """Fail the step unless the condition holds."""
    if not condition:
        raise StepFailedError(what)
