"""A stage for demo and tests: Synapse, simulator and bridge process, on loopback in one folder.

Scenes are played on it: a customer's room, her agents' desk, and the printed transcript.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import sample

import msgspec
from rich.console import Console
from rich.markup import escape
from ruamel.yaml import YAML

from bridge.app.settings import registration_of, tokens_of
from bridge.config.loading import load_config
from bridge.demo.child_process import ChildProcess, SynapseServer
from bridge.demo.phone import Event, Phone, RefusedError
from bridge.ids import localpart_of
from bridge.matrix.users import save_registration
from bridge.simulator.simulator import BadOpError, Simulator, SimulatorOptions
from bridge.simulator.state import Customer as AtDesk
from bridge.simulator.state import Wire
from bridge.texts import Texts

QUEUES = [
    {"id": 1, "name": "Sales", "aliases": ["sales"]},
    {"id": 2, "name": "Service", "aliases": ["service"]},
]
_STOP_TIMEOUT = 20.0
_PORTS = range(10_000, 32_768)
"""Ports below the ephemeral ones, which a client may get before a server listens on them."""


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    database: str = ""
    """The bridge's database URL; empty for a SQLite file in the folder."""
    synapse: Mapping[str, object] = field(default_factory=dict)
    """Additional keys of homeserver.yaml, which override the stage's own."""
    ports: tuple[int, int] | None = None
    """Ports of Synapse and the bridge; None for free ones."""
    simulator: SimulatorOptions = field(default_factory=SimulatorOptions)
    webchat: Mapping[str, object] = field(default_factory=dict)
    """Additional keys of the stage's section `webchat`, which override its own."""
    config: Mapping[str, object] = field(default_factory=dict)
    """Sections of config.yaml that replace the stage's own."""


@dataclass(frozen=True)
class Stage:
    folder: Path
    synapse: SynapseServer
    simulator: Simulator
    bridge: ChildProcess
    config: Path

    @property
    def bot(self) -> str:
        return f"@webchatbot:{self.synapse.domain}"

    @asynccontextmanager
    async def phone(self, name: str) -> AsyncIterator[Phone]:
        phone = await Phone.log_in(self.synapse, name, self.folder / name, new=True)
        try:
            yield phone
        finally:
            await phone.close()


@asynccontextmanager
async def set_stage(
    folder: Path,
    options: StageOptions | None = None,
    *,
    tell: Callable[[str], None] = lambda part: None,
) -> AsyncIterator[Stage]:
    """Start all parts in an existing folder, and stop them at the end. `tell` announces Synapse and
    the bridge before they start. ServerError if one does not start.
    """
    options = options or StageOptions()
    simulator = Simulator(options.simulator)
    await simulator.start()
    try:
        synapse_port, port = options.ports or islice(filter(_is_free, sample(_PORTS, 200)), 2)
        registration = folder / "registration.yaml"
        synapse = SynapseServer(
            folder / "synapse",
            port=synapse_port,
            registrations=(registration,),
            extra=options.synapse,
        )
        config = _write_config(folder, options, simulator, synapse, port)
        loaded = load_config(config, {})
        save_registration(registration_of(loaded, tokens_of(loaded)), registration)
        bridge = bridge_process(config, port, folder / "bridge.log")
        tell("starting Synapse …")
        async with synapse:
            tell("starting the bridge …")
            async with bridge:
                yield Stage(folder, synapse, simulator, bridge, config)
    finally:
        await simulator.stop()


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _write_config(
    folder: Path, options: StageOptions, simulator: Simulator, synapse: SynapseServer, port: int
) -> Path:
    sections: dict[str, object] = {
        "homeserver": {"address": synapse.address, "domain": synapse.domain},
        "appservice": {
            "address": f"http://127.0.0.1:{port}",
            "hostname": "127.0.0.1",
            "port": port,
            "as_token": "demo-as-token",
            "hs_token": "demo-hs-token",
        },
        "database": {"url": options.database or f"sqlite:///{folder}/bridge.db"},
        "webchat": {
            "base_url": simulator.base_url,
            "login_rate": {"count": 1000, "per_seconds": 1},
            **options.webchat,
        },
        "queues": QUEUES,
        "default_queue": 1,
        "bridge": {"permissions": {synapse.domain: "customer"}, "language": "en"},
        "metrics": {"enabled": False},
    }
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(sections | dict(options.config), stream)
    return path


def bridge_process(config: Path, port: int, log_file: Path) -> ChildProcess:
    return ChildProcess(
        name="the bridge",
        command=("bridge", "run", "-c", str(config)),
        url=f"http://127.0.0.1:{port}",
        ready="/_matrix/mau/ready",
        log_file=log_file,
        patience=_STOP_TIMEOUT,
    )


# --- the transcript ------------------------------------------------------------------------------

