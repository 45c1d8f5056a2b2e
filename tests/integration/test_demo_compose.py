"""compose.demo.yaml without Docker: its scripts and programs, from setup to a conversation.

The scripts run unchanged, as do Synapse, the simulator, PostgreSQL and the bridge with the files
of `setup.sh`; only the containers' addresses are replaced by local ones.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from bridge.demo.child_process import ChildProcess
from bridge.demo.stage import bridge_process
from bridge.simulator.simulator import Simulator, SimulatorOptions
from tests.support.client import said
from tests.support.matrix_user import Customer
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer

SCRIPTS = Path(__file__).parents[2] / "deploy" / "demo"


def run(script: str, folder: Path, **environment: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(  # noqa: S603 - our own
        ["/bin/sh", SCRIPTS / script],
        env={"PATH": path, "DATA": str(folder), **environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout


def replace_addresses(path: Path, **places: str) -> None:
    """Replace the containers' addresses, each of which must occur, by local ones."""
    text = path.read_text(encoding="utf-8")
    for name, place in places.items():
        container = name.replace("_", "-")
        text, count = re.subn(rf"(?<=//){container}:\d+", place, text)
        assert count, (path, name)
    path.write_text(text, encoding="utf-8")


@pytest.mark.asyncio
async def test_the_compose_demo_from_setup_to_a_conversation(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    homeserver, bridge = free_port(), free_port()
    simulator = Simulator(SimulatorOptions(script="accept"))
    run("setup.sh", tmp_path)
    config, synapse_config = tmp_path / "config.yaml", tmp_path / "synapse" / "homeserver.yaml"
    async with AsyncExitStack() as stack:
        await simulator.start()
        stack.push_async_callback(simulator.stop)
        simulated = simulator.base_url.removeprefix("http://").partition("/")[0]
        replace_addresses(
            config,
            synapse=f"127.0.0.1:{homeserver}",
            matrix_webchat=f"127.0.0.1:{bridge}",
            simulator=simulated,
        )
        replace_addresses(tmp_path / "registration.yaml", matrix_webchat=f"127.0.0.1:{bridge}")
        text = config.read_text("utf-8").replace(
            "hostname: 0.0.0.0", f"hostname: 127.0.0.1, port: {bridge}"
        )
        text = re.sub(r'"postgres://[^"]+"', f'"{postgres_server.new_database()}"', text)
        config.write_text(f"{text}metrics: {{enabled: false}}\n", "utf-8")
        text = synapse_config.read_text("utf-8").replace("8008", str(homeserver))
        synapse_config.write_text(text.replace("0.0.0.0", "127.0.0.1"), "utf-8")  # noqa: S104

        address = f"http://127.0.0.1:{homeserver}"
        await stack.enter_async_context(
            ChildProcess(
                name="Synapse",
                command=("synapse.app.homeserver", "--config-path", str(synapse_config)),
                url=address,
                ready="/health",
                log_file=tmp_path / "synapse.log",
                patience=15.0,
            )
        )
        await stack.enter_async_context(bridge_process(config, bridge, tmp_path / "bridge.log"))
        welcome = [run("welcome.sh", tmp_path, HOMESERVER=address) for _ in range(2)]
        assert welcome[0] == welcome[1]  # the second run finds the account

        session = await stack.enter_async_context(aiohttp.ClientSession())
        customer = Customer(session, address, "@customer:localhost", "")
        (password,) = re.findall(r"log in as customer, password (\S+)", welcome[0])
        login = {"type": "m.login.password", "user": "customer", "password": password}
        customer._token = str((await customer.call("POST", "v3/login", {**login}))["access_token"])
        (bot,) = re.findall(r"(@\S+:\S+),", welcome[0])
        room = await customer.create_dm(bot, "hello")
        await simulator.wait_for(lambda state: "hello" in str(state), 30.0)
        await simulator.do({"op": "say", "text": "welcome"})
        await customer.wait_for(room, said("welcome", "@webchat__a00001:localhost"))
