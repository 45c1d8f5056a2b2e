"""Requests of `Ghosts` to the homeserver: how often they are sent, and what a refusal causes."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from unittest.mock import AsyncMock

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image
from structlog.testing import capture_logs

from bridge.config.model import Bot, Queue
from bridge.ids import QueueId, RoomId, UserId
from bridge.matrix.client import FOREIGN, OWNER, TAKEN, Homeserver, new_session, spool
from bridge.matrix.crypto.wire import MARKER
from bridge.matrix.ghosts import INTRODUCTION, Ghosts, PlainDevices, made_fact
from bridge.matrix.users import LOAD_IT, NOT_LOADED, OurUsers, not_loaded
from bridge.rooms.ports import Blob, Refused, TooBig, Unavailable
from bridge.rooms.store import GhostRow, StorePort
from tests.fakes.clock import leap

USERS = OurUsers("a", "webchatbot", "webchat_{agent}")
GHOST = UserId("@webchat_a1:a")
ROOM = RoomId("!r")
QUEUE = UserId("@webchat_queue_3:a")
IN_USE = (400, "M_USER_IN_USE")
GHOST_ROW = GhostRow(GHOST, "Mei", device=True)


class Rig:
    """A homeserver that records requests and refuses those in `refuse`; and a database."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refuse: dict[str, tuple[int, str]] = {}
        self.words = "No."
        self.sessions: list[str] = []
        self.owners: dict[UserId, str] = {}
        self.rows: dict[str, GhostRow] = {}
        self.facts: dict[str, str] = {}
        self.made: Ghosts | None = None
        self.transport: Homeserver
        self.time = 1_733_011_200_000
        self.service_members: list[dict[str, object]] = []
        self.left: list[dict[str, object]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        verb = request.path.rpartition("/")[2]
        await request.read()
        if "/state/io.element.functional_members/" in request.path:
            verb = f"{request.method} members"
        self.calls.append(verb)
        if verb in self.refuse:
            status, code = self.refuse[verb]
            return web.json_response({"errcode": code, "error": self.words}, status=status)
        if verb == "PUT members":
            self.service_members.append(await request.json())
        elif verb in {"leave", GHOST}:
            self.left.append(await request.json())
        elif verb == "GET members":
            if not self.service_members:
                return web.json_response({"errcode": "M_NOT_FOUND"}, status=404)
            return web.json_response({"content": self.service_members[-1]})
        elif verb == OWNER:
            user = UserId(request.path.split("/")[-3])
            if request.method == "PUT":
                self.owners[user] = (await request.json())["appservice"]
            return web.json_response({"appservice": self.owners.get(user, "")})
        elif verb == "devices":
            return web.json_response({"devices": [{"device_id": one} for one in self.sessions]})
        return web.json_response({"content_uri": "mxc://a/icon"})

    async def ghost(self, user_id: str) -> GhostRow | None:
        return self.rows.get(user_id)

    async def save_ghost(self, ghost: GhostRow) -> None:
        self.rows[ghost.user_id] = ghost

    async def fact(self, name: str) -> str | None:
        return self.facts.get(name)

    async def save_fact(self, name: str, value: str) -> None:
        self.facts[name] = value

    @property
    def ghosts(self) -> Ghosts:
        assert self.made is not None
        return self.made

    def count(self, verb: str) -> int:
        return self.calls.count(verb)


@asynccontextmanager
async def running(
    rig: Rig | None = None, devices: PlainDevices | None = None
) -> AsyncIterator[Rig]:
    rig = rig or Rig()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", rig.answer)
    async with TestServer(app) as server, new_session(verify_tls=True) as session:
        transport = Homeserver(session, str(server.make_url("/")), "t", USERS)
        rig.transport = transport
        devices = devices or PlainDevices(transport)
        rig.made = Ghosts(transport, cast(StorePort, rig), USERS, devices, lambda: rig.time)
        yield rig


def blob(*chunks: bytes, fails: Exception | None = None) -> Blob:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
        if fails is not None:
            raise fails

    return Blob(stream(), None, "", "")


def picture(colour: str = "black") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(out, "PNG")
    return out.getvalue()


@pytest.mark.asyncio
async def test_user_is_made_once_and_named_on_change() -> None:
    async with running() as rig:
        for name in ("Ann", "Ann", "", "Anna"):
            await rig.ghosts.ensure(GHOST, name, otherwise="a1")
        assert rig.calls == ["register", "WEBCHAT", "displayname", "displayname"]
        now = rig.ghosts.now()
        assert rig.rows[GHOST] == GhostRow(GHOST, displayname="Anna", device=True, seen=now)


@pytest.mark.asyncio
async def test_profile_written_by_another_process_is_not_written_again() -> None:
    async with running() as rig:
        other = Ghosts(rig.transport, cast(StorePort, rig), USERS, PlainDevices(rig.transport))
        for ghosts in (rig.ghosts, other):
            await ghosts.ensure(GHOST, "Ann")
        for ghosts in (rig.ghosts, other):
            await ghosts.ensure(GHOST, "Anna", blob(picture()), "there")
        assert (rig.count("displayname"), rig.count("upload"), rig.count("avatar_url")) == (2, 1, 1)


@pytest.mark.asyncio
async def test_user_without_a_name_gets_the_fallback_name() -> None:
    async with running() as rig:
        await rig.ghosts.ensure(GHOST, "", otherwise="a1")
        assert rig.rows[GHOST].displayname == "a1"
        await rig.ghosts.ensure(GHOST, "Ann", otherwise="a1")
        await rig.ghosts.ensure(GHOST, "", otherwise="a1")
        assert rig.rows[GHOST].displayname == "Ann"


@pytest.mark.asyncio
async def test_concurrent_rooms_register_a_ghost_once() -> None:
    async with running() as rig:
        await asyncio.gather(*(rig.ghosts.ensure(GHOST, "Ann") for _ in range(5)))
        assert rig.calls == ["register", "WEBCHAT", "displayname"]


@pytest.mark.asyncio
async def test_interrupted_registration_is_repeated() -> None:
    async with running() as rig:
        rig.refuse["WEBCHAT"] = (502, "M_UNKNOWN")
        with pytest.raises(Unavailable):
            await rig.ghosts.ensure(GHOST, "Ann")
        assert rig.rows == {}
        rig.refuse.clear()
        await rig.ghosts.ensure(GHOST, "Ann")
        assert rig.rows[GHOST].device


@pytest.mark.asyncio
async def test_users_missing_on_the_homeserver_are_registered_again() -> None:
    """The database records the user as registered, but the homeserver does not know it."""
    rig = Rig()

    class Wanting(PlainDevices):
        def __init__(self) -> None:
            self.refusals = [Refused("M_FORBIDDEN")]

        async def ensure(self, user: UserId) -> None:
            rig.calls.append("ensure")
            if self.refusals:
                raise self.refusals.pop()

    devices = Wanting()
    async with running(rig, devices) as rig:
        rig.rows[GHOST] = GHOST_ROW
        await rig.ghosts.ensure(GHOST, "Mei")
        assert rig.calls == ["ensure", "register", "ensure", "displayname"]
        assert rig.rows[GHOST].displayname == "Mei"
        devices.refusals = [Refused("M_UNKNOWN")]
        with pytest.raises(Refused, match="M_UNKNOWN"):
            await rig.ghosts.ensure(GHOST, "Mei")
        devices.refusals = [Refused("M_FORBIDDEN"), Refused("M_FORBIDDEN")]
        await rig.ghosts.ensure(GHOST, "Mei")  # a clear room needs no device


@pytest.mark.asyncio
async def test_ghost_that_is_lost_while_the_bridge_runs_is_registered_again() -> None:
    """The homeserver was restored from a backup that is older than the ghost."""
    async with running() as rig:
        await rig.ghosts.ensure(GHOST, "Mei")
        rig.refuse["join"] = (403, "M_FORBIDDEN")
        rig.words = f"Application service has not registered this user ({GHOST})"
        rig.calls.clear()
        with pytest.raises(Unavailable, match="registered again"):
            await rig.ghosts.join(ROOM, USERS.bot, GHOST)
        del rig.refuse["join"]
        await rig.ghosts.ensure(GHOST, "Mei")
        await rig.ghosts.join(ROOM, USERS.bot, GHOST)
    begun = ["invite", "join", "register", "WEBCHAT"]
    assert rig.calls == [*begun, "displayname", "invite", "join"]


@pytest.mark.parametrize(
    ("refusal", "ours"),
    [
        ("M_EXCLUSIVE", True),
        ("M_EXCLUSIVE Invalid user localpart for this application service.", True),
        ("M_FORBIDDEN Application service cannot masquerade as this user (@a:b).", True),
        ("M_FORBIDDEN Application service has not registered this user (@a:b)", False),
        ("M_FORBIDDEN", False),
        ("M_UNKNOWN cannot masquerade", False),
    ],
)
def test_refusals_that_mean_the_registration_is_not_loaded(refusal: str, ours: bool) -> None:
    assert not_loaded(refusal) is ours


class Refusing(PlainDevices):
    """Devices on a homeserver that does not let the bridge act as the user."""

    def __init__(self) -> None:
        """No homeserver is needed."""

    async def ensure(self, user: UserId) -> None:
        raise Refused("M_FORBIDDEN", f"Application service cannot masquerade as this user ({user})")

    async def mend(self, user: UserId) -> None:
        del user


@pytest.mark.asyncio
@pytest.mark.parametrize("known", [False, True])
async def test_outdated_registration_is_distinguished_from_a_lost_user(
    known: bool,
) -> None:
    rig = Rig()
    rig.refuse["register"] = (400, "M_EXCLUSIVE")
    if known:
        rig.rows[GHOST] = GHOST_ROW
    async with running(rig, Refusing()):
        with capture_logs() as logs, pytest.raises(Refused, match="M_EXCLUSIVE"):
            await rig.ghosts.ensure(GHOST, "Mei")
        rig.refuse["join"] = (403, "M_EXCLUSIVE")
        with capture_logs() as more, pytest.raises(Refused):
            await rig.ghosts.join(ROOM, UserId("@webchatbot:a"), GHOST)
    for line in (*logs, *(one for one in more if one["log_level"] == "error")):
        assert line["event"] == NOT_LOADED, "not that it lost a user"
        assert (line["user"], line["fix"]) == (GHOST, LOAD_IT)
    assert len(logs) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("known", [False, True])
async def test_user_is_registered_although_no_device_can_be_created(known: bool) -> None:
    """A homeserver without MSC4190, and a bridge without encryption."""
    rig = Rig()
    if known:
        rig.rows[GHOST] = GHOST_ROW
    rig.refuse["WEBCHAT"] = (404, "M_UNRECOGNIZED")
    async with running(rig):
        for _ in range(3):
            await rig.ghosts.ensure(GHOST, "Mei")
        assert rig.rows[GHOST].device
        assert rig.count("WEBCHAT") == 1


@pytest.mark.asyncio
async def test_refused_name_is_not_fatal_and_not_retried() -> None:
    async with running() as rig:
        rig.refuse["displayname"] = (403, "M_FORBIDDEN")
        await rig.ghosts.ensure(GHOST, "Ann")
        await rig.ghosts.ensure(GHOST, "Ann")
        assert rig.count("displayname") == 1


@pytest.mark.asyncio
async def test_the_same_picture_is_uploaded_once_whatever_its_address() -> None:
    async with running() as rig:
        for source in ("s1", "s1", "s2"):
            await rig.ghosts.ensure(GHOST, "Ann", blob(picture()), source)
            assert await rig.ghosts.has_icon(GHOST, source)
        assert (rig.count("upload"), rig.count("avatar_url")) == (1, 1)


@pytest.mark.asyncio
async def test_agents_who_share_a_picture_share_its_upload() -> None:
    async with running() as rig:
        other = UserId("@webchat_k2:example.org")
        for user in (GHOST, other):
            await rig.ghosts.ensure(user, "Ann", blob(picture()), f"of {user}")
        assert (rig.count("upload"), rig.count("avatar_url")) == (1, 2)


@pytest.mark.asyncio
async def test_another_picture_under_the_same_address_is_noticed_after_a_day() -> None:
    async with running() as rig:
        await rig.ghosts.ensure(GHOST, "Ann", blob(picture()), "s")
        rig.time += 24 * 3_600_000 - 1
        assert await rig.ghosts.has_icon(GHOST, "s")
        rig.time += 1
        assert not await rig.ghosts.has_icon(GHOST, "s")
        await rig.ghosts.ensure(GHOST, "Ann", blob(picture("blue")), "s")
        assert await rig.ghosts.has_icon(GHOST, "s")
        assert rig.count("upload") == 2


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("icon", "known"),
    [
        (blob(b"no picture"), True),
        (blob(b"x", fails=TooBig("huge")), True),
        (blob(b"x", fails=Unavailable("gone")), False),
    ],
)
async def test_unusable_picture_is_not_fatal(icon: Blob, known: bool) -> None:
    async with running() as rig:
        await rig.ghosts.ensure(GHOST, "Ann", icon, "s")
        assert await rig.ghosts.has_icon(GHOST, "s") is known
        assert rig.count("avatar_url") == 0
        assert rig.rows[GHOST].displayname == "Ann"


