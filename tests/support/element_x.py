"""A customer with Element X: matrix-rust-sdk with the bindings that the app has, in a process.

The engine is fetched from PyPI once, into a folder of the virtual environment, and not with the
extra `test`: its wheels are for Linux with glibc 2.38 (on ARM 2.34), and macOS up to Python 3.12,
and elsewhere nothing of that extra could be installed. Where there is no wheel, the tests are
skipped with that reason. `rust_client.py` is the program that drives it.
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.install import main as install_with
from tests.support.stage import Stage
from tests.support.strict import StrictClient, end, log_in
from tests.support.synapse import alone, register

PROGRAM = Path(__file__).with_name("rust_client.py")
ENGINE = "matrix-sdk-python==0.18.0"
INSTALLED = Path(sys.prefix) / "element-x"


async def install() -> None:
    """Install the engine, if it is not there yet.

    Raises:
        AssertionError: the installation failed.
        Skipped: there is no wheel for this machine, or no registry.
    """
    async with alone(INSTALLED / "lock"):
        why = await asyncio.to_thread(_missing)
    if why:
        pytest.skip(why)


@functools.cache
def _missing() -> str:
    """Install the engine; return why there is none, or an empty string."""
    done = INSTALLED / "installed"
    if done.exists() and done.read_text(encoding="utf-8") == ENGINE:
        return ""
    out = io.StringIO()
    wanted = ("--target", str(INSTALLED), "--only-binary", ":all:", ENGINE)
    if install_with(Path(sys.prefix), wanted, out):
        said = out.getvalue()[-1000:]
        assert "No matching distribution found" in said, f"{ENGINE} not installed: {said}"
        return f"no wheel of {ENGINE} for this machine, so no Element X: {said}"
    done.write_text(ENGINE, encoding="utf-8")
    return ""


@asynccontextmanager
async def element_x(
    stage: Stage, name: str, *, new: bool = True, device: str = "1", **options: object
) -> AsyncIterator[StrictClient]:
    """Run the app of a customer, logged in and syncing.

    Args:
        stage: provides the homeserver.
        name: localpart of the customer.
        new: whether to register the customer first.
        device: of the same device, the app is started again with what it has stored.
        options: `strict` excludes insecure devices, `threads` shows threads as such; see
            `rust_client.Client`.
    """
    await install()
    if new:
        await register(stage.synapse, stage.session, name, f"{name}-secret")
    customer, _ = await log_in(stage, name)
    folder = stage.folder / f"{name}-app-{device}"
    folder.mkdir(exist_ok=True)
    who = {
        "homeserver": stage.synapse.address,
        "user": name,
        "password": f"{name}-secret",
        "folder": str(folder),
        **options,
    }
    log = (folder / "app.log").open("ab")
    process = await asyncio.create_subprocess_exec(
        # -P: this folder has modules with names of the standard library.
        *(sys.executable, "-P", str(PROGRAM), json.dumps(who)),
        env={**os.environ, "PYTHONPATH": str(INSTALLED)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        start_new_session=True,
        limit=64 * 1024 * 1024,
    )
    try:
        app = StrictClient(process, customer)
        assert await app.answer() == {"ready": True}
        yield app
    finally:
        await end(process)
        log.close()
