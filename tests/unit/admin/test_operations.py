"""Each operation of the table: its answer and effect, who may use it, and that no secret shows."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from cachetools import TTLCache
from msgspec.structs import replace

from bridge.admin import views
from bridge.admin.operations import AT_ONCE, BUSY_FOR, OPERATIONS, Dispatcher, Request
from bridge.admin.shapes import LetterAsked
from bridge.admin.views import Caller
from bridge.ids import RoomId
from bridge.rooms.ports import LinkState
from bridge.rooms.record import MatrixEvent, Raw, dump_chat, dump_input, dump_record
from bridge.rooms.store import Change, ChatRow, Commit, DeadLetter, NewInput, Token
from bridge.rooms.surroundings import Surroundings
from tests.fakes.flow import accept, every, step
from tests.fakes.house import ROOM
from tests.unit.admin.office import OPERATOR, QUEUED, SECRETS, Office, chat, office
from tests.unit.rooms.visits import BOT

BY_NAME = {one.name: one for one in OPERATIONS}
CHANGING: dict[str, tuple[str, object]] = {
    "set_room_settings": (f"/rooms/{ROOM}/settings", {"settings": {"queue": 1}}),
    "order_room": (f"/rooms/{ROOM}/orders", {"words": "pause"}),
    "forget_account": (f"/accounts/{QUEUED}", None),
    "retry_dead_letter": ("/dead-letters/{letter}/retry", None),
    "discard_dead_letter": ("/dead-letters/{letter}", None),
    "erase_data": ("/erase", {"subject": ROOM, "force": True}),
}
"""A request to each operation that changes something."""
ADMIN = Caller("@boss:example.org", "widget", ROOM)


async def letters(there: Office) -> list[str]:
    return [one["id"] for one in (await there.get("/dead-letters"))["dead_letters"]]


async def changes(there: Office) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await there.get("/changes"))["changes"]
    return found


@pytest.mark.asyncio
async def test_every_reading_operation_answers_without_secrets() -> None:
    async with office() as there:
        (letter, *_) = await letters(there)
        _, ordered = await there.ask("POST", f"/rooms/{ROOM}/orders", {"words": "status"})
        named = {
            "room_id": ROOM,
            "event_id": "$lost",
            "letter_id": letter,
            "order": ordered["order"],
        }
        questions = [one for one in OPERATIONS if one.method == "GET"]
        assert len(questions) > 10
        for one in questions:
            status, answer = await there.ask("GET", one.path.format(**named))
            assert status == 200, (one.name, answer)
            assert [secret for secret in SECRETS if secret in str(answer)] == [], one.name


@pytest.mark.asyncio
async def test_every_changing_operation_is_audited() -> None:
    assert set(CHANGING) == {one.name for one in OPERATIONS if one.method != "GET"}
    for name, (path, body) in CHANGING.items():
        async with office() as there:
            assert await changes(there) == []
            (letter, *_) = await letters(there)
            operation = BY_NAME[name]
            status, answer = await there.ask(operation.method, path.format(letter=letter), body)
            assert status == operation.status, (name, answer)
            (change,) = await changes(there)
            assert (change["actor"], change["way"]) == ("api:alice", "api"), name
            # The entry of an erasure does not name whose data it was.
            assert bool(change["room_id"]) is (name != "erase_data"), name


@pytest.mark.asyncio
async def test_full_last_page_has_no_next_page() -> None:
    async with office() as there:
        for words in ("pause", "resume"):
            await there.ask("POST", f"/rooms/{ROOM}/orders", {"words": words})
        lists = {
            f"/rooms/{ROOM}/chats": "chats",
            f"/rooms/{ROOM}/changes": "changes",
            "/changes": "changes",
            "/accounts": "accounts",
            "/dead-letters": "dead_letters",
        }
        for path, name in lists.items():
            whole = (await there.get(path))[name]
            assert len(whole) > 1, path
            page = await there.get(path, limit=len(whole))
            assert (page[name], page["next"]) == (whole, None), path
            first = await there.get(path, limit=len(whole) - 1)
            rest = await there.get(path, limit=len(whole), after=first["next"])
            assert (first[name] + rest[name], rest["next"]) == (whole, None), path


@pytest.mark.asyncio
async def test_rooms_are_listed_in_pages_and_filtered() -> None:
    async with office() as there:
        for number in range(7):
            await there.world.chatting(RoomId(f"!more{number}:example.org"))
        seen: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await there.get("/rooms", limit=2, after=after)
            assert len(page["rooms"]) <= 2
            seen += [one["room_id"] for one in page["rooms"]]
            after = page["next"]
        assert seen == sorted(seen)
        assert len(seen) == len(set(seen)) == 9

        async def found(path: str, **query: object) -> list[str]:
            return [one["room_id"] for one in (await there.get(path, **query))["rooms"]]

        assert await found("/rooms", phase="Queued") == [QUEUED]
        assert await found("/rooms", queue=1) == sorted(seen)
        assert await found("/rooms", queue=7) == []
        assert await found("/rooms", enterprise="other") == []
        assert set(await found("/rooms", customer="@ada:example.org")) == set(seen)
        assert await found("/rooms", customer="@ada:example.org", limit=1, phase="Queued") == [
            QUEUED
        ]
        assert await found("/rooms", customer="@eve:example.org") == []
        assert len(await found("/chats", phase="Chatting")) == 8


@pytest.mark.asyncio
async def test_details_of_a_room() -> None:
    async with office() as there:
        room = await there.get(f"/rooms/{ROOM}")
        assert room["phase"] == "Chatting"
        assert room["agents"] == [{"id": "K00017", "name": "Mei"}]
        assert room["own_account"] is True
        assert room["next_queue"] == there.world.rules.default_queue
        assert room["settings"] == {
            "enterprise": None, "queue": None, "from": None, "language": None, "start": None,
            "paused": False, "hours": None, "hours_unclear": False, "texts": {},
        }  # fmt: skip
        assert (await there.get("/rooms/!queued%3Aexample.org"))["position"] is not None
        status, answer = await there.ask("GET", "/rooms/!nowhere:example.org")
        assert (status, answer["errcode"]) == (404, "M_NOT_FOUND")
        assert await there.world.store.busy_rooms() == []


@pytest.mark.asyncio
@pytest.mark.parametrize(("hours", "unclear"), [("at night", True), ("daily 8:00-9:00 UTC", False)])
async def test_stored_hours_that_do_not_count_are_marked(hours: str, *, unclear: bool) -> None:
    async with office() as there:
        store = there.world.writing
        found = await store.load(QUEUED)
        assert found.room is not None
        record = await there.world.stored(QUEUED)
        record = replace(record, settings=replace(record.settings, hours=hours))
        await step(store, replace(found.room, record=dump_record(record)), now=1)
        settings = (await there.get(f"/rooms/{QUEUED}"))["settings"]
        assert (settings["hours"], settings["hours_unclear"]) == (hours, unclear)


@pytest.mark.asyncio
async def test_concurrent_requests_count_the_busy_rooms_once() -> None:
    moment = [0.0]
    async with office() as there:
        counted = AsyncMock(return_value={})
        operations = Dispatcher(replace(there.bridge, busy=counted))
        operations._counted = TTLCache(1, BUSY_FOR, timer=lambda: moment[0])
        ask = Request("GET", "/queues")
        await asyncio.gather(*(operations.carry_out(ask, OPERATOR) for _ in range(9)))
        assert counted.await_count == 1
        moment[0] = BUSY_FOR
        await operations.carry_out(ask, OPERATOR)
        assert counted.await_count == 2


@pytest.mark.asyncio
async def test_queues_show_their_load() -> None:
    async with office() as there:
        sales, returns = (await there.get("/queues"))["queues"]
        assert (sales["name"], sales["waiting"], sales["chatting"]) == ("Sales", 1, 1)
        assert returns["wait"] is None
        assert (await there.get("/queues", enterprise="other"))["queues"] == []


@pytest.mark.asyncio
async def test_orders_change_the_room_and_have_a_state() -> None:
    async with office() as there:
        status, ordered = await there.ask(
            "PATCH", f"/rooms/{ROOM}/settings", {"settings": {"queue": 1, "paused": True}}
        )
        assert status == 202
        state = await there.get(f"/rooms/{ROOM}/orders/{ordered['order']}")
        assert state["state"] == "done"
        settings = (await there.get(f"/rooms/{ROOM}"))["settings"]
        assert (settings["queue"], settings["paused"]) == (1, True)
        told = (await there.get(f"/rooms/{ROOM}/changes"))["changes"]
        assert [(one["key"], one["after"]) for one in told] == [("paused", "true"), ("queue", "1")]
        assert told[0]["at"] == told[1]["at"], "one change"
        assert (await there.get(f"/rooms/{QUEUED}/changes"))["changes"] == []
        status, _ = await there.ask(
            "PATCH", f"/rooms/{ROOM}/settings", {"settings": {"queue": None, "paused": False}}
        )
        settings = (await there.get(f"/rooms/{ROOM}"))["settings"]
        assert (status, settings["queue"], settings["paused"]) == (202, None, False)


@pytest.mark.asyncio
async def test_order_with_a_repeated_request_id_is_given_once() -> None:
    path, wish = f"/rooms/{ROOM}/orders", {"words": "pause", "request_id": "c0ffee"}
    async with office() as there:
        given = await there.ask("POST", path, wish)
        assert given[0] == 202
        await there.ask("POST", path, {"words": "resume"})
        # Given again, it would change something; the answer is that of the first order.
        assert await there.ask("POST", path, wish) == given
        assert [one["key"] for one in await changes(there)] == ["paused", "paused"]
        status, refused = await there.ask("POST", path, wish | {"words": "start"})
        assert (status, refused["errcode"]) == (409, "M_CONFLICT")
        other = Caller("api:bob", "api")
        assert await there.ask("POST", path, wish, other) != given, "another's is another"
        form, path = {"settings": {"language": "ja"}, "request_id": "1"}, f"/rooms/{ROOM}/settings"
        said = len(there.world.matrix.texts(ROOM))
        assert await there.ask("PATCH", path, form) == await there.ask("PATCH", path, form)
        assert len(there.world.matrix.texts(ROOM)) == said + 1


@pytest.mark.asyncio
async def test_different_concurrent_order_with_the_same_request_id_is_refused() -> None:
    path = f"/rooms/{ROOM}/orders"
    async with office() as there:
        answers = await asyncio.gather(
            *(
                there.ask("POST", path, {"words": words, "request_id": "c0ffee"})
                for words in ("pause", "lang ja", "pause")
            )
        )
        assert [status for status, _ in answers] == [202, 409, 202]
        assert [one["key"] for one in await changes(there)] == ["paused"]


def with_store(there: Office, store: Any) -> dict[str, Surroundings]:
    """Return all call centres with another store."""
    known = there.bridge.enterprises.items()
    return {name: replace(around, store=store) for name, around in known}


@pytest.mark.asyncio
async def test_links_and_waits_of_all_processes() -> None:
    async with office() as there:
        (own,) = (await there.get("/links"))["reports"]
        assert own == {"replica": "", "seconds": 0, "up": 1, "opening": 0, "waiting": 1}
        many = [
            LinkState(RoomId(f"!{number:03}:example.org"), "up", number) for number in range(150)
        ]
        bad = [replace(many[7], state="waiting", why="HTTP 502"), LinkState(ROOM, "opening", 7)]
        elsewhere = replace(
            there.bridge, replica="b", links=lambda: [*many[:7], *many[8:], *bad],
            recent=lambda: [("", replace(chat(9), asked=2_000))] * 150,
        )  # fmt: skip
        told = [(1.26, views.report_of(elsewhere)), (0.5, "of another version")]
        store = SimpleNamespace(reports=AsyncMock(return_value=told))
        bridge = replace(there.bridge, replica="a", enterprises=with_store(there, store))
        assert len(told[0][1]) < 30_000, "it goes with each sign of life"
        both = there._replace(operations=Dispatcher(bridge))

        answer = await both.get("/links", limit=200)
        assert answer["reports"] == [
            {"replica": "a", "seconds": 0, "up": 1, "opening": 0, "waiting": 1},
            {"replica": "b", "seconds": 1.3, "up": 149, "opening": 1, "waiting": 1},
        ]
        by_room = {one["room_id"]: one for one in answer["links"]}
        assert len(by_room) == len(answer["links"]) == 2 + views.MOST_TOLD - 1
        assert by_room["!007:example.org"]["why"] == "HTTP 502"
        assert by_room["!007:example.org"]["replica"] == "b"
        assert by_room[ROOM]["replica"] == "a", "whoever answers knows best"
        page = await both.get("/links", limit=2)
        rest = await both.get("/links", limit=200, after=page["next"])
        assert page["links"] + rest["links"] == answer["links"]

        answer = await both.get("/waits")
        assert [one["replica"] for one in answer["reports"]] == ["a", "b"]
        assert len(answer["waits"]) == 2 + views.MOST_TOLD
        assert [one["at"] for one in answer["waits"]] == sorted(
            one["at"] for one in answer["waits"]
        )


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("orders", {"words": "frobnicate"}, "frobnicate"),
        ("orders", {"words": "login a b"}, "login"),
        ("orders", {"words": "queue set 9"}, "9"),
        ("settings", {"settings": {"paused": True, "queue": 9}}, "9"),
        ("settings", {"settings": {"nonsense": 9}}, "nonsense"),
    ],
)
@pytest.mark.asyncio
async def test_wrong_orders_are_refused_before_anything_is_stored(
    path: str, body: object, says: str
) -> None:
    method = "PATCH" if path == "settings" else "POST"
    async with office() as there:
        status, answer = await there.ask(method, f"/rooms/{ROOM}/{path}", body)
        assert status == 400
        assert says in answer["error"] or path == "orders"
        assert len(answer["error"]) > 20, "a sentence, not a key"
        assert await changes(there) == []


@pytest.mark.parametrize(
    "content",
    [
        {"body": "!wc login ada letmein"},
        {"body": "* login ada letmein"},
        {"body": "* x", "m.new_content": {"body": "!wc login ada letmein"}},
        {"body": "> <@bob:example.org> hm\n\n!wc 登录 ada letmein"},
        {"body": "hello, login is my word", "shown": True},
    ],
)
@pytest.mark.asyncio
async def test_a_password_is_shown_in_no_dead_letter(content: dict[str, Any]) -> None:
    shown = content.pop("shown", False)
    body = dump_input(MatrixEvent({"type": "m.room.message", "content": content})).decode()
    letter = DeadLetter("i1", ROOM, 0, "KeyError", body)
    async with office() as there:
        store = SimpleNamespace(letter=AsyncMock(return_value=letter))
        bridge = replace(there.bridge, enterprises=with_store(there, store))
        found = await views.get_dead_letter(bridge, LetterAsked(letter_id="i1"))
    assert (found.body is not None) is shown


@pytest.mark.asyncio
async def test_dead_letters_are_retried_and_discarded_once() -> None:
    async with office() as there:
        first, second, third = await letters(there)
        effect = await there.get(f"/dead-letters/{first}")
        assert effect["fix"] == "load it"
        assert effect["body"] == '{"type":"Call"}'
        assert "hello" in (await there.get(f"/dead-letters/{second}"))["body"]
        assert (await there.get(f"/dead-letters/{third}"))["body"] is None, "it holds a password"
        page = await there.get("/dead-letters", limit=2)
        assert [one["id"] for one in page["dead_letters"]] == [first, second]
        rest = await there.get("/dead-letters", after=page["next"])
        assert [one["id"] for one in rest["dead_letters"]] == [third]
        for method, path in (("POST", f"{second}/retry"), ("DELETE", third)):
            assert (await there.ask(method, f"/dead-letters/{path}"))[0] == 200
            assert (await there.ask(method, f"/dead-letters/{path}"))[0] == 404
        assert await letters(there) == [first]
        assert await there.world.nothing_left(), "what was retried is taken up at once"


@pytest.mark.asyncio
async def test_changes_name_the_call_centre_as_rooms_do() -> None:
    """A room of the first one may have no name stored, and a change may concern no room."""
    async with office() as there:
        store = there.world.writing
        await store.record_change(Change(1, "@ada:x", "command", "queue", room_id=ROOM))
        await store.record_change(Change(2, "api", "api", "erase"))
        bridge = replace(there.bridge, named=lambda name: name or "first")
        several = there._replace(operations=Dispatcher(bridge))
        assert (await several.get(f"/rooms/{ROOM}"))["enterprise"] == "first"
        assert [one["enterprise"] for one in await changes(several)] == ["", "first"]


@pytest.mark.asyncio
async def test_lists_name_the_call_centre_of_each_entry() -> None:
    """The chats and the account of a room that has moved are with the former one."""
    async with office() as there:
        store = there.world.writing
        await store.save_token(Token(OTHER, "best\nmx-feedbeef", "t0ken", 1))
        await store.save_token(Token(QUEUED, "best\nmx-0123456789abcdef", "t0ken", 1))
        row = ChatRow(4, dump_chat(replace(chat(4), enterprise="best")))
        await every(store, [Commit(ROOM, 1, chats=[row])])
        bridge = replace(
            there.bridge, named=lambda name: name or "acme", open_names=lambda name: name == "acme"
        )
        several = there._replace(operations=Dispatcher(bridge))

        async def named(path: str, key: str) -> list[str]:
            return [one["enterprise"] for one in (await several.get(path))[key]]

        assert await named(f"/rooms/{ROOM}/chats", "chats") == ["best", "acme", "acme", "acme"]
        assert await named("/accounts", "accounts") == ["best", "best", "acme"]
        names = [one["login_name"] for one in (await several.get("/accounts"))["accounts"]]
        assert names == [None, None, "ada"], "where the name alone lets in, it is not shown"
        assert await named("/links", "links") == ["best", ""]
        assert await named("/dead-letters", "dead_letters") == ["acme"] * 3


@pytest.mark.asyncio
async def test_health_names_a_call_centre_that_the_bridge_can_do_without() -> None:
    async with office() as there:
        there.health.gone["webchat best"] = "no answer in time"
        health = await there.get("/health")
        assert (health["ready"], health["missing"]) == (True, {})
        assert health["away"] == {"webchat best": "no answer in time"}


OTHER = RoomId("!other:example.org")
LOGIN = "!wc login ada letmein"
HOLDING_PASSWORDS: list[Raw] = [
    {"body": f"> <@bot:example.org> Hello\n\n{LOGIN}"},
    {"body": f"* {LOGIN}", "m.new_content": {"body": LOGIN}},
    {"body": "* log in", "m.new_content": {"body": LOGIN}},
    {"body": f"WebChat: {LOGIN}"},
    {"body": "as code", "formatted_body": f"<code>{LOGIN}</code>"},
    {"body": "\n".join(["!wcxa"] * 600)},  # parsing it would block all rooms
]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "content", HOLDING_PASSWORDS, ids=["reply", "correction", "fallback", "behind", "html", "long"]
)
async def test_a_password_is_found_wherever_a_command_may_stand(content: Raw) -> None:
    async with office() as there:
        store, now = there.world.writing, there.world.clock.now()
        body = dump_input(MatrixEvent({"type": "m.room.message", "content": content}))
        (row,) = await accept(store, [NewInput(OTHER, body, "$secret")], now)
        await every(store, [Commit(OTHER, now + 5, buried=[(row.seq, "KeyError")])])
        letter = (await letters(there))[-1]
        assert letter == f"i{row.seq}"
        assert (await there.get(f"/dead-letters/{letter}"))["body"] is None


@pytest.mark.asyncio
async def test_accounts_are_shown_without_secrets_and_forgotten() -> None:
    async with office() as there:
        queued, own = (await there.get("/accounts"))["accounts"]
        assert (queued["room_id"], queued["login_name"], queued["own"]) == (QUEUED, None, False)
        assert (own["login_name"], own["own"], own["logged_in"]) == ("ada", True, True)
        assert (await there.ask("DELETE", f"/accounts/{ROOM}"))[0] == 200
        assert (await there.ask("DELETE", f"/accounts/{ROOM}"))[0] == 404
        assert await there.world.store.token(ROOM) is None


@pytest.mark.asyncio
async def test_room_admins_see_their_room_and_no_other() -> None:
    async with office() as there:
        assert (await there.ask("GET", f"/rooms/{ROOM}", caller=ADMIN))[0] == 200
        assert (await there.ask("GET", "/queues", caller=ADMIN))[0] == 200
        assert (await there.ask("GET", f"/rooms/{QUEUED}", caller=ADMIN))[0] == 403
        for one in OPERATIONS:
            if not one.room_admins:
                path = one.path.format(room_id=ROOM, event_id="$lost", letter_id="o1")
                status, answer = await there.ask(one.method, path, caller=ADMIN)
                assert (status, answer["errcode"]) == (403, "M_FORBIDDEN"), one.name


WRONG: tuple[tuple[str, object, dict[str, object], tuple[int, str, str]], ...] = (
    ("GET /nothing", None, {}, (404, "M_UNRECOGNIZED", "Unknown path")),
    ("GET /rooms/%ff", None, {}, (404, "M_UNRECOGNIZED", "Unknown path")),
    ("PUT /rooms", None, {}, (405, "M_UNRECOGNIZED", "Use GET here.")),
    ("PUT /dead-letters/o1", None, {}, (405, "M_UNRECOGNIZED", "Use DELETE or GET here.")),
    ("GET /rooms", None, {"limit": 201}, (400, "M_INVALID_PARAM", "limit")),
    ("GET /rooms", None, {"limit": "x"}, (400, "M_INVALID_PARAM", "limit")),
    ("GET /rooms", None, {"limits": 2}, (400, "M_INVALID_PARAM", "limits")),
    ("GET /rooms", None, {"after": "\0"}, (400, "M_INVALID_PARAM", "after")),
    ("GET /changes", None, {"after": "\n"}, (400, "M_INVALID_PARAM", "after")),
    ("GET /dead-letters", None, {"after": "\n"}, (400, "M_INVALID_PARAM", "after")),
    ("GET /rooms/notaroom", None, {}, (400, "M_INVALID_PARAM", "room_id")),
    (
        "GET /rooms",
        None,
        {"phase": "queued"},
        (400, "M_INVALID_PARAM", "; it may be Idle, Requesting, Queued, Chatting, Ended."),
    ),
    (
        "GET {orders}/1",
        None,
        {},
        (400, "M_INVALID_PARAM", "order: must be 16 digits of 0-9 and a-f."),
    ),
    ("GET /rooms/notaroom", None, {}, (400, "M_INVALID_PARAM", "must be the id of a room (!…).")),
    (
        "PATCH {room}/settings",
        {"settings": {"a b": 1}},
        {},
        (400, "M_BAD_JSON", "settings: must be 1 to 40 of a-z A-Z _ . -."),
    ),
    ("POST {orders}", {}, {}, (400, "M_BAD_JSON", "words")),
    ("POST {orders}", {"words": 1}, {}, (400, "M_BAD_JSON", "words")),
    ("POST {orders}", [], {}, (400, "M_BAD_JSON", "object")),
    ("POST {orders}", None, {}, (400, "M_NOT_JSON", "JSON")),
    ("POST {orders}", {"words": "a", "room_id": "!b"}, {}, (400, "M_BAD_JSON", "room_id")),
    ("POST {orders}", {"words": "a"}, {"x": 1}, (400, "M_INVALID_PARAM", "'x'")),
)


@pytest.mark.parametrize(("asked", "body", "query", "expected"), WRONG)
@pytest.mark.asyncio
async def test_invalid_requests_are_explained(
    asked: str, body: object, query: dict[str, object], expected: tuple[int, str, str]
) -> None:
    method, path = asked.format(orders=f"/rooms/{ROOM}/orders", room=f"/rooms/{ROOM}").split(" ")
    async with office() as there:
        status, answer = await there.ask(method, path, body, query=query)
        assert (status, answer["errcode"]) == expected[:2], answer
        assert expected[2] in answer["error"]


@pytest.mark.asyncio
async def test_unavailable_database_and_internal_error() -> None:
    async with office() as there:
        there.world.store.down = True
        status, answer = await there.ask("GET", "/rooms")
        assert (status, answer["errcode"]) == (503, "M_UNKNOWN")
        there.world.store.down = False
        there.health.lacks = None  # type: ignore[assignment]
        for _ in range(AT_ONCE + 1):  # an error must free its place
            status, answer = await there.ask("GET", "/health")
            assert (status, answer["errcode"]) == (500, "M_UNKNOWN")
        assert (await there.ask("GET", "/rooms"))[0] == 200


@pytest.mark.asyncio
async def test_slow_operations_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Health is needed just while the database hangs, or somebody is being erased."""
    async with office() as there, asyncio.TaskGroup() as tasks:
        answered = asyncio.Event()

        async def letters(*_: object) -> list[DeadLetter]:
            await answered.wait()
            return []

        monkeypatch.setattr(there.world.store, "letters", letters)
        asked = [tasks.create_task(there.ask("GET", "/dead-letters")) for _ in range(9)]
        async with asyncio.timeout(5):
            for path in ("/health", "/rooms"):
                assert (await there.ask("GET", path))[0] == 200
        assert not any(one.done() for one in asked)
        answered.set()


