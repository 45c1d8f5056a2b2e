"""`Serving`, and the background work beside it."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import ClientSession, web
from pydantic import SecretStr
from structlog.testing import capture_logs

from bridge import __version__
from bridge.app import replica, serving
from bridge.app.replica import Replica
from bridge.app.serving import (
    DATED,
    INSTANCE,
    MEASURE_EVERY,
    PRUNE_AGAIN,
    PRUNE_EVERY,
    SILENCE,
    Contact,
    HomeserverRefused,
    Serving,
    measure,
    place_of,
    prune,
    why_refused,
)
from bridge.app.settings import link_settings_of
from bridge.config.model import Config, Permission, Queue, Retention
from bridge.conversation.model import Chatting, Conversation
from bridge.ids import SHARDS, AgentId, QueueId, RoomId, SessionId
from bridge.link.http_client import VISITS
from bridge.link.links import Links
from bridge.matrix.adapter import MatrixAdapter
from bridge.matrix.catchup import PRUNED
from bridge.matrix.client import FOREIGN, TAKEN
from bridge.matrix.crypto.devices import ANOTHER
from bridge.ops import health
from bridge.ops.metrics import Metrics
from bridge.rooms.engine import Engine
from bridge.rooms.ports import Refused, Unauthorized, Unavailable
from bridge.rooms.record import RoomRecord, dump_record
from bridge.rooms.rules import GONE
from bridge.rooms.store import (
    INBOX,
    Backlog,
    Cutoffs,
    Depth,
    StoredRoom,
    StoreError,
)
from bridge.rooms.surroundings import Surroundings, SystemClock
from bridge.storage.query import CorruptDatabaseError, Unreachable
from bridge.storage.sqlstore import SqlStore, open_store
from bridge.webchat.frames import Agent
from tests.fakes.clock import START, ManualClock, quiet
from tests.fakes.flow import step
from tests.fakes.memory import MemoryStore
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.unit.config.configs import SMALLEST, load
from tests.unit.config.test_enterprises import TWO
from tests.unit.link.rig import eventually


def told(folder: Path, text: str = SMALLEST, url: str = "") -> Config:
    """Return a configuration with a new database and unreachable servers."""
    environment = {
        "MATRIX_WEBCHAT_DATABASE__URL": url or f"sqlite:///{folder}/bridge.db",
        # A homeserver of this machine may listen on 8008.
        "MATRIX_WEBCHAT_HOMESERVER__ADDRESS": f"http://127.0.0.1:{free_port()}",
        "MATRIX_WEBCHAT_APPSERVICE__PORT": str(free_port()),
        "MATRIX_WEBCHAT_METRICS__ENABLED": "false",
    }
    return load(folder, text, environment)


@pytest.mark.parametrize("call", ["fact", "busy_rooms", "live_rooms", "deadlines"])
@pytest.mark.parametrize("trouble", [Unreachable("gone"), CorruptDatabaseError("damaged")])
@pytest.mark.asyncio
async def test_a_database_lost_while_the_bridge_starts_is_a_store_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, trouble: StoreError
) -> None:
    """Exit codes 14 and 18 go by the error's type (`cli.console`)."""

    async def lost(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(SqlStore, call, lost)
    with pytest.raises(type(trouble)):
        async with Serving(told(tmp_path)):
            pytest.fail("started")


@pytest.mark.asyncio
@pytest.mark.parametrize("wanted", [True, False])
async def test_states_are_reported_if_an_endpoint_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, wanted: bool
) -> None:
    told_states: asyncio.Queue[dict[str, object]] = asyncio.Queue()

    async def take(request: web.BaseRequest) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer as"
        told_states.put_nowait(await request.json())
        return web.Response()

    runner = web.ServerRunner(web.Server(take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    monkeypatch.setattr(health, "LOOK_EVERY", 0.01)
    config = told(tmp_path)
    homeserver = {"status_endpoint": endpoint if wanted else ""}
    changed = {
        "homeserver": config.homeserver.model_copy(update=homeserver),
        "appservice": config.appservice.model_copy(update={"as_token": SecretStr("as")}),
    }
    config = config.model_copy(update=changed)
    async with Serving(config) as served, asyncio.timeout(30):
        if wanted:
            parts = {str((await told_states.get()).get("remote_id")) for _ in range(2)}
            assert parts == {"None", "webchat"}
            monkeypatch.setattr(health.Health, "parts", lambda _: {"webchat": ("http://x", "")})
            served._links[""]._shared.logins.refused = "login refused with -30"
            while (await told_states.get())["state_event"] != "BAD_CREDENTIALS":
                pass
        else:
            await asyncio.sleep(0.1)
    assert wanted or told_states.empty()
    await runner.cleanup()


@pytest.mark.asyncio
async def test_other_processes_are_notified_once_of_queued_events(tmp_path: Path) -> None:
    bridge, told_others = Serving(told(tmp_path)), []
    bridge._replica = cast("Replica", SimpleNamespace(tell_held=lambda: told_others.append("held")))
    bridge._catch_up_all()
    bridge._catch_up_all()  # the rooms are not read yet
    assert bridge._held.is_set()
    assert told_others == ["held"]


@pytest.mark.asyncio
async def test_two_media_at_a_time_are_converted_in_threads_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Surroundings] = []

    def surroundings(*parts: Any) -> Surroundings:
        made.append(Surroundings(*parts))
        return made[-1]

    monkeypatch.setattr(serving, "Surroundings", surroundings)
    began, done = threading.Semaphore(0), threading.Event()

    def convert() -> None:
        began.release()
        assert done.wait(20)

    async with Serving(told(tmp_path)):
        (around,) = made
        assert isinstance(around.matrix, MatrixAdapter)
        assert around.matrix.conversions is around.conversions
        jobs = [around.conversions.submit(convert) for _ in range(3)]
        for _ in range(2):
            assert await asyncio.to_thread(began.acquire, timeout=20)  # files have other threads
        assert [job.running() for job in jobs] == [True, True, False]
        done.set()
        await asyncio.gather(*map(asyncio.wrap_future, jobs))
    with pytest.raises(RuntimeError):
        around.conversions.submit(convert)


@pytest.mark.asyncio
async def test_call_centres_keep_their_rooms_whatever_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if one is removed, or the short form is back: no room changes its call centre."""
    made: list[Engine] = []

    class Watched(Engine):
        def __init__(self, *parts: Any, **more: Any) -> None:
            super().__init__(*parts, **more)
            made.append(self)

    monkeypatch.setattr(serving, "Engine", Watched)
    head, acme, best = TWO.partition("  - id: acme")[0], *TWO.split("  - id: ")[1:]
    entry = "  - id: "

    async def served(text: str) -> list[str]:
        """Return the call centres that serve rooms of these names."""
        async with Serving(told(tmp_path, text)):
            return [made[-1].rules(name).enterprise for name in ("", "acme", "best", "third")]

    assert await served(SMALLEST) == ["", GONE, GONE, GONE]
    assert await served(TWO) == ["acme", "acme", "best", GONE]
    assert await served(head + entry + best + entry + acme) == ["acme", "acme", "best", GONE]
    assert await served(head + entry + best) == [GONE, GONE, "best", GONE]
    assert await served(SMALLEST) == ["", "", GONE, GONE]
    rules = made[-1].rules
    for room in ("", "best"):  # an invitation there finds the only one
        assert [rules(room).rules_of(one) for one in ("", "acme")] == [rules(""), rules("")]
        assert rules(room).rules_of("best") is None


@pytest.mark.asyncio
async def test_rooms_of_the_short_form_stay_with_their_server_in_any_order(
    tmp_path: Path,
) -> None:
    """Given to the first entry, their chats and tokens would be another company's."""
    config = told(tmp_path, TWO)
    url = config.database.url.get_secret_value()
    async with open_store(url, SystemClock()) as store:
        fact = link_settings_of(config.parts()["best"]).fact(VISITS)
        await store.save_fact(fact, "1733011200000")
    async with Serving(config) as bridge:
        assert bridge._first == "best"


@pytest.mark.asyncio
async def test_hanging_links_of_call_centres_are_closed_concurrently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing, close = asyncio.Event(), Links.aclose
    waiting: set[Links] = set()

    async def hanging(links: Links) -> None:
        if links._runs:
            waiting.add(links)
            if len(waiting) == 2:
                closing.set()
            async with asyncio.timeout(20):
                await closing.wait()
        await close(links)

    monkeypatch.setattr(Links, "aclose", hanging)
    async with Serving(told(tmp_path, TWO)):
        pass
    assert len(waiting) == 2


@pytest.mark.asyncio
async def test_rules_of_new_rooms_are_reloaded_if_the_first_entry_is_gone(tmp_path: Path) -> None:
    head, _, best = TWO.partition("  - id: acme")[0], *TWO.split("  - id: ")[1:]
    async with Serving(told(tmp_path, TWO)):
        pass
    text = f"{head}  - id: {best}"
    async with Serving(told(tmp_path, text)) as bridge:
        bridge.apply_config(
            told(
                tmp_path,
                text.replace('"example.org": admin', '"example.org": none, "other.org": admin'),
            )
        )
        (best_rules,) = (one.rules for one in bridge._around.values())
        assert best_rules.permission("@ada:example.org") is Permission.NONE
        new = bridge._gone.rules
        assert new.permission("@ada:example.org") is Permission.NONE
        assert new.rules_of("best") is best_rules


@pytest.mark.asyncio
async def test_shards_are_counted_as_they_are_now(
    tmp_path: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rooms are left between two heartbeats, if the database does not answer the second."""
    monkeypatch.setattr(replica, "BEAT", 60)
    async with Serving(told(tmp_path, url=postgres_server.new_schema())) as bridge:
        await eventually(lambda: b"webchat_shards 256.0" in bridge._metrics.render())
        assert bridge._replica is not None
        bridge._replica._engine.lose(range(SHARDS))
        assert b"webchat_shards 0.0" in bridge._metrics.render()


@pytest.mark.asyncio
async def test_chats_of_a_removed_call_centre_are_named_in_the_log_and_the_metrics(
    tmp_path: Path,
) -> None:
    """They are counted at each scrape: right after a start, too, once the rooms are loaded."""
    config = told(tmp_path, TWO)
    async with open_store(config.database.url.get_secret_value(), SystemClock()) as store:
        for room, owner in (("!a:x", "former"), ("!b:x", "former"), ("!c:x", "acme")):
            phase = Chatting(SessionId(1), 1, QueueId(1))
            record = RoomRecord(RoomId(room), enterprise=owner, conversation=Conversation(phase))
            row = StoredRoom(record.room_id, dump_record(record), live=True, phase="Chatting")
            await step(store, row)
    with capture_logs() as logs:
        async with Serving(config) as bridge:
            counted = b'webchat_sessions{enterprise="former",phase="Chatting",queue="1"} 2.0'
            await eventually(lambda: counted in bridge._metrics.render())
    held_up = [one for one in logs if one["event"].startswith("chats are held up")]
    assert [(one["enterprise"], one["rooms"]) for one in held_up] == [("former", 2)]
    assert [one["version"] for one in logs if one["event"] == "serving"] == [__version__]


@pytest.mark.asyncio
async def test_call_centres_have_links_threads_and_connections_of_their_own(
    tmp_path: Path,
) -> None:
    bridge = Serving(told(tmp_path, TWO))
    async with bridge:
        acme, best = bridge._around.values()
        assert acme.link is not best.link
        assert acme.conversions is not best.conversions
        assert acme.waits is not best.waits
        for shared in ("store", "upgrades", "inviting", "clock"):
            assert getattr(acme, shared) is getattr(best, shared)
        assert isinstance(acme.matrix, MatrixAdapter)
        assert isinstance(best.matrix, MatrixAdapter)
        assert acme.matrix.homeserver._session is not best.matrix.homeserver._session
        assert acme.matrix.homeserver.foreign is best.matrix.homeserver.foreign
        agent = Agent(AgentId("mei"))
        ghosts = [one.matrix.ghost_of(agent) for one in (acme, best)]
        assert ghosts == ["@webchat_mei:example.org", "@best_mei:example.org"]
        config = told(tmp_path, TWO.replace("language: ja", "language: en"))
        bridge.apply_config(config)
        assert [one.rules.language for one in (acme, best)] == ["en", "en"]
        assert acme.rules.rules_of("best") is best.rules


@pytest.mark.asyncio
async def test_database_of_an_earlier_version_notes_the_upgrade_time(tmp_path: Path) -> None:
    """Rows stored before are sent under the transaction ids of the earlier version."""
    config = told(tmp_path)
    url, clock = config.database.url.get_secret_value(), SystemClock()
    async with open_store(url, clock) as store:
        await store.save_fact(INSTANCE, "cafe0123")
        before = clock.now()
    async with Serving(config):
        began = clock.now()
    async with open_store(url, clock) as store:
        dated = await store.fact(DATED)
        assert dated is not None
        assert before <= int(dated) <= began
        assert await store.first_fact(DATED, "later") == dated
        assert await store.fact(INSTANCE) == "cafe0123"


def test_refused_start_says_what_to_do(tmp_path: Path) -> None:
    config = told(tmp_path)
    assert "registration.yaml" in why_refused(config, Unauthorized("M_UNKNOWN_TOKEN"))
    foreign = why_refused(config, Refused(FOREIGN))
    assert "somebody else has registered @webchatbot:example.org" in foreign
    assert "appservice.bot.username" in foreign
    assert "registration.yaml" not in foreign
    taken = why_refused(config, Refused(TAKEN, "@q:a is served by the application service crm1"))
    assert "(TAKEN_USER @q:a is served by the application service crm1)" in taken
    assert "bridge.queue_username_template" in taken
    new = why_refused(config, Refused(ANOTHER))
    assert "bridge.db is new, but this bridge has already been used with another one" in new
    assert "`matrix-webchat crypto reset`" in new


class Ledger(MemoryStore):
    """A store that fails once, then records the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.away = True
        self.asked: list[tuple[int, int]] = []
        self.others: list[Cutoffs] = []
        self.counted = 0

    async def prune(self, bodies_before: int, rows_before: int, others: Cutoffs) -> int:
        if self.away:
            self.away = False
            raise StoreError("away")
        self.asked.append((bodies_before, rows_before))
        self.others.append(others)
        return 0

    async def backlog(self) -> Backlog:
        if self.away:
            self.away = False
            raise StoreError("away")
        self.counted += 1
        return {("", INBOX): Depth(1, 5), ("acme", INBOX): Depth(2, 3)}


def retention(bodies: str) -> Retention:
    return Retention.model_validate({"bodies": bodies, "rows": "1d", "chats": "365d"})


@pytest.mark.asyncio
async def test_ledger_is_pruned_by_the_current_settings() -> None:
    ledger, clock = Ledger(), ManualClock()
    kept = [retention("1h")]
    async with asyncio.TaskGroup() as tasks:
        pruning = tasks.create_task(prune(ledger, clock, lambda: kept[-1], lambda: True))
        await quiet()
        assert ledger.asked == []
        await clock.turn(PRUNE_EVERY)
        kept.append(retention("2h"))
        await clock.turn(PRUNE_EVERY)
        pruning.cancel()
    hour, day, every = 3_600_000, 86_400_000, round(PRUNE_EVERY * 1000)
    first, second = START + every, START + 2 * every
    assert ledger.asked == [(first - hour, first - day), (second - 2 * hour, second - day)]
    assert ledger.others == [Cutoffs(chats=now - 365 * day) for now in (first, second)]


@pytest.mark.asyncio
async def test_longer_retention_does_not_take_back_how_far_the_ledger_was_pruned() -> None:
    """Nor does a clock that was ahead keep `CatchUp` from reading rooms once it is right again."""
    ledger, clock = Ledger(), ManualClock()
    ledger.away, day, every = False, 86_400_000, round(PRUNE_EVERY * 1000)
    kept = [Retention.model_validate({"bodies": "0s", "rows": "0s"})]
    async with asyncio.TaskGroup() as tasks:
        pruning = tasks.create_task(prune(ledger, clock, lambda: kept[-1], lambda: True))
        await quiet()
        kept.append(retention("1h"))
        await clock.turn(PRUNE_EVERY)
        assert ledger.asked == [(START, START), (START + every - day // 24, START + every - day)]
        assert await ledger.fact(PRUNED) == str(START)
        await ledger.save_fact(PRUNED, str(START + 365 * day))
        await clock.turn(PRUNE_EVERY)
        assert await ledger.fact(PRUNED) == str(START + 2 * every)
        pruning.cancel()


@pytest.mark.asyncio
async def test_only_one_process_prunes() -> None:
    ledger, clock, mine = Ledger(), ManualClock(), False
    ledger.away = False
    async with asyncio.TaskGroup() as tasks:
        keep = retention("1h")
        pruning = tasks.create_task(prune(ledger, clock, lambda: keep, lambda: mine))
        await clock.turn(2 * PRUNE_EVERY)
        assert ledger.asked == []
        mine = True
        await clock.turn(PRUNE_AGAIN)
        assert len(ledger.asked) == 1
        pruning.cancel()


@pytest.mark.asyncio
async def test_waiting_rows_are_counted() -> None:
    ledger, clock, metrics = Ledger(), ManualClock(), Metrics()
    async with asyncio.TaskGroup() as tasks:
        named = {"": "acme", "acme": "acme"}.__getitem__
        measuring = tasks.create_task(measure(ledger, clock, metrics, named))
        await clock.turn(2 * MEASURE_EVERY)
        measuring.cancel()
    assert ledger.counted == 2
    assert b'inbox_depth{enterprise="acme"} 3.0' in metrics.render(), "rooms without a name, too"


class Server:
    """The homeserver and the ghosts, as far as `Contact` uses them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.trouble: dict[str, Exception] = {}
        self.named: list[tuple[str, str]] = []
        self.homeserver = self.ghosts = self

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.trouble:
            raise self.trouble[what]

    async def prepare(self, queues: Sequence[Queue], *_: object) -> None:
        self.named = [(queue.name, queue.avatar) for queue in queues]
        self._ask("prepare")

    async def check(self) -> None:
        self._ask("check")

    async def ping(self, appservice_id: str) -> None:
        assert appservice_id == "webchat"
        self._ask("ping")


@pytest.mark.asyncio
async def test_homeservers_way_to_the_bridge_is_checked_again(tmp_path: Path) -> None:
    server, heard = Server(), [perf_counter()]
    matrix: Any = server
    contact = Contact(told(tmp_path), {"": matrix}, lambda: heard[-1])

    async def asks() -> list[str]:
        server.asked.clear()
        with suppress(Unavailable):
            await contact.probe()
        return server.asked

    # At the start, whatever was received.
    server.trouble = {"prepare": Unavailable("gone")}
    assert await asks() == ["prepare"]
    server.trouble = {}
    assert await asks() == ["prepare", "ping"]
    assert await asks() == ["check"]
    # After an outage, until it reaches the bridge.
    server.trouble = {"check": Unavailable("gone")}
    assert await asks() == ["check"]
    server.trouble = {"ping": Unavailable("POST answered 502 M_CONNECTION_FAILED")}
    assert await asks() == ["check", "ping"]
    with pytest.raises(Unavailable, match=r"cannot reach the bridge at http://.*29340: POST"):
        await contact.probe()
    server.trouble = {}
    assert await asks() == ["check", "ping"]
    assert await asks() == ["check"]
    # When it has been silent.
    heard.append(perf_counter() - SILENCE - 1)
    assert await asks() == ["check", "ping"]
    heard.append(perf_counter())
    # Another configuration may have other names and pictures (and no other users).
    (queue,) = contact._config.queues
    changed = queue.model_copy(update={"name": "Verkauf", "avatar": "mxc://a/b"})
    contact.apply_config(contact._config.model_copy(update={"queues": (changed,)}))
    assert await asks() == ["prepare"]
    assert server.named == [("Verkauf", "mxc://a/b")]
    assert await asks() == ["check"]


@pytest.mark.asyncio
async def test_refused_start_accepts_no_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events may be meant for the bridge that serves these users."""

    async def refused(_: Contact) -> None:
        raise Refused(TAKEN, "@q:a is served by the application service crm1")

    def opened(*_: object) -> None:
        pytest.fail("the port was opened")

    monkeypatch.setattr(Contact, "introduce", refused)
    monkeypatch.setattr("bridge.app.serving.listening", opened)
    with pytest.raises(HomeserverRefused, match="crm1"):
        async with Serving(told(tmp_path)):
            pytest.fail("started")


def database_in(
    trouble: list[Unreachable], server: Server, path: Path
) -> tuple[Contact, health.Health]:
    """Return the probes of a bridge whose database fails while there is `trouble`."""
    matrix: Any = server
    bridge = Serving(told(path))
    contact = Contact(bridge.config, {"": matrix}, perf_counter)

    async def ping() -> None:
        if trouble:
            raise trouble[0]

    database: Any = SimpleNamespace(ping=ping)
    bridge._links[""] = cast("Links", SimpleNamespace(probe=ping))
    return contact, bridge._health(database, contact)


@pytest.mark.asyncio
async def test_a_full_disk_is_not_blamed_on_the_homeserver(tmp_path: Path) -> None:
    """At a start the bot's row is written as soon as the homeserver has the bot."""
    server, trouble = Server(), [Unreachable("SQLite: database or disk is full")]
    server.trouble = {"prepare": trouble[0]}
    contact, probes = database_in(trouble, server, tmp_path)
    for part in ("database", "homeserver"):
        await probes.probe(part)
    assert probes.parts()["homeserver"][1] == ""
    assert probes.away()["database"].endswith("bridge.db: SQLite: database or disk is full")
    assert not contact.made
    server.trouble = {}
    trouble.clear()
    for part in ("database", "homeserver"):
        await probes.probe(part)
    assert probes.away().keys() == {"webchat"}
    assert server.asked == ["prepare", "prepare", "ping"]
    assert contact.made


@pytest.mark.asyncio
async def test_homeserver_is_asked_to_try_again_once_the_database_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synapse waits longer after each 503, but sends at once after a ping that succeeded."""
    server, trouble = Server(), list[Unreachable]()
    _, probes = database_in(trouble, server, tmp_path)

    async def back_meanwhile() -> None:
        trouble.clear()
        await probes.probe("database")

    for part in ("database", "homeserver"):
        await probes.probe(part)
    trouble.append(Unreachable("PostgreSQL cannot be reached"))
    for part in ("database", "homeserver"):
        await probes.probe(part)
    assert server.asked == ["prepare", "ping", "check"]
    server.asked.clear()
    # The parts are probed side by side: it may come back before the homeserver has answered.
    with monkeypatch.context() as patch:
        patch.setattr(server, "check", back_meanwhile)
        await probes.probe("homeserver")
    for _ in range(2):
        await probes.probe("homeserver")
    assert server.asked == ["check", "ping", "check"]


@pytest.mark.asyncio
async def test_a_homeserver_that_does_not_answer_the_probe_is_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host may be gone without closing a connection: nobody but the probe may ask meanwhile."""
    bridge, store = Serving(told(tmp_path)), MemoryStore()

    async def silent() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("bridge.ops.health.PATIENCE", 0.01)
    contact = cast("Contact", SimpleNamespace(probe=silent, made=True))
    bridge._links[""] = cast("Links", SimpleNamespace(probe=silent))
    health = bridge._health(cast("SqlStore", store), contact)
    await health.probe("webchat")
    assert not bridge._outage.is_set()
    await health.probe("homeserver")
    assert bridge._outage.is_set()
    bridge._outage.clear()  # as catch-up does, and then asks by itself until there is an answer
    await health.probe("homeserver")
    assert not bridge._outage.is_set()


@pytest.mark.asyncio
async def test_stop_does_not_wait_for_the_homeserver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = Serving(told(tmp_path))

    async def silent(_: Contact) -> None:
        serving.stop.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Contact, "introduce", silent)
    monkeypatch.setattr("bridge.app.serving.PATIENCE", 3600.0)
    async with asyncio.timeout(30), serving:
        await serving.until_stopped()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("sqlite:////data/bridge.db", "sqlite:////data/bridge.db"),
        ("postgres://me:s%40e@db:5432/name?sslmode=require", "postgres://db:5432/name"),
        ("postgres:///name?host=/run/pg&password=x", "postgres:///name"),
    ],
)
def test_the_place_of_a_database_has_no_secret(url: str, place: str) -> None:
    assert place_of(url) == place


@pytest.mark.asyncio
async def test_compressed_body_is_not_unpacked(tmp_path: Path) -> None:
    """A small body could become a huge one, and block everything."""
    config = told(tmp_path)
    given = {"as_token": SecretStr("as"), "hs_token": SecretStr("hs")}
    changed = {"appservice": config.appservice.model_copy(update=given)}
    config = config.model_copy(update=changed)
    async with Serving(config), ClientSession() as session, asyncio.timeout(30):
        url = f"http://127.0.0.1:{config.appservice.port}/_matrix/app/v1/transactions/1"
        headers = {"Authorization": "Bearer hs", "Content-Encoding": "gzip"}
        for body, status in ((gzip.compress(b'{"events":[]}'), 400), (b'{"events":[]}', 200)):
            async with session.put(url, data=body, headers=headers) as reply:
                assert reply.status == status
