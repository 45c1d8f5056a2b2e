"""Handlers of the operations (table in `operations`), and their interface to the bridge.

The cost of a request is bounded: it reads at most `MOST_LOOKED` rooms, or a page of anything else.
Contents of messages are shown only in a dead letter; tokens, passwords, and login names that
suffice to log in, never.

A change in a room is an order: an input of the room, carried out with admin rights by the process
that serves it, and audited there. A change of the store's rows is audited here after it is done: a
crash in between loses the audit row, but never audits a change that was not made.
"""

from __future__ import annotations

import secrets
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from heapq import nsmallest
from itertools import islice
from typing import Literal, TypeVar, cast

import msgspec
from msgspec import UNSET, structs

from bridge import __version__
from bridge.admin import shapes
from bridge.config.hours import parse_hours
from bridge.config.model import Queue
from bridge.conversation import model
from bridge.ids import EventId, QueueId, RoomId
from bridge.rooms import commands, erasure
from bridge.rooms.engine import Engine
from bridge.rooms.ports import LinkState
from bridge.rooms.record import Chat, MatrixEvent, Order, RoomRecord, load_chat, load_input
from bridge.rooms.rules import (
    BadOrder,
    Rules,
    choices_of,
    narrow,
    readable_hours,
    unconfigured_rules,
)
from bridge.rooms.store import (
    AccountRow,
    Change,
    DeadLetter,
    Outcome,
    PassedOn,
    StoredRoom,
    StorePort,
)
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import readable_record

T = TypeVar("T", bound=msgspec.Struct)
LOOK = 100
"""Number of rooms read per query."""
MOST_LOOKED = 1000
"""Maximum number of rooms read per request; the next page continues after them."""
MOST_TOLD = 100
"""Maximum number of links, and of waits, in a process's report to the others."""
MOST_LINES = 500
"""Maximum lines of an event that are searched for a password: each takes up to 0.1 ms."""
LIVE = frozenset({"Requesting", "Queued", "Chatting"})
"""Phases of rooms whose link is wanted."""
LETTER_GONE = "There is no such dead letter; it may have been retried or discarded."

# --- the interface to the bridge ------------------------------------------------------------------

Verb = Literal["retry", "discard"]
"""Decision about a dead letter."""
Busy = Mapping[tuple[str, str, QueueId], int]
"""Number of rooms by (call centre, phase, queue)."""


class Caller(msgspec.Struct, frozen=True):
    actor: str
    """Author of an action, as in the audit trail."""
    way: str
    """`api`, `console`, `widget` or `cli`."""
    room: RoomId | None = None
    """The room that the caller is admin of; None for the operator."""
    language: str = "en"
    """Language of the error for an order that cannot be carried out."""


class ApiError(Exception):
    """Failure of an operation: an HTTP status and an error in Matrix's form."""

    def __init__(
        self, status: int, errcode: str, error: str, retry_after_ms: int = 0, allow: str = ""
    ) -> None:
        """`allow`: with status 405, the methods that the path supports."""
        super().__init__(error)
        self.status, self.errcode = status, errcode
        self.retry_after_ms, self.allow = retry_after_ms, allow


def not_found(sentence: str) -> ApiError:
    return ApiError(404, "M_NOT_FOUND", sentence)


class Bridge(msgspec.Struct, frozen=True):
    """Dependencies of the operations; built once, by the composition root."""

    enterprises: Mapping[str, Surroundings]
    """Call centres by their id in the configuration; a single one has the id ""."""
    orders: Engine
    missing: Callable[[], dict[str, str]]
    """Returns why this process is not ready, by part; empty if it is ready."""
    away: Callable[[], dict[str, str]]
    """Returns all unreachable parts with reasons, also those that the bridge can do without."""
    links: Callable[[], Collection[LinkState]]
    """Returns the state of this process's links."""
    busy: Callable[[], Awaitable[Busy]]
    """Counts the rooms of all processes whose link is wanted."""
    recent: Callable[[], Sequence[tuple[str, Chat]]]
    """Returns (call centre, chat) for this process's newest chats whose wait has ended."""
    advice: Callable[[str], str] = lambda _: ""
    """Returns what to do about a dead letter, given its reason; empty if unknown."""
    replica: str = ""
    """Name of this process among several; empty if it is the only one."""
    named: Callable[[str], str] = str
    """Maps a call centre's id in a room's record to its id in the configuration."""
    open_names: Callable[[str], bool] = lambda _: False
    """True if login names of this call centre are no secret: they do not suffice to log in."""

    @property
    def around(self) -> Surroundings:
        """The first call centre's surroundings, for the parts that all of them share."""
        return next(iter(self.enterprises.values()))


