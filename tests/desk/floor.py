"""Rig of the desk's tests: the simulator, desks in Chromium, and customers on WebSockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    async_playwright,
    expect,
)

from tests.conformance.simulator_client import Phone, Site, site
from tests.desk.chromium import FLAGS, NoChromiumError, find_or_install

SECOND = 1000
PATIENCE = 30 * SECOND
"""Timeout of each expectation in milliseconds."""


class Floor:
    """The desks of one test; records pages' errors and their requests to other servers."""

    def __init__(self, here: Site, browser: Browser) -> None:
        self.here = here
        self.browser = browser
        self.contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.asked_elsewhere: list[str] = []

    async def desk(
        self,
        agent: str = "A00001",
        *,
        language: str = "en-GB",
        width: int = 1280,
        height: int = 800,
        scheme: str = "light",
    ) -> Page:
        """Open a desk in its own window; with an empty `agent` it asks for the agent's name."""
        context = await self.browser.new_context(
            locale=language,
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            permissions=["microphone"],
        )
        self.contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._request)
        # Without a listener from the start, Playwright's command to intercept file choosers may
        # arrive after the key press that opens one.
        page.on("filechooser", lambda _: None)
        query = f"?agent={agent}" if agent else ""
        await page.goto(f"{self.here.origin}/desk{query}")
        await page.locator("#link[data-up]").wait_for()
        return page

    async def waiting(self, name: str = "ada", queue: int = 1) -> tuple[Phone, int]:
        """Return a customer in a queue, and the request's id."""
        phone = await self.here.phone(name)
        await phone.send(101, queueId=queue, **{"from": "APP"})
        await phone.reply(101)
        status = await phone.push(201)
        return phone, int(str(status["requestId"]))

    async def chat(self, name: str = "ada", agent: str = "A00001") -> tuple[Phone, int]:
        """Return a customer in a session with an agent, and the session's id."""
        phone, _ = await self.waiting(name)
        await self.here.simulator.do({"op": "accept", "login": name, "agent": agent})
        started = await phone.push(202)
        return phone, int(str(started["sessionId"]))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.here.origin, "data:", "blob:")):
            self.asked_elsewhere.append(f"asked for {request.url}")


class OpenFloor(Protocol):
    def __call__(
        self, *, quiet: bool = True, **options: object
    ) -> AbstractAsyncContextManager[Floor]:
        """Open a floor with these simulator options.

        At its end, a page's request to another server fails the test; with `quiet` also an error or
        warning on a page's console.
        """


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    try:
        path = await asyncio.to_thread(find_or_install)
    except NoChromiumError as error:
        pytest.fail(str(error), pytrace=False)
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        await browser.close()


@asynccontextmanager
async def floor_with(
    browser: Browser, *, quiet: bool = True, **options: object
) -> AsyncIterator[Floor]:
    async with site(login_limit=0, **options) as here:
        there = Floor(here, browser)
        try:
            yield there
            assert there.asked_elsewhere == []
            if quiet:
                assert there.complaints == []
        finally:
            for context in there.contexts:
                await context.close()