LONGEST = 160
"""Maximum characters of a line of the transcript; URLs of maps are longer."""
LOG_LINES = 15
SLOW = 2.0
"""Seconds after which a step is reported as still running."""


class StepFailedError(Exception):
    """A step of the demo failed; the message says what was expected."""


class Transcript:
    """Prints messages with their speakers, and each step as passed or failed; counts the steps."""

    def __init__(self, console: Console) -> None:
        self.failed: list[str] = []
        """Titles of the failed steps."""
        self.passed = 0
        self._console = console

    def title(self, text: str) -> None:
        self._console.print(f"\n[bold]{escape(text)}[/]")

    def note(self, text: str) -> None:
        self._console.print(f"[dim]{escape(text)}[/]")

    def end_of(self, log: Path) -> None:
        if log.exists():
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            self.note("\n".join([f"The end of {log.name}:", *lines[-LOG_LINES:]]))

    def show(self, who: str, text: str) -> None:
        lines = (
            line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…" for line in text.split("\n")
        )
        body = ("\n" + " " * 20).join(lines)
        self._console.print(f"        [cyan]{escape(who):>10}[/]  {escape(body)}")

    @asynccontextmanager
    async def step(self, title: str) -> AsyncIterator[None]:
        """Run one step: PASS if the block ends, FAIL if it raises for a wrong or missing answer."""
        began = time.monotonic()
        still = asyncio.get_running_loop().call_later(SLOW, self.note, f"  …   {title}")
        try:
            yield
        except (StepFailedError, TimeoutError, RefusedError, BadOpError, LookupError) as error:
            self.failed.append(title)
            why = str(error) or "what was expected did not come in time"
            if isinstance(error, LookupError):
                why = f"an answer lacks something: {error!r}"
            self._console.print(f"[bold red]FAIL[/]  {escape(title)} — {escape(why)}")
            return
        finally:
            still.cancel()
        took = time.monotonic() - began
        self.passed += 1
        self._console.print(f"[bold green]PASS[/]  {escape(title)} [dim]({took:.1f} s)[/]")

    def verdict(self) -> None:
        count = self.passed + len(self.failed)
        colour = "red" if self.failed else "green"
        self._console.print(f"\n[bold {colour}]{self.passed} of {count} steps passed[/]")


def expect(condition: object, what: str) -> None:
    """Fail the step unless the condition holds."""
    if not condition:
        raise StepFailedError(what)


# --- the call centre's side ----------------------------------------------------------------------

PATIENCE = 60.0
"""Timeout, in seconds, of each expectation."""


class Desk:
    """The agents' view of one customer; `name` is her display name in WebChat."""

    def __init__(self, simulator: Simulator, transcript: Transcript, name: str) -> None:
        self._simulator = simulator
        self._transcript = transcript
        self._name = name

    @property
    def uploads(self) -> set[object]:
        """The sha256 of each file uploaded by any customer."""
        uploads = msgspec.convert(self._simulator.state()["uploads"], list[Wire])
        return {upload["sha256"] for upload in uploads}

    @property
    def customer(self) -> AtDesk:
        for customer in self._simulator.customers.values():
            if customer.name == self._name:
                return customer
        raise StepFailedError(f"WebChat does not know {self._name}")

    async def do(self, op: str, **fields: object) -> Wire:
        return await self._simulator.do({"op": op, "login": self.customer.login, **fields})

    async def gets(self, what: str, wanted: Callable[[Wire], bool]) -> Wire:
        await self.until(what, lambda who: any(map(wanted, who.messages)))
        self._transcript.show("desk", f"← {what}")
        return next(filter(wanted, self.customer.messages))

    async def until(self, what: str, holds: Callable[[AtDesk], bool]) -> None:
        """Wait until `holds` is True of the customer in the simulator; else StepFailedError."""

        def seen(_state: Wire) -> bool:
            known = self._simulator.customers.values()
            return any(customer.name == self._name and holds(customer) for customer in known)

        try:
            await self._simulator.wait_for(seen, PATIENCE)
        except TimeoutError as error:
            raise StepFailedError(f"{what}: not at the desk within {PATIENCE:.0f} s") from error


def kind_is(kind: str) -> Callable[[Wire], bool]:
    return lambda message: message["kind"] == kind


# --- the customer's side -------------------------------------------------------------------------

POLL = "org.matrix.msc3381.poll.start"


