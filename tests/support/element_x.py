"""A customer with Element X: matrix-rust-sdk with the bindings that the app has, in a process.

The engine is fetched from PyPI once, into a folder of the virtual environment, and not with the
extra `test`: its wheels are for Linux with glibc 2.38 (on ARM 2.34), and macOS up to Python 3.12,
and elsewhere nothing of that extra could be installed. Where there is no wheel, the tests are
skipped with that reason. `rust_client.py` is the program that drives it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.install import UV
from tests.support.stage import Stage
from tests.support.strict import StrictClient, log_in, running
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
    # An environment that uv has made has no pip of its own.
    beside = UV.with_name("python")
    pip = beside if beside.exists() else sys.executable
    command = [pip, "-m", "pip", "--python", sys.executable, "--no-input", "install", "--upgrade"]
    command += ["--progress-bar", "off", "--only-binary", ":all:", "--target", INSTALLED, ENGINE]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if tried.returncode:
        said = tried.stderr[-1000:]
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
    # -P: this folder has modules with names of the standard library.
    command = (sys.executable, "-P", str(PROGRAM), json.dumps(who))
    environment = {**os.environ, "PYTHONPATH": str(INSTALLED)}
    async with running(command, folder / "app.log", customer, environment) as app:
        yield app