@pytest.mark.asyncio
async def test_given_picture_is_set_on_change() -> None:
    async with running() as rig:
        for mxc in ("mxc://a/1", "mxc://a/1", "mxc://a/2"):
            await rig.ghosts.ensure(GHOST, mxc=mxc)
        assert rig.count("avatar_url") == 2


@pytest.mark.asyncio
async def test_membership_is_cached_until_forgotten() -> None:
    async with running() as rig:
        await rig.ghosts.join(ROOM, USERS.bot, GHOST)
        await rig.ghosts.join(ROOM, USERS.bot, GHOST)
        assert rig.calls == ["invite", "join"]
        rig.ghosts.forget(ROOM, GHOST)
        rig.refuse["invite"] = (403, "M_FORBIDDEN")  # it is in the room already
        await rig.ghosts.join(ROOM, USERS.bot, GHOST)
        await rig.ghosts.leave(ROOM, GHOST)
        rig.refuse["join"] = (403, "M_FORBIDDEN")
        with pytest.raises(Refused, match="M_FORBIDDEN"):
            await rig.ghosts.join(ROOM, USERS.bot, GHOST)
        assert rig.calls[2:] == ["invite", "join", "leave", "invite", "join"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("invite", "join", "by_room"),
    [
        ((403, "M_FORBIDDEN"), (403, "M_FORBIDDEN"), True),
        (None, (403, "M_FORBIDDEN"), False),  # a spam checker
        ((403, "M_FORBIDDEN"), (403, "M_USER_SUSPENDED"), False),
        ((403, "M_UNKNOWN"), (403, "M_RESOURCE_LIMIT_EXCEEDED"), False),
    ],
)
async def test_whether_the_room_or_the_homeserver_keeps_an_agent_out(
    invite: tuple[int, str] | None, join: tuple[int, str], *, by_room: bool
) -> None:
    async with running() as rig:
        rig.refuse |= {"join": join} | ({} if invite is None else {"invite": invite})
        with pytest.raises(Refused) as refused:
            await rig.ghosts.join(ROOM, USERS.bot, GHOST)
    assert refused.value.by_room is by_room


