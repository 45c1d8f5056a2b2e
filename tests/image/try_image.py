"""`make image-check`: the built image, from its first start to a conversation.

    python -m tests.image.try_image [--engine podman] [--image matrix-webchat-bridge]

A real Synapse and the WebChat simulator run on this machine; the container shares its network. Not
part of `make test`, since it needs a container engine and an image.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bridge.config.loading import load_config
from bridge.demo.child_process import SynapseServer
from bridge.ops.logging import configure_logging
from bridge.simulator.simulator import Simulator, SimulatorOptions
from tests.support.client import said
from tests.support.matrix_user import Customer
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.synapse import SYNAPSE_KEYS

NAME = "matrix-webchat-try"
OWNER = 1337
"""User id of the image."""
GHOST = "@webchat__a00001:localhost"
HEALTH = (
    "import urllib.request as r; print(r.urlopen('http://127.0.0.1:{}/_matrix/mau/live').status)"
)
PARTS = """
import json
from importlib.metadata import distributions
with open("/opt/bridge/sbom.cdx.json") as file:
    told = {(one["name"], one["version"]) for one in json.load(file)["components"]}
print({(one.name, one.version) for one in distributions()} ^ told)
"""


class Failed(Exception):
    """A step did not give the expected result."""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print PASS or FAIL for the block; a failure ends the program."""
    began = time.monotonic()
    try:
        yield
    except (Failed, TimeoutError, AssertionError, aiohttp.ClientError) as error:
        say(f"FAIL  {what}: {error!r}")
        raise SystemExit(1) from error
    say(f"PASS  {what} ({time.monotonic() - began:.1f} s)")


