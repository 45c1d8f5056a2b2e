"""One chaos run ("act"): chats under load, faults in random order, and checks of the result.

No text that the homeserver or the call centre acknowledged may be lost. Customers get no
duplicates, agents only those marked in the journal. Order is kept in each room and direction.
Afterwards the ghosts in a room are the agents of its session, and a last text passes each way. What
a server of 2016 lost without a link cannot be recovered: a notice in the room must say so.
"""

from __future__ import annotations

import asyncio
import re
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from math import ceil
from pathlib import Path
from random import Random
from urllib.parse import quote

import aiohttp
import msgspec

from bridge.conversation.history import SETTLING
from bridge.simulator.simulator import BadOpError
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.ground import Absences, Ground, Server, Store, ground
from tests.support.encrypted import Phones
from tests.support.ledger import (
    all_taken_in,
    are_in_order,
    check_towards_the_agent,
    everything_settled,
    handed_over,
    in_order,
    repeated_calls,
)
from tests.support.load import GHOSTS, Chat, difference, open_chats, timeline
from tests.support.matrix_user import CustomerError, content_of
from tests.support.stage import Stage
from tests.support.talk import JUN, wording

PAUSE = 0.8
"""Seconds between two texts of a person."""
MANY = 8
"""Number of texts not yet shown to the customer at which the agent slows down (`PATIENT`)."""
COMPANY = 7
"""Texts of an agent between joins and leaves of a second agent."""
PATIENT = 3.0
"""Seconds between texts of an agent who waits, so that a slow machine can catch up."""
RECOVERY = 90.0
"""Maximum seconds after a fault until new texts pass both ways in each room."""
ARRIVAL = 120.0
"""Maximum seconds after the last fault until the last text arrives."""
RECALL = SETTLING / 1000 + 15.0
"""Maximum seconds from taking over a room until what it missed is read in the history."""
TWO = 0.2
"""Probability that two faults are combined."""
GLANCE = 0.4
"""Seconds between two syncs of a customer: without a pause they would be half of the load."""
LOOK = 0.1
LATE = re.compile(r"^🕘 Sent [^\n]*:\n")
"""Prefix of a message recovered from the history."""
UNSURE = "may be missing here"
LATE_PUSHES = 8
"""Maximum number of pushes that a bridge reads before it leaves its rooms, as it waits 5 s for its
database and there is one every 0.8 s; some of them may follow the notice."""
SOON = 60
"""Number of messages, both ways, within which the notice of a loss must appear: after a takeover
the history is requested only after 15 s."""


class Act(msgspec.Struct, frozen=True):
    store: Store
    server: Server
    clear: int = 3
    """Number of unencrypted rooms."""
    encrypted: int = 3

    @property
    def name(self) -> str:
        return f"{self.store}, {self.server}"


class Met(msgspec.Struct, frozen=True):
    """Combined faults, and the seconds from their end until texts passed in all rooms."""

    faults: list[str]
    recovery: float


class Played(msgspec.Struct):
    """The result of an act."""

    act: Act
    seed: str
    met: list[Met] = []
    asked: int = 0
    answered: int = 0
    doubled: int = 0
    """Number of texts that reached an agent twice, all marked."""
    marked: int = 0
    told: int = 0
    """Number of texts lost by a server of 2016, with a notice to the customer."""
    brief: int = 0
    """Number of texts that it lost in an absence too short for a notice."""
    late: int = 0
    """Number of customers' texts that the homeserver never delivered, found by catch-up."""
    restarts: int = 0
    takeovers: list[tuple[str, float]] = []
    seconds: float = 0
    failure: str = ""

    @property
    def messages(self) -> int:
        return self.asked + self.answered


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - pytest shows it on failure, and with -s


def dealt(store: Store, acts: int, each: int, rng: Random) -> list[list[str]]:
    """Return fault names for the acts on a store, each kind once before any is repeated."""
    kinds = [one.name for one in FAULTS if store != "SQLite" or "PostgreSQL" not in one.subject]
    names: list[str] = []
    while len(names) < acts * each:
        names += rng.sample(kinds, k=len(kinds))
    return [names[start * each : (start + 1) * each] for start in range(acts)]