@pytest.mark.asyncio
async def test_who_leaves_keeps_name_and_picture() -> None:
    """In the room's state, from which Element X takes the name beside older messages."""
    async with running() as rig:
        rig.rows[GHOST] = GhostRow(GHOST, "Mei", avatar_mxc="mxc://a/mei", device=True)
        await rig.ghosts.leave(ROOM, GHOST, "over")
        profile = {"displayname": "Mei", "avatar_url": "mxc://a/mei"}
        assert (rig.calls, rig.left) == ([GHOST], [profile | LEFT])

        rig.refuse[GHOST] = (403, "M_FORBIDDEN")  # only invited, or a server that does not allow it
        await rig.ghosts.leave(ROOM, GHOST, "over")
        assert rig.calls[1:] == [GHOST, "leave"]
        assert rig.left[1:] == [{"reason": "over"}]


LEFT = {"membership": "leave", "reason": "over", MARKER: {}}
JUN = UserId("@webchat_a2:a")


@pytest.mark.asyncio
async def test_a_new_member_gives_clients_time_to_look_it_up() -> None:
    """Before its first encrypted message: once, and not in other rooms."""
    home = cast(Homeserver, AsyncMock())

    async def waits() -> list[float]:
        ghosts = Ghosts(home, cast(StorePort, None), USERS, PlainDevices(home))
        clock = asyncio.get_running_loop().time
        await ghosts.join(ROOM, QUEUE, GHOST)
        waited = []
        for room in (RoomId("!other"), ROOM, ROOM):
            before = clock()
            await ghosts.introduced(room, GHOST)
            waited.append(round(clock() - before, 3))
        return waited

    assert await asyncio.to_thread(leap, waits()) == [0, INTRODUCTION, 0]