class Scene:
    """Plays one customer and prints what she sends and receives."""

    def __init__(self, stage: Stage, transcript: Transcript, customer: Phone) -> None:
        self.stage = stage
        self.transcript = transcript
        self.step = transcript.step
        self.customer = customer
        self.room = ""
        self._name = localpart_of(customer.nio.user_id)
        self.desk = Desk(stage.simulator, transcript, self._name)
        self._printed: set[str] = set()

    async def open_dm(self, first: str, *, encrypted: bool = True) -> None:
        """Create the direct room together with its first message, as Element does."""
        self.room = await self.customer.create_dm(self.stage.bot, first, encrypted=encrypted)

    async def say(self, text: str) -> str:
        return await self.send(text, msgtype="m.text", body=text)

    async def tell(self, text: str, prefix: str = "") -> str:
        """Send a text and wait until the desk has it; returns its event id."""
        sent = await self.say(text)
        await self.desk.gets(f"{prefix}{text}", lambda message: message["text"] == text)
        return sent

    async def send(self, shown: str, **content: object) -> str:
        event_id = await self.customer.send(self.room, content)
        # Printed when sent, not when /sync returns it.
        self._printed.add(event_id)
        self.transcript.show(self._name, shown)
        return event_id

    async def send_file(self, data: bytes, name: str, mime: str, kind: str, **more: object) -> str:
        content = await self.customer.upload(data, name, mime)
        info = {"mimetype": mime, "size": len(data)}
        content |= {"msgtype": f"m.{kind}", "body": name, "info": info, **more}
        return await self.send(f"[{kind}] {name}", **content)

    async def react(self, event: Event, sign: str) -> None:
        relation = {"rel_type": "m.annotation", "event_id": event["event_id"], "key": sign}
        await self.customer.send(self.room, {"m.relates_to": relation}, "m.reaction")
        self.transcript.show(self._name, f"reacts with {sign}")

    async def vote(self, poll: Event, answer: str) -> None:
        """Choose an answer of a poll (MSC3381)."""
        kind = "org.matrix.msc3381.poll.response"
        relation = {"rel_type": "m.reference", "event_id": poll["event_id"]}
        content = {"m.relates_to": relation, kind: {"answers": [answer]}}
        await self.customer.send(self.room, content, kind)

    async def sees(self, what: str, wanted: Callable[[Event], bool]) -> Event:
        """Wait for an event in the room and return it; print the messages until then."""
        await self.notices(what, lambda: any(map(wanted, self.events)))
        return next(filter(wanted, self.events))

    async def notices(self, what: str, holds: Callable[[], bool]) -> None:
        """Sync the customer's client until `holds` returns True; else StepFailedError."""
        try:
            await self.customer.wait_until(holds, PATIENCE)
        except TimeoutError as error:
            raise StepFailedError(f"{what} was not seen within {PATIENCE:.0f} s") from error
        finally:
            self._print_new()

    async def reads(self, part: str, sender: str = "") -> Event:
        """Wait for a message, or an edit to a text, that contains `part`."""
        return await self.sees(
            f"“{part}”", lambda event: sender in {"", event["sender"]} and part in wording(event)
        )

    @property
    def events(self) -> list[Event]:
        return self.customer.events(self.room)

    def _print_new(self) -> None:
        for event in self.events:
            if event["type"] in {"m.room.message", POLL} and event["event_id"] not in self._printed:
                self._printed.add(event["event_id"])
                edited = " (edited in place)" if "m.new_content" in event["content"] else ""
                self.transcript.show(self._named(event["sender"]), shown(event) + edited)

    def _named(self, user_id: str) -> str:
        for event in reversed(self.events):
            name = event["content"].get("displayname")
            if event["type"] == "m.room.member" and event["state_key"] == user_id and name:
                return str(name)
        return localpart_of(user_id)

    def ghost(self, agent: str) -> str:
        return f"@webchat__{agent.lower()}:{self.stage.synapse.domain}"


def words(key: str, **args: str | int) -> str:
    return Texts({}).render("en", key, {"prefix": "!wc", **args})


# --- looking at events ------------------------------------------------------------------------


def wording(event: Event) -> str:
    """Return the text of an event; for an edit, the new text."""
    return str(event["content"].get("m.new_content", event["content"]).get("body", ""))


def shown(event: Event) -> str:
    if event["type"] == POLL:
        return f"[poll] {', '.join(label for _, label in answers_of(event))}"
    kind, text = event["content"].get("msgtype", ""), wording(event)
    return text if kind in {"m.text", "m.notice", "m.emote"} else f"[{kind[2:]}] {text}"


def answers_of(poll: Event) -> list[tuple[str, str]]:
    """Return id and label of each answer of a poll."""
    answers = poll["content"][POLL]["answers"]
    return [(answer["id"], answer["org.matrix.msc1767.text"]) for answer in answers]


def from_agent(msgtype: str) -> Callable[[Event], bool]:
    """Match a message of this type from a ghost or a queue's user."""
    return lambda event: (
        event["content"].get("msgtype") == msgtype and event["sender"].startswith("@webchat_")
    )


def membership(user_id: str, value: str) -> Callable[[Event], bool]:
    return lambda event: (
        event["type"] == "m.room.member"
        and event["state_key"] == user_id
        and event["content"]["membership"] == value
    )
