"""Uploads, cookies, and secrets in logs: rows 35, 76-78 and 86 of protocol reference 7."""

from __future__ import annotations

import hashlib
import itertools
import logging
from dataclasses import replace
from typing import cast

import pytest
import structlog

from bridge.ids import SessionId
from bridge.link.login import credentials_of
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import CallFailure
from bridge.simulator.simulator import Simulator
from bridge.webchat.codes import FailureReason, LoginType, UploadMode
from bridge.webchat.frames import Preview
from bridge.webchat.http import dump_login, login_sign, robot_form
from tests.unit.link.rig import FAST, Tokens, account, blob, rig, settings_for
from tests.unit.link.simulated import ADA, ASK, LOGIN, chat, simulated, text

# --- uploads ----------------------------------------------------------------------------------

FILE = bytes(range(256)) * 9000
SHA = hashlib.sha256(FILE).hexdigest()


def uploads(simulator: Simulator) -> list[dict[str, object]]:
    return cast("list[dict[str, object]]", simulator.state()["uploads"])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("server_mode", "mode"), list(itertools.product(["raw", "multipart"], ["auto", "same"]))
)
async def test_76_upload(server_mode: str, mode: str) -> None:
    """Row 76: raw and multipart bodies; `auto` detects the mode and stores it."""
    wanted = UploadMode.AUTO if mode == "auto" else UploadMode(server_mode)
    async with simulated(upload_mode=server_mode) as simulator:
        settings = settings_for(simulator.base_url, upload_mode=wanted)
        async with rig(settings) as rigged:
            url = await rigged.links.upload(ADA, blob(FILE, '片 "1".png'))
            again = await rigged.links.upload(ADA, blob(FILE, size=None))
            facts = rigged.facts
        assert [upload["sha256"] for upload in uploads(simulator)] == [SHA, SHA]
        assert url.startswith(simulator.base_url + "/up/")
        assert url != again
        assert list(facts.learnt.values()) == ([server_mode] if mode == "auto" else [])


@pytest.mark.asyncio
@pytest.mark.parametrize("refusal", [0, -8, -12, -13, -14, -16, -100, 200, 302, 400, 415, 500])
async def test_76b_multipart_is_tried_after_any_refusal_of_raw(refusal: int) -> None:
    """No guide documents the refusal of raw bodies: after any, multipart is tried and stored."""
    async with simulated(upload_mode="multipart", wrong_upload=refusal) as simulator:
        async with rig(settings_for(simulator.base_url)) as rigged:
            for _ in range(2):
                await rigged.links.upload(ADA, blob(FILE, "a.jpg"))
            assert list(rigged.facts.learnt.values()) == ["multipart"]
        assert [upload["sha256"] for upload in uploads(simulator)] == [SHA, SHA]


@pytest.mark.asyncio
@pytest.mark.parametrize("style", ["context", "root", "bare", "absolute"])
async def test_77_upload_url(style: str) -> None:
    """Row 77: each form of upload URL is made absolute, and the file can be fetched from it."""
    async with (
        simulated(upload_url=style) as simulator,
        rig(settings_for(simulator.base_url)) as rigged,
    ):
        url = await rigged.links.upload(ADA, blob(FILE, "a.jpg"))
        assert url.startswith(f"{simulator.base_url}/up/")
        async with rigged.links.fetch(url, len(FILE)) as file:
            assert b"".join([chunk async for chunk in file.chunks]) == FILE


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "code"),
    [({"allowed_extensions": ("png",)}, -16), ({"max_upload": 100}, -13)],
)
async def test_78_upload_refused(options: dict[str, object], code: int) -> None:
    """Row 78: the upload fails with certainty, with the server's code."""
    async with (
        simulated(**options) as simulator,
        rig(settings_for(simulator.base_url)) as rigged,
    ):
        with pytest.raises(CallFailure) as caught:
            await rigged.links.upload(ADA, blob(FILE, "a.exe"))
        assert caught.value.reason is FailureReason.REFUSED
        assert (caught.value.certain, caught.value.code) == (True, code)
        assert rigged.facts.learnt == {}


@pytest.mark.asyncio
async def test_row_35_upload_with_a_dead_token() -> None:
    """One new login; the caller's next attempt succeeds."""
    async with simulated() as simulator, rig(settings_for(simulator.base_url)) as rigged:
        await chat(rigged)
        await simulator.do({"op": "expire_token", "login": LOGIN})
        with pytest.raises(CallFailure) as caught:
            await rigged.links.upload(ADA, blob(FILE))
        assert (caught.value.reason, caught.value.certain) == (FailureReason.UNREACHABLE, True)
        assert await rigged.links.upload(ADA, blob(FILE))
        assert rigged.counts.logins == 2