@pytest.mark.asyncio
async def test_functional_members_are_read_once_and_written_for_new_users() -> None:
    async with running() as rig:
        await rig.ghosts.name_service_members(ROOM, USERS.bot, [GHOST])
        await rig.ghosts.name_service_members(ROOM, USERS.bot, [GHOST])
        assert rig.calls == ["GET members", "PUT members"]
        await rig.ghosts.name_service_members(ROOM, USERS.bot, [GHOST, JUN])
        assert rig.calls[2:] == ["GET members", "PUT members"]
        assert rig.service_members == [
            {"service_members": [GHOST]},
            {"service_members": [GHOST, JUN]},
        ]
        rig.calls.clear()
    async with running(rig):  # after a restart
        for _ in range(2):
            await rig.ghosts.name_service_members(ROOM, USERS.bot, [JUN, GHOST])
        assert rig.calls == ["GET members"]


@pytest.mark.asyncio
async def test_functional_members_of_others_are_kept() -> None:
    async with running() as rig:
        for before in (["@helper:b"], [], "nonsense", None):
            rig.service_members.append({"service_members": before, "theirs": 1})
            room = RoomId(f"!{before}")
            await rig.ghosts.name_service_members(room, USERS.bot, [GHOST])
            kept = before if isinstance(before, list) else []
            expected = {"service_members": [*kept, GHOST], "theirs": 1}
            assert rig.service_members[-1] == expected


