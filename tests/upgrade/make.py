"""Makes the stored databases of `stored/` by the bridge of this very version (8254388).

    python -m tests.upgrade.make

Each scenario is a life of the real engine over a real SQLite file, abandoned where it says.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bridge.ids import RoomId, SessionId
from bridge.rooms.ports import Refused
from bridge.rooms.store import StoreError
from bridge.storage.open import open_store
from bridge.webchat.frames import Received, Reply, SessionClosed
from tests.fakes.clock import ManualClock, quiet
from tests.fakes.reading import Json
from tests.upgrade.database import STORED, dump
from tests.upgrade.life import (
    MEI,
    Life,
    event,
    invitation,
    message,
    place,
    said,
    started,
)

ROOM = RoomId("!room:example.org")
OTHER = RoomId("!other:example.org")


class Cut:
    """A store of which some calls fail."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.refused: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name in self.refused:
            return self._refuse
        return getattr(self._store, name)

    async def _refuse(self, *args: object) -> None:
        raise StoreError("cut")


async def entered(life: Life, room: RoomId = ROOM) -> None:
    await life.take(invitation(f"$invite-{room}", room))


async def queued(life: Life, room: RoomId = ROOM) -> None:
    await entered(life, room)
    await life.take(message(f"$hello-{room}", "hello", room))


async def chatting(life: Life, room: RoomId = ROOM, session: int = 5150) -> None:
    await queued(life, room)
    await life.push(f"started-{room}", started(session), room)


async def talk(life: Life, room: RoomId = ROOM, session: int = 5150) -> None:
    await chatting(life, room, session)
    await life.take(message(f"$one-{room}", "question one", room))
    await life.push(f"a1-{room}", said("answer one", session), room)
    await life.take(message(f"$two-{room}", "question two", room))
    await life.push(f"a2-{room}", said("answer two", session), room)
    await life.push(f"a3-{room}", said("answer three", session), room)


# --- scenarios ----------------------------------------------------------------------------------


async def at_rest(life: Life) -> None:
    """Two chats in which everything has arrived."""
    await talk(life)
    await talk(life, OTHER, 5151)


async def inputs(life: Life) -> None:
    """Events and pushes that are stored and were not handled: no step could be stored."""
    await talk(life)
    life.store.refused.add("commit_step")
    for number in (3, 4):
        await life.engine.accept_events([message(f"$q{number}", f"question {number}")])
        await life.engine.pushed(ROOM, f"a{number}", received(f"a{number}", f"answer {number}"))
    await quiet()


async def unattempted(life: Life) -> None:
    """A call and an agent's word that are stored as effects, and went to nobody."""
    await talk(life)
    await life.world.clock.turn(40)
    life.matrix.gate.clear()
    life.link.disturb = forever
    await life.engine.pushed(ROOM, "a4", received("a4", "answer four"))
    await life.engine.pushed(ROOM, "a5", received("a5", "answer five"))
    await life.engine.accept_events([message("$q3", "question three")])
    await life.engine.accept_events([message("$q4", "question four")])
    await life.until(lambda: False, 0.3)


async def attempted(life: Life) -> None:
    """A call that arrived and a word that stands in the room; neither answer came."""
    await talk(life)
    await life.world.clock.turn(40)
    life.matrix.stuck = True
    life.link.gate.clear()
    await life.engine.accept_events([message("$q3", "question three")])
    await life.engine.accept_events([message("$q4", "question four")])
    await life.engine.pushed(ROOM, "a4", received("a4", "answer four"))
    await life.engine.pushed(ROOM, "a5", received("a5", "answer five"))
    await life.until(lambda: "question three" in life.link.texts(ROOM))
    await life.until(lambda: "answer four" in life.matrix.texts(ROOM))


async def queue(life: Life) -> None:
    """In the queue, with a card, and with words that wait for the agent."""
    await queued(life)
    await life.push("q1", place(3))
    await life.take(message("$q1", "still there?"))
    await life.push("q2", place(2))


async def held(life: Life) -> None:
    """The request for a chat is out and not answered; what was typed is held."""
    await entered(life)
    life.link.gate.clear()
    for number in (1, 2, 3):
        await life.engine.accept_events([message(f"$q{number}", f"question {number}")])
    await life.until(lambda: bool(life.link.calls))
    await life.until(lambda: False, 0.2)


async def dead(life: Life) -> None:
    """A poisonous event and a word that the homeserver refused: both dead letters."""
    await talk(life)
    life.matrix.poison.add("$poison")
    await life.take(message("$poison", "poison"))
    life.matrix.trouble.extend([Refused("M_FORBIDDEN"), Refused("M_FORBIDDEN")])
    await life.push("a4", said("answer four"))
    await life.take(message("$q3", "question three"))


