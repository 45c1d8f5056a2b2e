"""Reasons of failures, as people read them: plain English, never a bare class name or nothing."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from pathlib import Path

import aiohttp
import asyncpg
import msgspec
import pytest
from aiohttp.client_reqrep import ConnectionKey
from websockets.exceptions import ConnectionClosedError, InvalidMessage

import bridge
from bridge.rooms.ports import Unavailable, describe
from bridge.rooms.store import StoreError
from bridge.storage.postgres import _translated

KEY = ConnectionKey("crm", 443, True, True, None, None, None)


def expired() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL] secret host")
    error.verify_message = "certificate has expired"
    return error


def no_tls() -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "no answer in time"),
        (asyncio.TimeoutError(), "no answer in time"),  # noqa: UP041 - the alias of libraries
        (aiohttp.ServerTimeoutError(), "no answer in time"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused"),
        (OSError(errno.ENOSPC, "x"), "No space left on device"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (ConnectionResetError(), "connection reset"),
        (BrokenPipeError(), "broken pipe"),
        (ConnectionError("user:hunter2@host"), "the connection broke"),
        (EOFError("stream ended"), "the connection broke"),
        (asyncio.IncompleteReadError(b"hunter2", 9), "the connection broke"),
        (aiohttp.ClientPayloadError("?token=hunter2"), "the connection broke"),
        (aiohttp.ServerDisconnectedError(), "server disconnected"),
        (
            aiohttp.ClientConnectorError(KEY, OSError(errno.EHOSTUNREACH, "x")),
            "No route to host",
        ),
        (
            aiohttp.ClientConnectorCertificateError(KEY, expired()),
            "certificate not accepted: certificate has expired",
        ),
        (expired(), "certificate not accepted: certificate has expired"),
        (aiohttp.ClientConnectorSSLError(KEY, no_tls()), "TLS failed: WRONG_VERSION_NUMBER"),
        (ConnectionClosedError(None, None), "connection closed"),
        (InvalidMessage("?token=hunter2"), "invalid message"),
        (Unavailable("HTTP 502"), "HTTP 502"),
        (StoreError(), "unexpected error (StoreError)"),
        (KeyError("hunter2"), "unexpected error (KeyError)"),
        (msgspec.DecodeError("hunter2"), "unexpected error (DecodeError)"),
    ],
)
def test_reason_of_an_error(error: Exception, reason: str) -> None:
    assert describe(error) == reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "no answer in time"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "Connection reset by peer"),
        (asyncpg.InterfaceError("hunter2"), "the connection broke"),
        (asyncpg.InternalClientError("hunter2"), "the connection broke"),
        (asyncpg.ConnectionDoesNotExistError("x"), "connection does not exist (08003)"),
        (asyncpg.DiskFullError("x"), "disk full (53100)"),
        (asyncpg.TooManyConnectionsError("x"), "too many connections (53300)"),
        (asyncpg.exceptions.ReadOnlySQLTransactionError("x"), "read only sql transaction (25006)"),
        (asyncpg.UniqueViolationError("Key (key)=(hunter2)"), "unique violation (23505)"),
        (asyncpg.InsufficientPrivilegeError("x"), "insufficient privilege (42501)"),
        (asyncpg.DataCorruptedError("x"), "data corrupted (XX001)"),
    ],
)
def test_reason_of_an_error_of_postgresql(error: Exception, reason: str) -> None:
    """The condition names of its documentation (appendix A), with their codes; no values."""
    assert str(_translated(error)) == f"PostgreSQL: {reason}"


def test_no_code_gives_the_class_of_an_error_as_a_reason() -> None:
    found = [
        f"{path.name}: {line.strip()}"
        for path in Path(bridge.__file__).parent.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"type\((error|err|exc|one|cause|failure)\)\.__name__", line)
    ]
    assert found == [
        'ports.py: name, package = type(error).__name__, type(error).__module__.partition(".")[0]'
    ]
