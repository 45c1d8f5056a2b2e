"""The launcher of a real Synapse: on PostgreSQL, across restarts, and if it cannot start."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from bridge.demo.child_process import ServerError, SynapseServer
from tests.support.client import restart
from tests.support.matrix_user import Customer
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.synapse import SYNAPSE_KEYS, register


@pytest.mark.asyncio
async def test_synapse_on_postgresql_keeps_its_data_through_stop_and_kill(
    tmp_path: Path,
) -> None:
    postgres = PostgresServer()
    postgres.start()
    try:
        there = urlsplit(postgres.url())
        args = {
            "user": there.username,
            "dbname": there.path.lstrip("/"),
            "host": parse_qs(there.query)["host"][0],
            "cp_min": 2,
            "cp_max": 10,
        }
        # Without allow_unsafe_locale Synapse insists on a database made with the C locale.
        database = {"name": "psycopg2", "allow_unsafe_locale": True, "args": args}
        extra = SYNAPSE_KEYS | {"database": database}
        server = SynapseServer(tmp_path / "synapse", port=free_port(), extra=extra)
        async with server, aiohttp.ClientSession() as session:
            ann = await Customer.sign_up(session, server, "ann")
            devices = (await ann.call("GET", "v3/devices"))["devices"]
            assert isinstance(devices, list)
            assert len(devices) == 1, "registering made one that nobody holds"
            await restart(server)
            assert (await ann.call("GET", "v3/account/whoami"))["user_id"] == "@ann:localhost"
            await server.kill()
            await server.start()
            assert (await ann.call("GET", "v3/account/whoami"))["user_id"] == "@ann:localhost"
            with pytest.raises(ServerError, match="ann not registered"):
                await register(server, session, "ann", "again")
        assert not (tmp_path / "synapse" / "homeserver.db").exists()
    finally:
        postgres.remove()


@pytest.mark.asyncio
async def test_failure_to_start_names_the_log(tmp_path: Path) -> None:
    extra = {"database": {"name": "no such thing"}}
    server = SynapseServer(tmp_path / "synapse", port=free_port(), extra=extra)
    with pytest.raises(ServerError, match=r"ended with 1: see .*homeserver\.log"):
        await server.start()
    assert "no such thing" in server.log_file.read_text()
    await server.stop()


@pytest.mark.asyncio
async def test_missing_synapse_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ServerError, match="pip install"):
        await SynapseServer(tmp_path / "synapse", port=free_port()).start()