async def undelivered(life: Life) -> None:
    """A message that the call centre refused, of which its sender was told."""
    await talk(life)
    life.link.answers.append(Reply(110, -77))
    await life.take(message("$q3", "order 4711"))


async def sealed(life: Life) -> None:
    """An encrypted event without its key, and later words that have gone past it."""
    await talk(life)
    await life.engine.accept_events([event("m.room.encrypted", "$sealed", {"algorithm": "x"})])
    await life.rest()
    await life.take(message("$q3", "question three"))


async def entering(life: Life) -> None:
    """Invited; the room could not be entered yet, and what is said there is parked."""
    life.matrix.gate.clear()
    await life.engine.accept_events([invitation("$invite")])
    await life.engine.accept_events([message("$q1", "hello"), message("$q2", "anybody?")])
    await life.until(lambda: False, 0.2)


async def callback(life: Life) -> None:
    """Nobody was there; the customer wishes to be called back."""
    await entered(life)
    life.link.answers.append(Reply(101, -3))
    await life.take(message("$q1", "hello"))
    await life.take(message("$yes", "!wc callback"))


async def aside(life: Life) -> None:
    """A question that the knowledge base was asked, and a transcript that was ordered."""
    await talk(life)
    life.link.robot.clear()
    await life.engine.accept_events([message("$ask", "!wc ask where is it?")])
    await life.until(lambda: bool(life.link.questions))
    await life.engine.accept_events([message("$history", "!wc history")])
    await life.until(lambda: False, 0.2)


async def recalling(life: Life) -> None:
    """A chat whose history is asked for, as the bridge had been away."""
    await talk(life)
    await life.world.clock.turn(60)
    life.link.disturb = forever
    await life.engine.restored(ROOM)
    await life.until(lambda: False, 0.2)


async def ended(life: Life) -> None:
    """A chat that is over and can be rated."""
    await talk(life)
    await life.push("closed", SessionClosed(SessionId(5150), MEI.id))


async def upload(life: Life) -> None:
    """A file that is on its way to the call centre, and words behind it."""
    await talk(life)
    life.matrix.files["mxc://example.org/a"] = b"abc"
    life.link.disturb = forever
    content: Json = {"msgtype": "m.file", "url": "mxc://example.org/a", "info": {"size": 3}}
    await life.engine.accept_events([message("$file", "a.txt", more=content)])
    await life.engine.accept_events([message("$q3", "question three")])
    await life.until(lambda: False, 0.3)


async def answered(life: Life) -> None:
    """Answers of both peers that are stored and were not handled: no step could be stored."""
    await talk(life)
    await talk(life, OTHER, 5151)
    life.link.gate.clear()
    await life.engine.accept_events([message("$q3", "question three")])
    await life.until(lambda: "question three" in life.link.texts(ROOM))
    await life.engine.accept_events([message("$q4", "question four")])
    await life.until(lambda: False, 0.1)
    life.store.refused.add("commit_step")
    life.link.gate.set()
    await life.until(lambda: False, 0.3)


async def arrived(life: Life) -> None:
    """The room is entered, and what was found there is stored and not handled."""
    life.matrix.gate.clear()
    life.matrix.earlier = [message("$q0", "is this the shop?")[2]]
    await life.engine.accept_events([invitation("$invite")])
    await life.engine.accept_events([message("$q1", "hello")])
    await life.until(lambda: False, 0.1)
    life.store.refused.add("commit_step")
    life.matrix.gate.set()
    await life.until(lambda: False, 0.3)


async def pruned(life: Life) -> None:
    """All bodies are erased, and the rows of the first chat are gone."""
    await talk(life)
    await life.world.clock.turn(100)
    first = life.world.clock.now() - 1
    await talk(life, OTHER, 5151)
    await life.world.clock.turn(100)
    await life.store.prune(life.world.clock.now(), first)


async def forever() -> None:
    await asyncio.Event().wait()


def received(key: str, text: str) -> Any:
    return Received(said(text), rs_id=key)


SCENARIOS: list[Callable[[Life], Awaitable[None]]] = [
    at_rest,
    inputs,
    unattempted,
    attempted,
    queue,
    held,
    dead,
    undelivered,
    sealed,
    entering,
    callback,
    aside,
    recalling,
    ended,
    upload,
    answered,
    arrived,
    pruned,
]


async def make(scenario: Callable[[Life], Awaitable[None]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bridge.db"
        async with open_store(f"sqlite:///{path}", ManualClock()) as store:
            life = Life(Cut(store))
            async with life.begin():
                await scenario(life)
            memory = life.memory()
        text = dump(path, memory)
    STORED.mkdir(exist_ok=True)
    (STORED / f"{scenario.__name__}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for one in SCENARIOS:
        if not wanted or one.__name__ in wanted:
            asyncio.run(make(one))
