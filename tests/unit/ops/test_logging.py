"""Logs say what happened and never a secret."""

from __future__ import annotations

import io
import json
import logging
import os
from pathlib import Path

import pytest
import structlog
from aiohttp import ClientSession, web

from bridge.ops.logging import HELD_AT_INFO, Redactor, configure_logging, is_secret_name
from tests.support.logs import logging_as_it_was

SECRET = "hunter2-and-more"


def start(level: str = "DEBUG", form: str = "json") -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level, form, secrets=[SECRET, ""], stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_tests_logging_is_undone() -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    with logging_as_it_was():
        start()
        assert root.handlers != before
    assert root.handlers == before
    assert not structlog.is_configured()


def test_a_line_has_time_level_logger_fields_and_context() -> None:
    stream = start()
    log = structlog.get_logger("bridge.rooms")
    with structlog.contextvars.bound_contextvars(room="!a:b", session=7):
        log.info("session started", call=3)
    log.info("later")
    first, second = lines(stream)
    assert first["event"] == "session started"
    assert first["level"] == "info"
    assert first["logger"] == "bridge.rooms"
    assert str(first["timestamp"]).endswith("Z")
    assert (first["room"], first["session"], first["call"]) == ("!a:b", 7, 3)
    assert "room" not in second


def test_lines_that_cannot_be_written_are_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w", buffering=1) as full:
        configure_logging("INFO", "text", stream=full)
        structlog.get_logger("x").info("lost")
    assert capfd.readouterr().err == ""


