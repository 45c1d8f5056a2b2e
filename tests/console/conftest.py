"""Fixtures of the console: a Synapse with OpenID, a bridge with its console, a Chromium."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, BrowserContext, Frame, Page, async_playwright, expect

from bridge.demo.stage import QUEUES
from bridge.texts import spoken
from tests.desk.chromium import FLAGS, NoChromiumError, find_or_install
from tests.support import strict
from tests.support.operator import succeeds
from tests.support.ports import free_port
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged

SECOND = 1000
PATIENCE = 30 * SECOND
AXE = strict.INSTALLED / "node_modules" / "axe-core" / "axe.min.js"
FAULTS = """() => axe.run(document, { resultTypes: ["violations"], iframes: false }).then(
  ({ violations }) => violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`)))"""
IMAGES = Path(__file__).parents[2] / "docs" / "images"


@dataclass
class Console:
    """The console of a stage with browser windows; records errors and requests to others."""

    stage: Stage
    url: str
    client: str
    """Address of the page that embeds the widget; a local one, as browsers require here."""
    browser: Browser
    shown: str = ""
    """HTML of that page."""
    session: Any = None
    """Cookies of the signed-in operator; None before the first sign-in."""
    contexts: list[BrowserContext] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    async def window(
        self, *, language: str = "en-GB", width: int = 1280, height: int = 860, scheme: str = ""
    ) -> Page:
        context = await self.browser.new_context(
            locale=language,
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        self.contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda said: self._heard(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", lambda request: self._asked(request.url))
        return page

    def _heard(self, kind: str, text: str) -> None:
        # Browsers log each refused request, also those that a test provokes.
        if kind in {"error", "warning"} and "Failed to load resource" not in text:
            self.complaints.append(f"{kind}: {text}")

    def _asked(self, url: str) -> None:
        if not url.startswith((self.url, self.client, "data:")):
            self.complaints.append(f"asked for {url}")

    async def link(self, *more: str) -> str:
        """Return the link that `console-link` prints."""
        printed = await succeeds(self.stage, "console-link", *more)
        return next(word for word in printed.split() if word.startswith(self.url))

    async def signed_in(self, **options: object) -> Page:
        page = await self.window(**options)  # type: ignore[arg-type]
        if self.session is not None:
            await page.context.add_cookies(self.session)
        where = f"{self.url}/admin/" if self.session else await self.link("--name", "mei")
        await page.goto(where)
        await page.locator("#fresh[data-up]").wait_for(state="attached")
        self.session = await page.context.cookies()
        return page


def simplified(text: str) -> str:
    """Return the characters of a text that are simplified Chinese only."""
    return "".join(char for char in text if spoken(char, "zh-TW")[1] == "zh-CN")


async def faults(page: Page | Frame) -> list[str]:
    """Return axe-core's violations on a page; none if axe-core is not installed."""
    if not AXE.exists():
        return []
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = await page.evaluate(FAULTS)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def axe() -> None:
    """Install axe-core for `faults` if npm's registry can be reached."""
    with suppress(pytest.skip.Exception):
        await strict.install()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def console(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Console]:
    try:
        path = await asyncio.to_thread(find_or_install)
    except NoChromiumError as error:
        pytest.fail(str(error), pytrace=False)
    synapse, own = free_port(), free_port()
    url = f"http://127.0.0.1:{own}"
    listener = {
        "port": synapse,
        "type": "http",
        "bind_addresses": ["127.0.0.1"],
        "resources": [{"names": ["client", "openid"]}],
    }
    options = StageOptions(
        synapse={"listeners": [listener]},
        ports=(synapse, free_port()),
        simulator=UNLIMITED,
        config={
            "bridge": bridge_section(),
            "queues": [QUEUES[0], {**QUEUES[1], "hours": "Mon-Fri 09:00-18:00 Asia/Shanghai"}],
            "console": {"enabled": True, "port": own, "public_url": url},
        },
    )
    expect.set_options(timeout=PATIENCE)
    async with staged(request, tmp_path_factory, options) as stage, async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=path, args=list(FLAGS))
        there = Console(stage, url, "", browser)

        async def show(_request: web.Request) -> web.Response:
            return web.Response(text=there.shown, content_type="text/html")

        application = web.Application()
        application.add_routes([web.get("/", show)])
        async with TestServer(application, host="localhost") as server:
            there.client = str(server.make_url("/"))
            yield there
            await browser.close()


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def quiet(console: Console) -> AsyncIterator[None]:
    """After each test, close all windows and check that no complaint was recorded."""
    console.complaints.clear()
    yield
    for context in console.contexts:
        await context.close()
    console.contexts.clear()
    assert console.complaints == []