def made(kind: type[T], source: object, **more: object) -> T:
    """Build an answer from the source's attributes of the same names, and `more`."""
    names = (name for name in kind.__struct_fields__ if name not in more)
    return cast(Callable[..., T], kind)(**{name: getattr(source, name) for name in names}, **more)


# --- the bridge itself ----------------------------------------------------------------------------


async def get_health(bridge: Bridge, _asked: shapes.Asked) -> shapes.Health:
    """Whether the bridge is ready, and what it cannot reach."""
    missing, away = bridge.missing(), bridge.away()
    return shapes.Health(
        ready=not missing, missing=missing, away=away, version=__version__, replica=bridge.replica
    )


async def list_replicas(bridge: Bridge, _asked: shapes.Asked) -> shapes.Replicas:
    """The processes that share the rooms, and how many of the 256 shards each serves."""
    members = await bridge.around.store.members()
    return shapes.Replicas(
        replicas=[
            made(
                shapes.Replica,
                member,
                shards=len(member.shards),
                seen=max(0.0, round(member.age, 1)),
                state="gone" if not member.present else "leaving" if member.leaving else "serves",
            )
            for member in sorted(members, key=lambda member: member.name)
        ]
    )


async def list_links(bridge: Bridge, asked: shapes.Page) -> shapes.Links:
    """The links to the call centre, with their state and errors."""
    reports = await _everywhere(bridge)
    # If several processes report a room, which has just moved, this process's report wins.
    by_room = {link.room_id: link for report in reversed(reports) for link in report.links}
    behind = sorted(room_id for room_id in by_room if room_id > asked.after)
    page = behind[: asked.limit]
    return shapes.Links(
        reports=[report.report for report in reports],
        links=[by_room[room_id] for room_id in page],
        next=page[-1] if len(behind) > len(page) else None,
    )


class _Report(msgspec.Struct, frozen=True):
    """A process's report on its links and waits."""

    report: shapes.Report
    links: list[shapes.Link]
    waits: list[shapes.Waited]


def report_of(bridge: Bridge) -> str:
    """Return this process's report to the others as JSON; sent with each heartbeat, so short."""
    return msgspec.json.encode(_own_report(bridge, MOST_TOLD)).decode()


async def _everywhere(bridge: Bridge) -> list[_Report]:
    """Return the reports of all processes, this one's first and in full."""
    reports = [_own_report(bridge)]
    for age, report in await bridge.around.store.reports():
        try:
            read = msgspec.json.decode(report, type=_Report)
        except ValueError:
            continue  # from another version, during a rolling restart
        seconds = max(0.1, round(age, 1))
        reports.append(structs.replace(read, report=structs.replace(read.report, seconds=seconds)))
    return reports


def _own_report(bridge: Bridge, most: int = sys.maxsize) -> _Report:
    found, own = bridge.links(), bridge.replica
    count = Counter(link.state for link in found)
    counted = {"up": count["up"], "opening": count["opening"], "waiting": count["waiting"]}
    some = nsmallest(most, found, lambda link: (link.state == "up", link.state == "opening"))
    links = [
        made(shapes.Link, link, replica=own, why=link.why.encode("utf-8", "replace").decode())
        for link in some
    ]
    recent = list(bridge.recent())[-most:]
    waits = [_waited(own, enterprise, chat) for enterprise, chat in recent]
    return _Report(shapes.Report(replica=own, seconds=0, **counted), links, waits)


