"""`make demo`: every step of its check passes in both dialects; left running, it can be used."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console

from bridge.demo.play import options, recorded_voice
from bridge.demo.stage import StepFailedError, Transcript, expect
from bridge.ids import QueueId
from tests.support.sounds import codec_of, seconds_of

PATIENCE = 180.0
REQUIRED = (
    "it does not help: 👎 asks for a person, who learns what she asked",
    "the customer rates with a tap on the poll",
    "nothing was sent twice, and nothing was unreadable",
    "her voice message reaches the agent as one (AMR)",
    "her text reaches the agent; a read receipt tells her so",
    "her place reaches the agent, in the coordinates of its map",
    "conference: a second agent joins, then talks on alone",
    "transfer: he hands the customer back",
    "the link is cut; what she writes arrives once all the same",
    "the login expires; the bridge logs in again, unnoticed",
    "a fresh account is ready for you: visitor has no device yet",
)
LATER = (
    "each sees that the other is typing",
    "what the agent says while the link is cut comes once, later",
    "without receipts, the bridge finds it in the history",
)
"""Steps that a server of 2016 does not support."""


@pytest.mark.asyncio
async def test_every_step_of_the_demo_passes() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bridge",
        "demo",
        "--check",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE):
        printed, _ = await process.communicate()
    text = printed.decode()
    assert process.returncode == 0, text
    assert "FAIL" not in text
    assert text.index("the guide of 2019") < text.index("the guide of 2016")
    for step in REQUIRED:
        assert text.count(f"PASS  {step}") == 2, step
    for step in LATER:
        assert text.count(f"PASS  {step}") == 1, step


@pytest.mark.asyncio
async def test_the_demo_runs_until_ctrl_c_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """The agent desk and the logins work; Ctrl-C leaves no file, no process and no open port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "demo"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    shown = b""
    async with asyncio.timeout(PATIENCE):
        while b"  Logs " not in shown and (line := await process.stdout.readline()):
            shown += line
    try:
        text = shown.decode()
        homeserver, desk = (_address(name, text) for name in ("Homeserver", "Agent"))
        async with aiohttp.ClientSession() as session:
            async with session.get(desk) as page:
                assert page.status == 200
            await _logs_in(session, homeserver)
            await _visits(session, homeserver, text)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            rest, _ = await process.communicate()
        assert (process.returncode, rest) == (0, b"")
        assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []
        for address in (homeserver, desk):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address.split("/")[2].split(":"))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _address(name: str, text: str) -> str:
    found = re.search(rf"^  {name} +(http\S+)", text, re.MULTILINE)
    assert found is not None, text
    return found[1]


async def _logs_in(session: aiohttp.ClientSession, homeserver: str) -> None:
    """Log in as alice, whose room is encrypted."""
    alice = {"type": "m.id.user", "user": "alice"}
    login = {"type": "m.login.password", "identifier": alice, "password": "alice-secret"}
    client = f"{homeserver}/_matrix/client/v3"
    async with session.post(f"{client}/login", json=login) as answer:
        token = (await answer.json())["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    async with session.get(f"{client}/joined_rooms", headers=headers) as answer:
        (room,) = (await answer.json())["joined_rooms"]
    state = f"{client}/rooms/{room}/state/m.room.encryption"
    async with session.get(state, headers=headers) as answer:
        assert (await answer.json())["algorithm"] == "m.megolm.v1.aes-sha2"


async def _visits(session: aiohttp.ClientSession, homeserver: str, text: str) -> None:
    """Chat as the printed page says: with the account on it, and with a newly registered one.

    The bot's answer shows that the visitor is served.
    """
    found = re.search(r"^  Sign in +(\S+), password (\S+)", text, re.MULTILINE)
    bot = re.search(r"choose WebChat \((\S+)\), type: Hello!", text)
    assert found is not None, text
    assert bot is not None, text
    client = f"{homeserver}/_matrix/client/v3"
    identifier = {"type": "m.id.user", "user": found[1]}
    login = {"type": "m.login.password", "identifier": identifier, "password": found[2]}
    register = {"username": "mine", "password": "my own", "auth": {"type": "m.login.dummy"}}
    for path, content in (("login", login), ("register", register)):
        async with session.post(f"{client}/{path}", json=content) as answer:
            assert answer.status == 200, await answer.text()
            token = (await answer.json())["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        async with session.get(f"{client}/devices", headers=headers) as answer:
            assert len((await answer.json())["devices"]) == 1, "none that Element would warn of"
        invitation = {"preset": "trusted_private_chat", "is_direct": True, "invite": [bot[1]]}
        async with session.post(f"{client}/createRoom", json=invitation, headers=headers) as answer:
            room = (await answer.json())["room_id"]
        hello = {"msgtype": "m.text", "body": "Hello!"}
        url = f"{client}/rooms/{room}/send/m.room.message/1"
        async with session.put(url, json=hello, headers=headers) as answer:
            assert answer.status == 200
        try:
            async with asyncio.timeout(PATIENCE):
                await _reads(session, client, headers, room, "Waiting for Sales")
        except TimeoutError:
            log = re.search(r"^  Logs +(\S+),", text, re.MULTILINE)
            pytest.fail(f"{found[1]} waits in vain\n{_end_of(log[1]) if log else ''}")


def _end_of(log: str) -> str:
    """The end of the bridge's log, which is deleted with the demo's folder."""
    return Path(log).read_text(encoding="utf-8")[-20_000:]


async def _reads(
    session: aiohttp.ClientSession, client: str, headers: dict[str, str], room: str, words: str
) -> None:
    """Wait by /sync until these words are in the room."""
    query = {"timeout": "10000", "since": ""}
    while True:
        given = {key: value for key, value in query.items() if value}
        async with session.get(f"{client}/sync", params=given, headers=headers) as answer:
            reply = await answer.json()
        events = reply.get("rooms", {}).get("join", {}).get(room, {}).get("timeline", {})
        if any(words in str(event.get("content")) for event in events.get("events", [])):
            return
        query["since"] = reply["next_batch"]


@pytest.mark.asyncio
async def test_a_step_that_goes_wrong_is_counted_and_does_not_end_the_demo() -> None:
    transcript = Transcript(Console(quiet=True))
    async with transcript.step("good"):
        expect(1 + 1 == 2, "sums")
    async with transcript.step("bad"):
        expect([], "something")
    async with transcript.step("bare"):
        expect({"type": "m.room.message"}["content"], "content")
    async with transcript.step("late"):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    assert transcript.passed == 1
    assert transcript.failed == ["bad", "bare", "late"]
    with pytest.raises(StepFailedError, match="wanted"):
        expect(None, "wanted")


def test_the_demos_desk_shows_the_names_of_the_queues() -> None:
    simulator = options("2019").simulator
    assert [simulator.queue_name(QueueId(number)) for number in (1, 2)] == ["Sales", "Service"]


def test_the_demos_voice_recording_is_opus_like_elements() -> None:
    assert codec_of(recorded_voice(2)) == "opus"
    assert seconds_of(recorded_voice(2)) == pytest.approx(2, rel=0.02)