# --- cookies ----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_login_cookies_are_sent_with_the_token() -> None:
    """A load balancer routes by cookie: socket, upload and history must send the login's cookie.

    Each room has its own, also after a restart of the bridge.
    """
    async with simulated(dialect="2019", sticky_cookie=True) as simulator:
        settings, tokens = settings_for(simulator.base_url), Tokens()
        async with rig(settings, tokens=tokens) as rigged:
            await chat(rigged)
            await chat(rigged, account("b"))
            for who in (ADA, account("b")):
                assert await rigged.links.upload(who, blob(FILE))
            assert await rigged.links.history(ADA, 10) == ()
            assert rigged.counts.logins == 2
            kept = {token.cookies for token in tokens.kept.values()}
            assert len(kept) == 2
            assert all(cookies.startswith("SERVERID=node-") for cookies in kept)
        async with rig(settings, tokens=tokens) as rigged:
            assert await rigged.links.upload(ADA, blob(FILE))
            assert rigged.counts.logins == 0
            await simulator.do({"op": "expire_token", "login": LOGIN})
            with pytest.raises(CallFailure):
                await rigged.links.upload(ADA, blob(FILE))
            assert await rigged.links.upload(ADA, blob(FILE)), "with the new login's cookie"
            assert rigged.counts.logins == 1


# --- secrets ----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_86_secrets_are_not_disclosed(caplog: pytest.LogCaptureFixture) -> None:
    """Row 86: no token, password, key or sign is logged at any level, by any library."""
    caplog.set_level(logging.DEBUG)
    for name in ("websockets", "websockets.client", "aiohttp", "aiohttp.client", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    with structlog.testing.capture_logs() as logs:
        async with simulated(
            dialect="2019",
            sign_key="KEY-SECRET",
            robot_key="ROBOT-SECRET",
            handshake_refusal="frame",
            sticky_cookie=True,
        ) as simulator:
            settings = settings_for(
                simulator.base_url,
                login_type=LoginType.PASSWORD,
                password="PASSWORD-SECRET",
                sign_key="KEY-SECRET",
                robot_key="ROBOT-SECRET",
            )
            tokens = Tokens()
            async with rig(settings, tokens=tokens) as rigged:
                session = await chat(rigged)
                seen = {tokens.kept[ADA.room_id].value, tokens.kept[ADA.room_id].cookies}
                assert await rigged.links.ask_robot("BODY-SECRET") == ()
                assert await rigged.links.history(ADA, 10) == ()
                assert (await rigged.call(ADA, 2, Preview(SessionId(session), "BODY-SECRET"))).ok
                await rigged.links.upload(ADA, blob(FILE))
                await simulator.do({"op": "expire_token", "login": LOGIN})
                assert (await rigged.call(ADA, 3, text("BODY-SECRET", session))).ok
                seen |= {tokens.kept[ADA.room_id].value, tokens.kept[ADA.room_id].cookies}
                rigged.links.keep(ADA)
                back = len(rigged.events.back)
                await simulator.do({"op": "kick", "login": LOGIN, "code": 1006})
                await rigged.events.until(lambda: len(rigged.events.back) > back)
                assert (await rigged.call(ADA, 4, text("BODY-SECRET", session))).ok
                faults = [
                    {"fault": "http", "path": path, "status": 500}
                    for path in ("tpiu", "tpi", "robotSearch")
                ]
                await simulator.do({"op": "set", "faults": faults})
                with pytest.raises(CallFailure) as caught:
                    await rigged.links.upload(ADA, blob(FILE))
                with pytest.raises(CallFailure):
                    await rigged.links.history(ADA, 10)
                with pytest.raises(CallFailure):
                    await rigged.links.ask_robot("BODY-SECRET")
                shown = [repr(caught.value), repr(rigged.links), repr(settings), repr(tokens.kept)]
        await _dead_server(settings, tokens, shown)
    assert len(seen) == 4
    secrets = seen | {_sign_of(settings)} | {"KEY-SECRET", "PASSWORD-SECRET", "BODY-SECRET"}
    secrets |= {"ROBOT-SECRET", robot_form("", "BODY-SECRET", "ROBOT-SECRET")["sign"]}
    written = [record.getMessage() for record in caplog.records]
    ours = [entry for entry in logs if not str(entry["event"]).startswith("simulator")]
    assert ours, "something was logged at all"
    for line in (*written, *shown, *(repr(entry) for entry in ours)):
        assert not any(secret in line for secret in secrets), line


def _sign_of(settings: LinkSettings) -> str:
    body = dump_login(credentials_of(settings, ADA).login)
    return login_sign(body, settings.server.sign_key.get_secret_value())


async def _dead_server(settings: LinkSettings, tokens: Tokens, shown: list[str]) -> None:
    """Append the error of an unreachable server to `shown`, with its chain of causes."""
    quick = replace(settings, timing=replace(FAST, connect=0.2))
    async with rig(quick, tokens=tokens) as rigged:
        with pytest.raises(CallFailure) as caught:
            await rigged.call(ADA, 5, ASK)
        error: BaseException | None = caught.value
        while error is not None:
            shown.append(f"{error!r} {error}")
            error = error.__cause__ or error.__context__