async def play(act: Act, folder: Path, seed: str, names: Sequence[str], messages: int) -> Played:
    """Run an act with at least `messages` texts; a failure is reported in the result."""
    played, began = Played(act, seed), time.monotonic()
    say(f"== {act.name}, seed {seed}")
    try:
        async with AsyncExitStack() as stack:
            place = await stack.enter_async_context(ground(folder, act.store, act.server))
            place.chats = await _opened(place.stage, act, stack)
            place.absences = [Absences(chat.talk.login) for chat in place.chats]
            rng = Random(seed)  # noqa: S311 - not for secrets
            await _storm(place, rng, names, messages, played)
            await _judge(place, played)
    except Exception as error:  # noqa: BLE001 - reported; the other acts go on
        found: BaseException = error
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        played.failure = f"{type(found).__name__}: {found}"
        traceback.print_exception(found)
        say(f"== FAILED: {played.failure}")
    played.seconds = time.monotonic() - began
    say(f"== {played.messages} texts, {len(played.met)} times faults, {played.seconds:.0f} s")
    return played


async def _opened(stage: Stage, act: Act, stack: AsyncExitStack) -> list[Chat]:
    chats = await open_chats(stage, act.clear, "clear")
    phones = Phones(stage, stack)
    for number in range(act.encrypted):
        talk, _ = await phones.chatting(f"sealed-{number}")
        chats.append(Chat(talk))
    return chats


# --- load -----------------------------------------------------------------------------------------