@pytest.mark.asyncio
@pytest.mark.parametrize("verb", ["GET members", "PUT members"])
async def test_refused_list_of_functional_members_is_not_fatal(verb: str) -> None:
    async with running() as rig:
        rig.refuse[verb] = (403, "M_FORBIDDEN")
        with capture_logs() as lines:
            await rig.ghosts.name_service_members(ROOM, USERS.bot, [GHOST])
        assert [(line["log_level"], line["code"]) for line in lines] == [("info", "M_FORBIDDEN")]
        assert rig.service_members == []
        rig.refuse.clear()
        await rig.ghosts.name_service_members(ROOM, USERS.bot, [GHOST])  # allowed by now
        assert rig.service_members == [{"service_members": [GHOST]}]
        rig.refuse["GET members"] = (502, "M_UNKNOWN")
        with pytest.raises(Unavailable):
            await rig.ghosts.name_service_members(ROOM, USERS.bot, [JUN])


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [0, 1, 1_000_000, 3_000_001])
async def test_spooled_file_keeps_its_bytes_and_can_be_read_again(size: int) -> None:
    data = bytes(index % 251 for index in range(size))
    parts = [data[at : at + 70_000] for at in range(0, size, 70_000)]
    async with spool(blob(*parts), "file") as file:
        assert file.size == size
        for _ in range(2):
            assert b"".join([chunk async for chunk in file.chunks()]) == data


@pytest.mark.asyncio
async def test_spooled_picture_is_measured() -> None:
    async with spool(blob(picture()[:10], picture()[10:]), "image") as file:
        assert (file.mime, file.dimensions, file.name) == ("image/png", (4, 3), "image.png")


# --- names that somebody else has ---------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("user", [QUEUE, USERS.bot])
@pytest.mark.parametrize("known", [False, True], ids=["new", "served by a version before"])
async def test_nothing_is_done_as_a_user_that_somebody_else_has_registered(
    user: UserId, known: bool
) -> None:
    """Also if an older version served the user, and created a device."""
    rig = Rig()
    rig.refuse["register"] = IN_USE
    rig.sessions = ["WEBCHAT", "ABCDEFGHIJ"]
    if known:
        rig.rows[user] = GhostRow(user, "Sales", device=True)
    async with running(rig):
        for _ in range(2):
            with pytest.raises(Refused, match=FOREIGN):
                await rig.ghosts.ensure(user, "Sales")
        with pytest.raises(Refused, match=FOREIGN):
            await rig.ghosts.leave(ROOM, user)
        with pytest.raises(Refused, match=FOREIGN):
            await rig.transport.send(user, ROOM, "m.room.message", {}, "t1")
        assert set(rig.calls) <= {"register", "devices"}
        assert rig.transport.foreign == {user}
        # The owner was logged out: the account is the bridge's now.
        rig.sessions = ["WEBCHAT"]
        await rig.ghosts.ensure(user, "Support")
        assert not rig.transport.foreign
        assert rig.rows[user].displayname == "Support"


@pytest.mark.asyncio
async def test_user_registered_by_the_bridge_is_served_despite_logins_or_a_lost_database() -> None:
    """An operator may log in as the user, to set a picture."""
    async with running() as rig:
        await rig.ghosts.ensure(QUEUE, "Sales")
        assert rig.facts == {made_fact(QUEUE): "1"}
        rig.sessions = ["WEBCHAT", "ABCDEFGHIJ"]
        rig.refuse["register"] = IN_USE
        await rig.ghosts.ensure(QUEUE, "Support")
        assert rig.count("devices") == 0
    async with running() as new:
        new.refuse["register"] = IN_USE
        new.sessions = ["WEBCHAT", "WEBCHAT_ABCDEF"]
        await new.ghosts.ensure(QUEUE, "Sales")
        assert new.rows[QUEUE].device
        assert new.facts == {}