def test_operations_have_unique_names_and_paths() -> None:
    assert len(BY_NAME) == len(OPERATIONS) == len({(one.method, one.path) for one in OPERATIONS})
    for one in OPERATIONS:
        assert set(one.in_path) <= set(one.asked.__struct_encode_fields__), one.name
        if one.room_admins:
            assert "room_id" in one.in_path or one.name == "list_queues", one.name
    assert OPERATOR.room is None


@pytest.mark.asyncio
async def test_a_room_is_erased_in_two_calls() -> None:
    wish = {"subject": ROOM, "force": True}
    async with office() as there:
        _, told = await there.ask("POST", "/erase", wish | {"dry_run": True})
        assert (told["rooms"], told["chatting"], told["done"]) == ([ROOM], [ROOM], False)
        status, refused = await there.ask("POST", "/erase", {"subject": ROOM})
        assert (status, refused["errcode"]) == (409, "M_CONFLICT")
        status, told = await there.ask("POST", "/erase", wish)
        assert (status, told["done"]) == (202, False)
        await there.world.clock.turn(5)
        _, told = await there.ask("POST", "/erase", wish)
        assert (told["done"], told["left"]) == (True, {})
        assert [one["key"] for one in await changes(there)].count("erase") == 1, "not each look"
        assert [secret for secret in SECRETS if secret in str(told)] == []
        status, wrong = await there.ask("POST", "/erase", {"subject": BOT})
        assert (status, wrong["errcode"]) == (400, "M_INVALID_PARAM")


@pytest.mark.asyncio
async def test_room_that_stays_is_emptied_once() -> None:
    wish = {"subject": ROOM, "force": True, "stay": True}
    async with office() as there:
        world, done = there.world, []
        for _ in range(4):
            status, told = await there.ask("POST", "/erase", wish)
            done.append((status, told["done"]))
            await world.clock.turn(1)
        assert done[-1] == (202, True)
        assert len([one for one in await changes(there) if one["key"] == "erase"]) == 1
        assert (await world.stored()).conversation.number == 0