async def list_enterprises(bridge: Bridge, _asked: shapes.Asked) -> shapes.Enterprises:
    """The call centres of the configuration."""
    return shapes.Enterprises(
        enterprises=[
            made(shapes.Enterprise, centre.rules, id=name, queues=len(centre.rules.queues))
            for name, centre in bridge.enterprises.items()
        ]
    )


async def list_queues(bridge: Bridge, caller: Caller, asked: shapes.QueuesAsked) -> shapes.Queues:
    """The queues with their load, whether they are open, and the expected wait."""
    busy, wanted = await bridge.busy(), asked.enterprise
    if caller.room is not None:  # a room admin sees those that the room can choose
        _, record = await room_of(bridge, caller.room)
        wanted = rules_of(bridge, record).of_room(record.settings).enterprise
    return shapes.Queues(
        queues=[
            _queue(bridge, name, queue, busy)
            for name, centre in bridge.enterprises.items()
            if _fits(wanted, name)
            for queue in centre.rules.queues
        ]
    )


def _queue(bridge: Bridge, enterprise: str, queue: Queue, busy: Busy) -> shapes.Queue:
    now = bridge.around.clock.now()
    hours = parse_hours(queue.hours) if queue.hours else None
    opened = None if hours is None else hours.is_open(now)
    usual = bridge.enterprises[enterprise].waits.expected(model.Queued(QueueId(queue.id), now), now)

    def count(*phases: str) -> int:
        return sum(busy.get((enterprise, phase, QueueId(queue.id)), 0) for phase in phases)

    return made(
        shapes.Queue,
        queue,
        enterprise=enterprise,
        open=opened,
        opens=None if hours is None or opened else hours.opens(now),
        waiting=count("Requesting", "Queued"),
        chatting=count("Chatting"),
        wait=None if usual is None else shapes.Wait(low=round(usual[0]), high=round(usual[1])),
    )


async def list_waits(bridge: Bridge, _asked: shapes.Asked) -> shapes.Waits:
    """The newest waits, for a plot; the metrics have long-term figures."""
    reports = await _everywhere(bridge)
    waits = sorted((wait for report in reports for wait in report.waits), key=lambda wait: wait.at)
    return shapes.Waits(reports=[report.report for report in reports], waits=waits)


def _waited(replica: str, enterprise: str, chat: Chat) -> shapes.Waited:
    at = chat.started or chat.ended or chat.asked
    return shapes.Waited(
        at=at,
        replica=replica,
        enterprise=enterprise,
        queue=chat.queue_id,
        seconds=(at - chat.asked) / 1000,
        answered=chat.started is not None,
    )


# --- rooms ----------------------------------------------------------------------------------------


async def list_rooms(bridge: Bridge, asked: shapes.RoomsAsked) -> shapes.Rooms:
    """The rooms of the bridge, ordered by id."""
    if asked.customer is UNSET:
        return await _page_of(bridge, asked)
    found = sorted(await bridge.around.store.rooms_of(asked.customer))
    rows = [
        row for room_id in found if (row := await bridge.around.store.room(room_id)) is not None
    ]
    rooms = [room for row in rows if (room := _wanted(bridge, asked, row))]
    return shapes.Rooms(rooms=rooms, next=None)


async def get_room(bridge: Bridge, asked: shapes.RoomAsked) -> shapes.RoomState:
    """A room, its settings, and the state of its conversation."""
    return room_state(bridge, *await room_of(bridge, asked.room_id))


async def list_room_chats(bridge: Bridge, asked: shapes.RoomPage) -> shapes.RoomChats:
    """The chats of a room, newest first."""
    row, _ = await room_of(bridge, asked.room_id)
    stored = await bridge.around.store.chats(row.room_id, asked.limit + 1, _number(asked.after))
    page, further = stored[: asked.limit], stored[asked.limit :]
    chats = [_chat(bridge, row.room_id, load_chat(entry.chat)) for entry in page]
    return shapes.RoomChats(chats=chats, next=str(further[0].number) if further else None)