async def _asking(chat: Chat, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await chat.ask()
        await asyncio.sleep(PAUSE)


async def _answering(chat: Chat, absences: Absences, company: bool, stop: asyncio.Event) -> None:
    while not stop.is_set():
        with suppress(RuntimeError):  # the call centre is down
            try:
                await chat.answer()
                absences.moments[chat.answered[-1]] = time.monotonic()
                if company and len(chat.answered) % COMPANY == 0:
                    await _come_or_go(chat)
            except BadOpError as error:
                raise AssertionError(f"the chat ended under load: {error}") from error
        behind = len(chat.answered) - _read(chat)
        await asyncio.sleep(PAUSE if behind < MANY else PATIENT)


async def _come_or_go(chat: Chat) -> None:
    """Let a second agent join the session, or leave it."""
    person = chat.talk.person
    assert person is not None
    assert person.session is not None
    if JUN in _ghosts_of(person.session):
        await chat.talk.desk("leave", agent="A00002")
    else:
        await chat.talk.desk("conference", to="A00002")


async def _looking(chat: Chat) -> None:
    """Keep the customer's client syncing, until cancelled."""
    while True:
        with suppress(aiohttp.ClientError, OSError, TimeoutError, CustomerError):
            await chat.talk.customer.sync(timeout_ms=5_000)
        await asyncio.sleep(GLANCE)


@asynccontextmanager
async def _load(place: Ground) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        always = [group.create_task(place.supervise())]
        always += [group.create_task(_looking(chat)) for chat in place.chats]
        always += [group.create_task(one.watch(place.stage)) for one in place.absences]
        talking = [group.create_task(_asking(chat, stop)) for chat in place.chats]
        talking += [
            # Only this server reports agents who joined or left while there was no link.
            group.create_task(_answering(chat, one, place.server == "receipts", stop))
            for chat, one in zip(place.chats, place.absences, strict=True)
        ]
        yield
        stop.set()
        await asyncio.wait(talking)
        for task in always:
            task.cancel()


# --- faults ---------------------------------------------------------------------------------------


async def _storm(
    place: Ground, rng: Random, names: Sequence[str], messages: int, played: Played
) -> None:
    possible = {fault.name: fault for fault in FAULTS if fault.there(place)}
    # Replace faults that are impossible on this machine.
    deck = deque(possible.get(name) or rng.choice(list(possible.values())) for name in names)
    async with _load(place):
        await asyncio.sleep(2)
        while deck:
            together = [deck.popleft()]
            if deck and rng.random() < TWO and deck[0].subject != together[0].subject:
                together.append(deck.popleft())
            played.met.append(await _met(place, together, rng))
            await asyncio.sleep(rng.uniform(0, 1))
        played.restarts, played.takeovers = place.restarts, place.takeovers
        for chat in place.chats:
            await chat.until_asked(ceil(messages / len(place.chats) / 2))


async def _met(place: Ground, faults: Sequence[Fault], rng: Random) -> Met:
    names = [fault.name for fault in faults]
    place.alone = len(faults) == 1
    say(f"{time.strftime('%H:%M:%S')} {' + '.join(names)}")
    await asyncio.gather(*(fault.play(place, rng) for fault in faults))
    place.mend()
    began = time.monotonic()
    marks = [(len(chat.asked), len(chat.answered)) for chat in place.chats]
    while True:
        silent = [
            chat
            for chat, (asked, answered) in zip(place.chats, marks, strict=True)
            if _heard(place, chat) <= asked or _read(chat) <= answered
        ]
        took = time.monotonic() - began
        if not silent:
            say(f"   talking again after {took:.1f} s")
            return Met(names, round(took, 2))
        if await place.heal_synapse():
            say("   Synapse came back broken, and was started once more")
        if took > RECOVERY:
            rooms = [(c.talk.room, _heard(place, c), _read(c)) for c in silent]
            raise AssertionError(f"{names}: silent for {RECOVERY} s: {rooms} after {marks}")
        await asyncio.sleep(LOOK)


def _heard(place: Ground, chat: Chat) -> int:
    """Return the number of the newest text at the agent."""
    found = place.stage.simulator.customers[chat.talk.login].messages
    texts = (str(message["text"]) for message in reversed(found))
    return next((_number(text) for text in texts if text.startswith("question ")), 0)


def _read(chat: Chat) -> int:
    """Return the number of the newest text at the customer."""
    texts = (LATE.sub("", wording(event)) for event in reversed(chat.talk.messages()))
    return next((_number(text) for text in texts if text.startswith("answer ")), 0)


# --- checks ---------------------------------------------------------------------------------------


async def _judge(place: Ground, played: Played) -> None:
    database, faults = place.shared.database, sum(len(met.faults) for met in played.met)
    for chat in place.chats:
        await chat.talk.at_desk(lambda person: person.linked, ARRIVAL)
        await chat.ask()
        await chat.answer()
        await all_taken_in(database, chat, ARRIVAL)
    for chat in place.chats:
        await chat.everything_arrived(ARRIVAL)
        if place.server == "history":
            await _read_back(chat)
        played.asked += len(chat.asked)
        played.answered += len(chat.answered)
    await everything_settled(database, ARRIVAL)
    for chat, absent in zip(place.chats, place.absences, strict=True):
        disturbed, late = faults + place.restarts, _keys_late(place, chat)
        played.doubled += await check_towards_the_agent(chat, database, disturbed, keys_late=late)
        played.marked += len(await repeated_calls(database, chat.talk.room))
        given = await handed_over(database, chat)
        played.late += len(given) - len(in_order(given, chat.asked))
        told, brief = await _towards_the_customer(
            place, chat, absent, replaced=_replaced(place, played)
        )
        played.told += told
        played.brief += brief
        await _ghosts_are_agents(chat)


async def _read_back(chat: Chat) -> None:
    """Wait for the texts that are fetched from the history, if the last fault moved the room."""

    def complete() -> bool:
        read = {LATE.sub("", wording(one)) for one in chat.talk.messages()}
        return read.issuperset(chat.answered)

    with suppress(TimeoutError):  # what is missing then is judged as lost
        await chat.talk.customer.wait_until(complete, RECALL)


def _keys_late(place: Ground, chat: Chat) -> bool:
    """Whether a room key was late, so that later texts overtook: they wait 10 s for it.

    The bridge logs its request for the key.
    """
    logs = (bridge.log_file.read_text(errors="replace") for bridge in place.shared.bridges)
    lines = (line for log in logs for line in log.splitlines() if chat.talk.room in line)
    return any("requesting a room key" in line for line in lines)


def _replaced(place: Ground, played: Played) -> bool:
    """Whether a suspended or disconnected bridge may have left its rooms to another, or for a time.

    Pushes that it had read then appear late, after those that its successor handled, or after the
    notice that some may be missing.
    """
    faults = {fault for met in played.met for fault in met.faults}
    apart = ("bridge: SIGSTOP", "PostgreSQL: SIGSTOP", "link to PostgreSQL")
    return place.store == "three" and any(one.startswith(apart) for one in faults)


async def _towards_the_customer(
    place: Ground, chat: Chat, absences: Absences, *, replaced: bool
) -> tuple[int, int]:
    """Assert that each agent text is in the room once and in order, or its loss is announced.

    Return the number of announced losses, and of losses in an absence too short for a notice. Only
    servers with receipts resend, in order, what a `replaced` bridge had read.
    """
    bodies = [
        wording(event) if str(event.get("sender")).startswith(GHOSTS) else
        UNSURE if UNSURE in wording(event) else ""
        for event in await timeline(chat.talk)
        if "body" in content_of(event)
    ]  # fmt: skip
    room = [LATE.sub("", body) for body in bodies]
    read = [text for text in room if text.startswith("answer ")]
    if place.server == "history":
        # Messages recovered from the history have a time stamp, and may follow newer ones.
        late = [text for body, text in zip(bodies, room, strict=True) if body != text]
        prompt = [text for text in read if text not in set(late)]
        assert are_in_order(map(_number, late), two_lines=replaced), f"in {chat.talk.room}: {late}"
        assert are_in_order(map(_number, prompt), two_lines=replaced), (
            f"in {chat.talk.room}: {prompt}"
        )
        read.sort(key=_number)
    if place.server != "plain":
        assert read == chat.answered, difference(chat.answered, read, f"in {chat.talk.room}")
        return 0, 0
    there = set(read)
    assert are_in_order(map(_number, read), two_lines=replaced), difference(
        chat.answered, read, f"in {chat.talk.room}"
    )
    assert sorted(read, key=_number) == [text for text in chat.answered if text in there], (
        difference(chat.answered, read, f"in {chat.talk.room}")
    )
    lost = [text for text in chat.answered if text not in there]
    brief = 0
    for text in lost:
        # The notice is between the text's neighbours or soon after: it waits for the history.
        place_of = chat.answered.index(text)
        before = [one for one in chat.answered[:place_of] if one in there]
        after = [one for one in chat.answered[place_of:] if one in there]
        first = room.index(before[-LATE_PUSHES if replaced else -1 :][0]) if before else 0
        said = room[first : room.index(after[0]) + SOON]
        if UNSURE not in said:
            assert absences.brief(text), f"{text} is lost, and nobody said so in {chat.talk.room}"
            brief += 1
    return len(lost) - brief, brief


def _number(text: str) -> int:
    return int(text.split()[1])


async def _ghosts_are_agents(chat: Chat) -> None:
    path = f"v3/rooms/{quote(chat.talk.room, safe='')}/joined_members"
    joined = (await chat.talk.customer.call("GET", path))["joined"]
    assert isinstance(joined, dict)
    ghosts = {user for user in joined if user.startswith(GHOSTS)}
    person = chat.talk.person
    assert person is not None
    assert person.session is not None, f"the chat of {chat.talk.room} has ended"
    expected = _ghosts_of(person.session)
    assert ghosts == expected, f"in {chat.talk.room}: {ghosts}, in the session: {expected}"


def _ghosts_of(session: Mapping[str, object]) -> set[str]:
    agents = session["agents"]
    assert isinstance(agents, list)
    return {f"@webchat__{str(agent).lower()}:localhost" for agent in agents}