def test_a_log_that_nobody_reads_does_not_stop_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when journald or a container engine hangs: a full pipe would block every room."""
    monkeypatch.setattr("bridge.ops.logging.UNREAD_MS", 1)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as pipe, os.fdopen(writing, "w", encoding="utf-8") as stream:
        configure_logging("INFO", "json", stream=stream)
        for number in range(2_000):
            structlog.get_logger("x").info("a line", number=number)
        shown = pipe.read(1 << 20)
        structlog.get_logger("x").info("again")
        *_, again, told = map(json.loads, pipe.read(1 << 20).splitlines())
    numbers = [json.loads(line)["number"] for line in shown.splitlines() if line.endswith(b"}")]
    assert numbers == [*range(len(numbers))], "the first lines are whole"
    assert again["event"] == "again"
    assert told["event"] == "nobody read the log for a while"
    assert told["lost"] == 2_000 - len(numbers) > 0


def test_a_bug_in_a_log_call_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    start()
    logging.getLogger("x").info("%d", "text")
    assert "TypeError" in capsys.readouterr().err


def test_libraries_write_the_same_lines_with_context() -> None:
    stream = start()
    with structlog.contextvars.bound_contextvars(room="!a:b"):
        logging.getLogger("somelib").warning("odd %s", "thing", extra={"count": 2})
    (line,) = lines(stream)
    assert (line["event"], line["room"], line["count"]) == ("odd thing", "!a:b", 2)


def test_text_is_one_readable_line() -> None:
    stream = start(form="text")
    structlog.get_logger("x").info("session started", room="!a:b")
    (line,) = stream.getvalue().splitlines()
    assert "session started" in line
    assert "room=!a:b" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_stranger_controls_the_terminal(form: str) -> None:
    """A homeserver chooses its rooms' ids, and a server its errors."""
    stream = start(form=form)
    log = structlog.get_logger("x", room="!\x1b[2J\x9b31m\u202e:b")
    error = ValueError("\x1b]0;title\x07\nand\tmore")
    log.error("failed\x07", why=["\x7f"], exc_info=error)
    shown = stream.getvalue()
    if form == "json":
        shown = "".join(map(str, json.loads(shown).values()))
    assert all(one.isprintable() or one in "\t\n" for one in shown)
    assert "!\\x1b[2J\\x9b31m\\u202e:b" in shown
    assert "and\tmore" in shown


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_journal_gets_priorities(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only if the stream is the journal's, by device and inode; on each line, as it splits them."""
    for journal in (True, False):
        with (tmp_path / "lines").open("w+", encoding="utf-8") as stream:
            found = os.fstat(stream.fileno())
            inode = found.st_ino if journal else 1
            monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{inode}")
            configure_logging("DEBUG", form, stream=stream)
            log = structlog.get_logger("x")
            log.warning("peer unreachable")
            log.info("ready")
            try:
                _ = 1 / 0
            except ZeroDivisionError:
                log.exception("a bug")
            logging.getLogger("lib").critical("no more")
            stream.seek(0)
            starts = [line[:3] for line in stream]
        if journal:
            assert starts[:2] == ["<4>", "<6>"]
            assert set(starts[2:-1]) == {"<3>"}
            assert starts[-1] == "<2>"
        else:
            assert not {"<4>", "<6>", "<3>"} & set(starts)


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_do_not_appear(form: str) -> None:
    stream = start(form=form)
    log = structlog.get_logger("x")
    log.info(
        "by name", as_token="abc1", password="abc2", sign="abc3", sign_key="abc4", Cookie="abc5"
    )
    log.info("by value", url=f"http://h/?access_token={SECRET}", raw=SECRET.encode())
    log.info("within", headers={"Authorization": "abc6", "list": [SECRET, {"token": "abc7"}]})
    log.info("an object", thing=Exception(SECRET))
    log.info("in the message %s", SECRET)
    logging.getLogger("lib").warning("from a library: %s", SECRET)
    error = RuntimeError(SECRET)
    log.error("with a traceback", exc_info=error)
    logging.getLogger("lib").error("and theirs", exc_info=error)
    text = stream.getvalue()
    assert SECRET not in text
    for number in range(1, 8):
        assert f"abc{number}" not in text
    assert text.count("RuntimeError") >= 2
    assert "***" in text


def test_short_values_are_no_secrets() -> None:
    """An empty or tiny token would blank out every line."""
    redact = Redactor(["", "a", "longer-secret"])
    event = redact(None, "info", {"event": "a cat", "x": "a longer-secret", "n": 1, "b": True})
    assert event == {"event": "a cat", "x": "a ***", "n": 1, "b": True}


def test_a_secret_within_a_secret_leaves_nothing_behind() -> None:
    event = Redactor(["secret", "secret-and-more"])(None, "info", {"event": "secret-and-more"})
    assert event == {"event": "***"}


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("token", True),
        ("as_token", True),
        ("X-Auth-Token", True),
        ("sign", True),
        ("sign_key", True),
        ("public_key", True),
        ("password", True),
        ("key", False),
        ("room_key", False),
        ("text_key", False),
        ("design", False),
        ("room", False),
    ],
)
def test_which_names_are_secret(name: str, *, secret: bool) -> None:
    assert is_secret_name(name) is secret


@pytest.mark.parametrize("name", HELD_AT_INFO)
def test_libraries_that_print_tokens_are_held_at_info(name: str) -> None:
    stream = start(level="DEBUG")
    logging.getLogger(f"{name}.client").debug("Authorization: Bearer x")
    assert stream.getvalue() == ""
    logging.getLogger(f"{name}.client").info("fine")
    assert len(lines(stream)) == 1


def test_the_level_is_kept_and_may_be_changed() -> None:
    stream = start(level="WARNING")
    log = structlog.get_logger("x")
    log.info("quiet")
    logging.getLogger("mautrix").info("quiet")
    logging.getLogger("lib").info("quiet")
    assert stream.getvalue() == ""
    stream = start(level="INFO")
    log.info("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


@pytest.mark.asyncio
async def test_no_token_of_a_request_reaches_the_log() -> None:
    """aiohttp's access log would print `?access_token=`, for any application in the process."""
    stream = start(level="DEBUG")

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="ok")

    application = web.Application()
    application.add_routes([web.get("/", answer)])
    # With the access log that aiohttp would use by default.
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        async with (
            ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/?access_token=tell-tale") as response,
        ):
            assert response.status == 200
    finally:
        await runner.cleanup()
    assert "tell-tale" not in stream.getvalue()