async def list_chats(bridge: Bridge, asked: shapes.ChatsAsked) -> shapes.Rooms:
    """The rooms with a current chat or request for an agent."""
    return await _page_of(bridge, asked)


def _wanted(
    bridge: Bridge, asked: shapes.RoomsAsked | shapes.ChatsAsked, row: StoredRoom
) -> shapes.RoomState | None:
    if isinstance(asked, shapes.ChatsAsked) and row.phase not in LIVE:
        return None
    if not _fits(asked.phase, row.phase):
        return None
    state = room_state(bridge, row, readable_record(row, row.room_id))
    fits = _fits(asked.enterprise, state.enterprise) and _fits(asked.queue, state.queue)
    return state if fits else None


def _fits(wanted: object, value: object) -> bool:
    return wanted is UNSET or wanted == value


async def _page_of(bridge: Bridge, asked: shapes.RoomsAsked | shapes.ChatsAsked) -> shapes.Rooms:
    found: list[shapes.RoomState] = []
    last, live = asked.after, isinstance(asked, shapes.ChatsAsked) or asked.phase in LIVE
    phase = "" if asked.phase is UNSET else asked.phase
    for _ in range(MOST_LOOKED // LOOK):
        rows = await bridge.around.store.rooms(last, LOOK, live=live, phase=phase)
        for row in rows:
            last = row.room_id
            if (state := _wanted(bridge, asked, row)) is not None:
                found.append(state)
                if len(found) == asked.limit:
                    return shapes.Rooms(rooms=found, next=last)
        if len(rows) < LOOK:
            return shapes.Rooms(rooms=found, next=None)
    return shapes.Rooms(rooms=found, next=last)


async def room_of(bridge: Bridge, room_id: str) -> tuple[StoredRoom, RoomRecord]:
    """Return a room by its first or current Matrix id; ApiError (404) if unknown."""
    upgrades, store = bridge.around.upgrades, bridge.around.store
    row = await bridge.around.store.room(upgrades.stored_id(RoomId(room_id)))
    if row is None:  # another process may have stored that it replaces a room
        await upgrades.look(store, RoomId(room_id))
        row = await bridge.around.store.room(upgrades.stored_id(RoomId(room_id)))
    if row is None:
        raise not_found("The bridge does not know this room.")
    return row, readable_record(row, row.room_id)


def rules_of(bridge: Bridge, record: RoomRecord) -> Rules:
    """Return the rules of the room's call centre, even if that left the configuration."""
    found = bridge.enterprises.get(bridge.named(record.enterprise))
    every = (centre.rules for centre in bridge.enterprises.values())
    return unconfigured_rules(every) if found is None else found.rules


def room_state(bridge: Bridge, row: StoredRoom, record: RoomRecord) -> shapes.RoomState:
    phase, settings = record.conversation.phase, record.settings
    rules = rules_of(bridge, record)
    coming = rules.of_room(settings).queue_for(record)
    queue = coming if isinstance(phase, model.NoChat) else phase.queue_id
    chatting = phase if isinstance(phase, model.Chatting) else None
    return made(
        shapes.RoomState,
        record,
        room_id=row.room_id,
        enterprise=bridge.named(record.enterprise),
        enterprises=list(choices_of(record, rules)),
        queue=queue,
        next_queue=coming,
        language=rules.language_for(record),
        settings=made(
            shapes.Settings,
            settings,
            hours_unclear=not readable_hours(settings.hours) if settings.hours else False,
            texts=dict(settings.texts),
        ),
        phase=cast(shapes.Phase, type(phase).__name__),
        since=phase.since or None,
        chat=record.conversation.number,
        position=phase.position if isinstance(phase, model.Queued) else None,
        session_id=None if chatting is None else chatting.session_id,
        agents=_agents(() if chatting is None else chatting.agents),
        held=len(record.conversation.held),
        own_account=record.login is not None,
    )


def _chat(bridge: Bridge, room_id: RoomId, chat: Chat) -> shapes.Chat:
    agents, enterprise = _agents(chat.agents), bridge.named(chat.enterprise)
    more = {"room_id": room_id, "enterprise": enterprise, "queue": chat.queue_id, "agents": agents}
    return made(shapes.Chat, chat, **more)


def _agents(agents: Iterable[object]) -> list[shapes.Agent]:
    return [made(shapes.Agent, agent) for agent in agents]


async def get_order(bridge: Bridge, asked: shapes.OrderNumber) -> shapes.OrderState:
    """The state of an order. The command's answer is posted in the room."""
    row, _ = await room_of(bridge, asked.room_id)
    found = await bridge.around.store.input(row.room_id, f"order:{asked.order}")
    if found is None:
        raise not_found("There is no such order, or it is older than retention.rows.")
    state: Literal["waiting", "done", "failed"] = "waiting" if found.handled is None else "done"
    if found.outcome == Outcome.DEAD and found.lane is None:
        state = "failed"
    return shapes.OrderState(
        room_id=row.room_id,
        order=asked.order,
        state=state,
        at=found.handled or found.settled or found.received,
        detail=found.detail if state == "failed" else "",
    )


async def list_changes(bridge: Bridge, asked: shapes.NumberedPage) -> shapes.Changes:
    """Audit trail: who changed what, when and how, newest first."""
    return await _changes(bridge, None, asked)


async def list_room_changes(bridge: Bridge, asked: shapes.RoomPage) -> shapes.Changes:
    """Audit trail of a room: who changed what, when and how, newest first."""
    row, _ = await room_of(bridge, asked.room_id)
    return await _changes(bridge, row.room_id, asked)


async def _changes(
    bridge: Bridge, room_id: RoomId | None, asked: shapes.NumberedPage
) -> shapes.Changes:
    rows = await bridge.around.store.changes(room_id, _number(asked.after), asked.limit + 1)
    changes = [
        made(shapes.Change, row, enterprise=bridge.named(row.enterprise) if row.room_id else "")
        for row in rows[: asked.limit]
    ]
    after = str(changes[-1].number) if len(rows) > asked.limit else None
    return shapes.Changes(changes=changes, next=after)


def _number(after: str) -> int | None:
    return int(after.partition(".")[0]) if after else None


# --- accounts, deliveries, dead letters -----------------------------------------------------------


async def list_accounts(bridge: Bridge, asked: shapes.Page) -> shapes.Accounts:
    """The WebChat accounts of rooms, ordered by room id."""
    rows = await bridge.around.store.accounts(asked.after, asked.limit + 1)
    accounts = [_account(bridge, row) for row in rows[: asked.limit]]
    after = accounts[-1].room_id if len(rows) > asked.limit else None
    return shapes.Accounts(accounts=accounts, next=after)


def _account(bridge: Bridge, row: AccountRow) -> shapes.Account:
    record = readable_record(row.room, row.room_id)
    # The room may have moved to another call centre since.
    mark, _, name = row.login_name.rpartition("\n")
    own = record.login is not None and record.login.name == name
    enterprise = bridge.named(mark)
    shown = own or bridge.open_names(enterprise)
    return shapes.Account(
        room_id=row.room_id,
        enterprise=enterprise,
        customer=record.customer,
        own=own,
        login_name=name if shown else None,
        logged_in=row.has_token,
        issued=row.issued,
    )


async def trace_event(bridge: Bridge, asked: shapes.EventAsked) -> shapes.Trace:
    """The history of a Matrix event: received, attempted, delivered, with times."""
    rows = await bridge.around.store.trace(EventId(asked.event_id))
    if not rows:
        raise not_found("This event was never seen, or is older than retention.rows.")
    lines = [made(shapes.TraceLine, row, possible_double=row.repeat) for row in rows]
    return shapes.Trace(event_id=asked.event_id, lines=lines)


async def list_deliveries(bridge: Bridge, asked: shapes.RoomPage) -> shapes.Deliveries:
    """The ledger of a room, newest first."""
    row, _ = await room_of(bridge, asked.room_id)
    rows, after = await bridge.around.store.deliveries(
        row.room_id, _number(asked.after), asked.limit
    )
    deliveries = [
        made(shapes.Delivery, row, number=row.seq, possible_double=row.repeat) for row in rows
    ]
    return shapes.Deliveries(deliveries=deliveries, next=None if after is None else str(after))


async def list_dead_letters(bridge: Bridge, asked: shapes.NumberedPage) -> shapes.DeadLetters:
    """Dead letters: inputs and effects that failed and need a decision, oldest first."""
    at, _, number = asked.after.partition(".")
    since = int(at or 0), int(number or 0)
    rows = await bridge.around.store.letters(since, asked.limit + 1)
    page = [made(shapes.DeadLetter, row, **_about(bridge, row)) for row in rows[: asked.limit]]
    after = f"{page[-1].at}.{page[-1].id[1:]}" if len(rows) > asked.limit else None
    return shapes.DeadLetters(dead_letters=page, next=after)


def _about(bridge: Bridge, letter: DeadLetter) -> dict[str, str]:
    return {"fix": bridge.advice(letter.why), "enterprise": bridge.named(letter.enterprise)}


async def get_dead_letter(bridge: Bridge, asked: shapes.LetterAsked) -> shapes.OpenedLetter:
    """A dead letter and its content."""
    letter = await bridge.around.store.letter(asked.letter_id)
    if letter is None:
        raise not_found(LETTER_GONE)
    prefixes = {centre.rules.prefix for centre in bridge.enterprises.values()}
    shown = bool(letter.body) and not may_hold_password(letter, prefixes)
    body = letter.body if shown else None
    return made(shapes.OpenedLetter, letter, **_about(bridge, letter), body=body)


def may_hold_password(letter: DeadLetter, prefixes: Collection[str]) -> bool:
    """Return True if it may be the command `login`, in any spelling, with or without a prefix, or
    with one behind other words.
    """
    if commands.logins(tuple(prefixes)).search(narrow(letter.body).casefold()):
        return True
    try:
        stored = load_input(letter.body.encode())
    except ValueError:
        return False  # an effect: these never contain passwords
    content = stored.raw.get("content") if isinstance(stored, MatrixEvent) else None
    lines = list(islice(_lines(content), MOST_LINES + 1))
    if len(lines) > MOST_LINES:
        return True
    read = [
        commands.parse(line, prefix, prefix_needed=False) for line in lines for prefix in prefixes
    ]
    return any(value.secret for value in read if value is not None)


def _lines(content: object) -> Iterator[str]:
    """Yield the text of an event and its edit, whole and line by line (below a quotation)."""
    if isinstance(content, dict):
        text = content.get("body")
        if isinstance(text, str):
            yield from (line.removeprefix("* ") for line in (text, *text.splitlines()))
        yield from _lines(content.get("m.new_content"))


# --- changes --------------------------------------------------------------------------------------


async def order_room(bridge: Bridge, caller: Caller, asked: shapes.OrderAsked) -> shapes.Ordered:
    """Run a command in a room with admin rights; its answer is posted there."""
    order = Order(caller.actor, caller.way, asked.words)
    return await _order(bridge, caller, asked, order)


async def set_room_settings(
    bridge: Bridge, caller: Caller, asked: shapes.SettingsWished
) -> shapes.Ordered:
    """Change settings of a room: all of them, or none if one is invalid."""
    settings = {
        key: "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in asked.settings.items()
    }
    order = Order(caller.actor, caller.way, settings=settings)
    return await _order(bridge, caller, asked, order)


async def _order(
    bridge: Bridge, caller: Caller, asked: shapes.Repeatable, order: Order
) -> shapes.Ordered:
    row, record = await room_of(bridge, asked.room_id)
    number = secrets.token_hex(8)
    if asked.request_id:
        named = "\n".join((row.room_id, order.actor, order.way, asked.request_id))
        number = sha256(named.encode()).hexdigest()[:16]
    if not await _given(bridge, row.room_id, number, order):
        try:
            await bridge.orders.order(row.room_id, order, number)
        except BadOrder as bad:
            sentence = bad.sentence(rules_of(bridge, record), caller.language)
            raise ApiError(400, "M_INVALID_PARAM", sentence) from bad
        # A concurrent request may have stored another order under it.
        await _given(bridge, row.room_id, number, order)
    return shapes.Ordered(room_id=row.room_id, order=number)


async def _given(bridge: Bridge, room_id: RoomId, number: str, order: Order) -> bool:
    """Return True if this order was stored under `number`; ApiError (409) if another was."""
    key = EventId(f"order:{number}")
    if await bridge.around.store.input(room_id, key) is None:
        return False
    given = await bridge.around.store.body_of(room_id, key)
    if given and load_input(given) != order:
        sentence = "This request_id was already used for another order: choose a new one."
        raise ApiError(409, "M_CONFLICT", sentence)
    return True


async def forget_account(bridge: Bridge, caller: Caller, asked: shapes.RoomAsked) -> shapes.Done:
    """Delete a room's account and token: its next link logs in anew; an open link stays up."""
    row, record = await room_of(bridge, asked.room_id)
    if not await bridge.around.store.forget_account(row.room_id):
        raise not_found("This room has no account; it gets one with its next chat.")
    now, by = bridge.around.clock.now(), (caller.actor, caller.way)
    done = Change(now, *by, "account forget", "", "", row.room_id, record.enterprise)
    await bridge.around.store.record_change(done)
    return shapes.Done()


async def retry_dead_letter(
    bridge: Bridge, caller: Caller, asked: shapes.LetterAsked
) -> shapes.Done:
    """Retry a dead letter."""
    return await _decided(bridge, caller, asked, "retry")


async def discard_dead_letter(
    bridge: Bridge, caller: Caller, asked: shapes.LetterAsked
) -> shapes.Done:
    """Discard a dead letter. Its content is never delivered."""
    return await _decided(bridge, caller, asked, "discard")


async def _decided(
    bridge: Bridge, caller: Caller, asked: shapes.LetterAsked, verb: Verb
) -> shapes.Done:
    store, now = bridge.around.store, bridge.around.clock.now()
    letter = await decide_letter(store, caller, asked.letter_id, verb, now)
    if letter is None:
        raise not_found(LETTER_GONE)
    bridge.orders.stored_elsewhere(PassedOn(letter.room_id, sys.maxsize))  # if it is served here
    return shapes.Done()


async def decide_letter(
    store: StorePort, caller: Caller, letter_id: str, verb: Verb, now: int
) -> DeadLetter | None:
    """Retry or discard a dead letter and audit it; return the letter, None if it is gone."""
    letter = await store.letter(letter_id)
    decide = store.revive if verb == "retry" else store.discard
    if letter is None or not await decide(letter.id, now):
        return None
    await store.notify_owner(letter.room_id)
    about = f"dead-letters {verb}", letter.id, "", letter.room_id, letter.enterprise
    await store.record_change(Change(now, caller.actor, caller.way, *about))
    return letter


async def erase_data(bridge: Bridge, caller: Caller, asked: shapes.EraseAsked) -> shapes.Erasure:
    """Erase all data of a room or a person; repeat the request until `done` is true."""
    around = bridge.around
    try:
        if asked.dry_run:
            report = await erasure.survey(around.store, asked.subject, around.matrix.is_ours)
        else:
            wish = erasure.Wish(
                subject=asked.subject,
                by=(caller.actor, caller.way),
                force=asked.force,
                stay=asked.stay,
                redact=asked.redact,
            )
            ours, clock, tell = around.matrix.is_ours, around.clock, bridge.orders.tell
            report = await erasure.erase(around.store, wish, ours, clock, tell, patience=0)
    except erasure.BadSubject as error:
        raise ApiError(400, "M_INVALID_PARAM", str(error)) from error
    except erasure.StillChatting as error:
        raise ApiError(409, "M_CONFLICT", f"{error}: set `force` to end it first.") from error
    return made(shapes.Erasure, report, kept=[made(shapes.KeptData, kept) for kept in report.kept])
