"""Element X's engine (matrix-rust-sdk with its bindings) as a customer's client, in a process.

See `tests.support.rust_client` for what it does there.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.matrix_user import Customer
from tests.support.stage import Stage
from tests.support.strict import StrictClient, _end, log_in
from tests.support.synapse import register

PROGRAM = Path(__file__).with_name("rust_client.py")


class ElementX(StrictClient):
    """The app's process, which takes one command at a time (see `rust_client.Client.do_…`)."""


@asynccontextmanager
async def element_x(
    stage: Stage, name: str, *, new: bool = True, device: str = "1", **options: object
) -> AsyncIterator[StrictClient]:
    """Run the app; `device`: its data's folder, so that the same again is a restart."""
    if new:
        await register(stage.synapse, stage.session, name, f"{name}-secret")
    customer: Customer
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
        *(os.environ.get("EX_PYTHON", sys.executable), "-P", str(PROGRAM), json.dumps(who)),
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
        await _end(process)
        log.close()