@pytest.mark.asyncio
async def test_user_whose_devices_cannot_be_listed_is_served() -> None:
    rig = Rig()
    rig.refuse = {"register": IN_USE, "devices": (403, "M_FORBIDDEN")}
    async with running(rig):
        await rig.ghosts.ensure(QUEUE, "Sales")
        assert rig.rows[QUEUE].device


@pytest.mark.asyncio
async def test_ghosts_are_not_checked_for_foreign_devices() -> None:
    """Their namespace is exclusive: nobody else can have them."""
    rig = Rig()
    rig.refuse["register"] = IN_USE
    rig.sessions = ["ABCDEFGHIJ"]
    async with running(rig):
        await rig.ghosts.ensure(GHOST, "Mei")
        await rig.ghosts.leave(ROOM, GHOST)
        assert rig.count("devices") == 0
        assert rig.facts == {}


@pytest.mark.asyncio
async def test_foreign_queue_user_does_not_stop_the_other_queues() -> None:
    rig = Rig()
    rig.refuse["register"] = IN_USE
    rig.sessions = ["ABCDEFGHIJ"]
    rig.facts[made_fact(USERS.bot)] = "1"
    queues = [Queue(id=number, name=f"Queue {number}") for number in (3, 4)]
    rig.facts[made_fact(USERS.queue_user(QueueId(4)))] = "1"
    rig.owners[QUEUE] = "theirs"  # anybody can write this into their own account
    async with running(rig):
        await rig.ghosts.prepare(queues, Bot())
        assert sorted(rig.rows) == ["@webchat_queue_4:a", USERS.bot]
        rig.facts.clear()
        with pytest.raises(Refused, match=FOREIGN):
            await rig.ghosts.prepare(queues, Bot())


@pytest.mark.asyncio
async def test_users_of_another_application_service_are_refused() -> None:
    rig = Rig()
    rig.refuse["register"] = IN_USE
    queues, bot = [Queue(id=3, name="Sales")], Bot()
    async with running(rig):
        await rig.ghosts.prepare(queues, bot)
        assert rig.owners == {USERS.bot: "webchat", QUEUE: "webchat"}
        marked = rig.count(OWNER)
        await rig.ghosts.prepare(queues, bot)
        assert rig.count(OWNER) == marked + 2, "read, and not written again"
    other = Rig()
    other.refuse, other.owners = rig.refuse, rig.owners | {USERS.bot: ""}
    async with running(other):
        with pytest.raises(Refused, match=rf"{TAKEN} {QUEUE} is served by .* webchat$"):
            await other.ghosts.prepare(queues, bot, "crm2")
        assert QUEUE not in other.rows, "it gets no device of ours"
        # Users that this database made are served: the mark is a former id of the service.
        other.facts |= {made_fact(QUEUE): "1"}
        await other.ghosts.prepare(queues, bot, "crm2")
        assert other.owners == {USERS.bot: "crm2", QUEUE: "crm2"}


@pytest.mark.asyncio
async def test_bot_and_queues_have_different_default_pictures() -> None:
    queues = [Queue(id=3, name="Sales"), Queue(id=4, name="Service")]
    async with running() as rig:
        for _ in range(2):
            await rig.ghosts.prepare(queues, Bot())
        assert (rig.count("upload"), rig.count("avatar_url")) == (3, 3)
        assert len({row.avatar_hash for row in rig.rows.values()}) == 3
        for user in (USERS.bot, QUEUE):
            assert rig.rows[user].avatar_mxc == "mxc://a/icon"


@pytest.mark.asyncio
async def test_configured_picture_replaces_the_drawn_one_until_it_is_removed() -> None:
    async with running() as rig:
        for mxc in ("mxc://b/given", "", "mxc://b/given", ""):
            await rig.ghosts.prepare([Queue(id=3, name="Sales", avatar=mxc)], Bot(avatar=mxc))
            for user in (USERS.bot, QUEUE):
                assert rig.rows[user].avatar_mxc == (mxc or "mxc://a/icon")
        assert (rig.count("upload"), rig.count("avatar_url")) == (2, 8)