@dataclass(frozen=True)
class Engine:
    """docker or podman, with the options common to all starts of the image."""

    program: str
    image: str
    data: Path

    def call(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(  # noqa: S603 - the engine that was asked for
            [self.program, *arguments], check=False, capture_output=True, text=True, timeout=300
        )
        if check and done.returncode:
            raise Failed(f"{arguments[0]}: {done.stderr.strip()[-500:]}")
        return done

    def common(self, *mounts: Path) -> list[str]:
        user = f"{os.getuid()}:{os.getgid()}" if os.getuid() else f"{OWNER}:{OWNER}"
        volumes = [f"-v={self.data}:/data", *(f"-v={mount}:{mount}" for mount in mounts)]
        return ["run", "--name", NAME, f"--user={user}", "--network=host", *volumes]

    def once(self, *arguments: str, mounts: tuple[Path, ...] = ()) -> tuple[int, str]:
        """Run the image to its end; returns exit code and output."""
        done = self.call(*self.common(*mounts), "--rm", self.image, *arguments, check=False)
        return done.returncode, done.stdout + done.stderr

    def serve(self, *mounts: Path, **environment: str) -> None:
        given = [f"--env={key}={value}" for key, value in environment.items()]
        self.call(*self.common(*mounts), "--detach", *given, self.image)

    def stop(self) -> int:
        """Send SIGTERM; returns the exit code."""
        self.call("stop", "--time=20", NAME)
        code = self.call("inspect", "--format={{.State.ExitCode}}", NAME).stdout.strip()
        self.call("rm", NAME)
        return int(code)

    def remove(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.call("rm", "--force", NAME, check=False)


def expect(seen: object, wanted: object, what: str) -> None:
    if seen != wanted:
        raise Failed(f"{what}: {seen}, not {wanted}")


def ours(homeserver: str, webchat: str, port: int) -> tuple[tuple[str, str], ...]:
    """Return the replacements in config.yaml for the local servers."""
    return (
        ("address: http://synapse:8008", f"address: {homeserver}"),
        ("domain: example.org", "domain: localhost"),
        ("address: http://matrix-webchat:29340", f"address: http://127.0.0.1:{port}"),
        ("port: 29340", f"port: {port}"),
        ("https://crm.example.org/webchat", webchat),
        ("port: 8000", f"port: {free_port()}"),
        ("\n  language: zh-CN\n", "\n  language: en\n"),
        ('"example.org": customer', '"localhost": customer'),
    )


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace lines of config.yaml, as an operator does with an editor."""
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        expect(text.count(old), 1, f"{old!r} in {path.name}")
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def first_starts(engine: Engine, simulator: Simulator, synapse: SynapseServer, port: int) -> None:
    """Check the starts from an empty folder: config.yaml, edited, registration.yaml."""
    config = engine.data / "config.yaml"
    with step("first start writes config.yaml and ends with 0"):
        code, output = engine.once()
        expect(code, 0, output)
        expect(config.exists(), True, "config.yaml exists")
        expect(oct(config.stat().st_mode & 0o777), "0o600", "its mode")
        expect(config.stat().st_uid, OWNER if os.getuid() == 0 else os.getuid(), "its owner")
    with step("as long as it is not edited it says so and ends with 11"):
        code, output = engine.once()
        expect(code, 11, output)
        expect("still has the servers of the example" in output, True, output)
    with step("config.yaml is edited"):
        edit(config, *ours(synapse.address, simulator.base_url, port))
    with step("the next start writes registration.yaml, fills the tokens, ends with 0"):
        code, output = engine.once()
        expect(code, 0, output)
        expect((engine.data / "registration.yaml").exists(), True, "registration.yaml exists")
        tokens = load_config(config, {}).appservice
        expect(bool(tokens.as_token.get_secret_value()), True, "as_token filled")


async def ready(port: int) -> None:
    url = f"http://127.0.0.1:{port}/_matrix/mau/ready"
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.2)


async def converse(simulator: Simulator, synapse: SynapseServer, who: str) -> None:
    """Send a text each way and close the chat."""
    async with aiohttp.ClientSession() as session:
        customer = await Customer.sign_up(session, synapse, who)
        room = await customer.create_dm("@webchatbot:localhost", f"hello, I am {who}")
        await simulator.wait_for(lambda state: f"hello, I am {who}" in str(state), 30.0)
        await simulator.do({"op": "say", "text": f"welcome, {who}"})
        await customer.wait_for(room, said(f"welcome, {who}", GHOST))
        await simulator.do({"op": "close"})


async def serving(
    engine: Engine, simulator: Simulator, synapse: SynapseServer, port: int, database: str = ""
) -> None:
    """Start the bridge on one database, hold a chat, stop.

    On PostgreSQL everything is moved there first: a new database would be refused (code 16).
    """
    kind = "PostgreSQL" if database else "SQLite"
    environment = {"MATRIX_WEBCHAT_DATABASE__URL": database} if database else {}
    mounts = (Path(database.partition("host=")[2]),) if database else ()
    if database:
        with step("migrate-db in the image moves everything to PostgreSQL"):
            code, output = engine.once("migrate-db", database, mounts=mounts)
            expect(code, 0, output)
    with step(f"it serves on {kind} and is ready"):
        engine.serve(*mounts, **environment)
        await ready(port)
    with step("its process is not root's, and its health check passes"):
        user = engine.call("exec", NAME, "id", "-u").stdout.strip()
        expect(user, str(OWNER if os.getuid() == 0 else os.getuid()), "user")
        health = engine.call("exec", NAME, "python", "-c", HEALTH.format(port)).stdout.strip()
        expect(health, "200", "live")
    with step("its list of parts (SBOM) is what is installed in it"):
        differing = engine.call("exec", NAME, "python", "-c", PARTS).stdout.strip()
        expect(differing, "set()", "differing")
    with step(f"a customer and an agent talk ({kind})"):
        await converse(simulator, synapse, f"ada-{kind.lower()}")
    with step("SIGTERM: it ends with 0"):
        expect(engine.stop(), 0, "exit code")


def stopped_at_once(engine: Engine) -> None:
    """As process 1 the bridge gets SIGTERM only if it has a handler."""
    with step("SIGTERM in the middle of its start: it ends, and is not killed"):
        engine.serve()
        expect(engine.stop() in {0, 143}, True, "exit code")


async def play(engine: Engine, folder: Path) -> None:
    engine.remove()  # leftovers of an interrupted run
    simulator = Simulator(SimulatorOptions(script="accept", login_limit=0))
    await simulator.start()
    port = free_port()
    synapse = SynapseServer(
        folder / "synapse",
        port=free_port(),
        registrations=(engine.data / "registration.yaml",),
        extra=SYNAPSE_KEYS,
    )
    try:
        await asyncio.to_thread(first_starts, engine, simulator, synapse, port)
        async with synapse:
            await asyncio.to_thread(stopped_at_once, engine)
            await serving(engine, simulator, synapse, port)
            postgres = await asyncio.to_thread(PostgresServer)
            try:
                await asyncio.to_thread(postgres.start)
                # The container's user must be able to reach the socket.
                postgres.directory.chmod(0o755)
                await serving(engine, simulator, synapse, port, postgres.new_database())
            finally:
                await asyncio.to_thread(postgres.remove)
    except SystemExit:
        say(engine.call("logs", "--tail=20", NAME, check=False).stdout)
        raise
    finally:
        engine.remove()
        await simulator.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="docker")
    parser.add_argument("--image", default="matrix-webchat-bridge")
    given = parser.parse_args()
    configure_logging("WARNING", "text")
    folder = Path(tempfile.mkdtemp(prefix="webchat-image-"))
    data = folder / "data"
    data.mkdir()
    if os.getuid() == 0:
        os.chown(data, OWNER, OWNER)
        folder.chmod(0o755)  # the container's user must be able to reach its data
    try:
        asyncio.run(play(Engine(given.engine, given.image, data), folder))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
