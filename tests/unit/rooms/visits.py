"""A test room without homeserver and database: Matrix meanings in, effects out."""

from __future__ import annotations

import msgspec

from bridge.config.model import Encryption, Limits, Permission, Queue
from bridge.conversation.model import Args, Chatting, CustomerText, Reported, Say
from bridge.conversation.turn import Policy, all_pieces
from bridge.ids import EventId, QueueId, RoomId, SessionId, UserId
from bridge.rooms.effects import Effect
from bridge.rooms.people import GREET_AFTER, Standing, entered, invited, passed
from bridge.rooms.ports import Invited, Meaning, Spoke
from bridge.rooms.reader import Facts, read_command, receive
from bridge.rooms.record import Entered, Membership, RoomRecord
from bridge.rooms.rules import Rules
from bridge.rooms.visit import Visit

BOT = UserId("@webchatbot:example.org")
SALES_USER = UserId("@webchat_queue_1:example.org")
ADA = UserId("@ada:example.org")
STRANGER = UserId("@eve:elsewhere.org")
NEIGHBOUR = UserId("@norma:example.org")
"""A user of the bridge's own homeserver without permission."""
SALES = Queue(id=1, name="Sales", aliases=("sales", "shop"))
RETURNS = Queue.model_validate({"id": 2, "name": "Returns", "from": "PC", "to_agent": "K00017"})


def permission(user: str) -> Permission:
    served = user.endswith(":example.org") and user != NEIGHBOUR
    return Permission.CUSTOMER if served else Permission.NONE


def queue_of_user(user: UserId) -> QueueId | None:
    return QueueId(1) if user == SALES_USER else None


RULES = Rules(
    bot=BOT,
    queues=(SALES, RETURNS),
    default_queue=QueueId(2),
    permission=permission,
    queue_of_user=queue_of_user,
    limits=Limits(messages_per_minute=5, rooms_per_user=2, new_rooms_per_hour=3),
    encryption=Encryption(allow=False),
    policy=Policy(),
)


class House:
    """One room and the events of its members.

    Attributes:
        visit: record and effects so far.
        now: ms since the epoch.
    """

    def __init__(self, rules: Rules = RULES) -> None:
        self.now = 1_733_011_200_000
        self.visit = Visit(RoomRecord(RoomId("!room:example.org")), rules, self.now)
        self._events = 0

    def event_id(self) -> EventId:
        self._events += 1
        return EventId(f"$e{self._events}")

    def receive(
        self,
        meaning: Meaning,
        standing: Standing = Standing.ORDINARY,
        *,
        rooms: int = 0,
        begun: tuple[int, ...] = (),
    ) -> None:
        raw: dict[str, object] = {}
        event_id = getattr(meaning, "event_id", None)
        if event_id is not None:
            raw["event_id"] = event_id
        if isinstance(meaning, Invited):
            invited(self.visit, meaning, rooms, begun)
            return
        command = read_command(self.visit, meaning)
        receive(self.visit, meaning, raw, Facts(self.now, standing), command=command)

    def invite(
        self,
        by: UserId = ADA,
        whom: UserId = BOT,
        *,
        direct: bool = True,
        rooms: int = 0,
        begun: tuple[int, ...] = (),
    ) -> None:
        self.receive(Invited(by, whom, direct), rooms=rooms, begun=begun)

    def enter(
        self, entry: Entered | None = None, standing: Standing = Standing.ADMIN
    ) -> tuple[dict[str, object], ...]:
        """`standing`: of the sender of the room's configuration event, if it has one."""
        found = entry or Entered(direct=self.record.direct)
        parked = entered(self.visit, found, standing)
        self.silence()
        return parked

    def silence(self) -> None:
        """Let `GREET_AFTER` pass: a customer who has not written is greeted."""
        self.visit.now += GREET_AFTER
        passed(self.visit)
        self.visit.now -= GREET_AFTER

    def served(self, whom: UserId = BOT, *, direct: bool = True) -> House:
        """Enter the room, and drop the effects of entering."""
        self.invite(whom=whom, direct=direct)
        self.enter(Entered(direct=direct, displayname="Ada"))
        self.visit.effects.clear()
        return self

    def say(self, text: str, by: UserId = ADA, standing: Standing = Standing.ORDINARY) -> EventId:
        event_id = self.event_id()
        self.receive(Spoke(event_id, by, CustomerText(text), plain=text), standing)
        return event_id

    def chat(self) -> House:
        """Put the conversation into the phase Chatting."""
        chatting = Chatting(SessionId(5150), self.now, QueueId(2))
        conversation = msgspec.structs.replace(
            self.record.conversation, phase=chatting, last_session=SessionId(5150)
        )
        self.visit.set(conversation=conversation)
        return self

    @property
    def record(self) -> RoomRecord:
        return self.visit.record

    def membership(self) -> Membership:
        """A method: mypy would keep the narrowed type of an asserted attribute."""
        return self.record.membership

    @property
    def effects(self) -> list[Effect]:
        return self.visit.effects

    @property
    def notices(self) -> list[str]:
        return [one.key for one in self.effects if isinstance(one, Say)]

    @property
    def reported(self) -> dict[EventId, str]:
        return {one.event_id: one.key for one in self.effects if isinstance(one, Reported)}

    @property
    def carried(self) -> list[EventId]:
        """Ids of the events that the conversation is responsible for."""
        return [piece.event_id for piece in all_pieces(self.record.conversation)]


def answer(house: House) -> tuple[str, Args]:
    """Key and arguments of the last notice, a reply to an event."""
    said = next(one for one in reversed(house.effects) if isinstance(one, Say))
    assert said.reply_to is not None
    return said.key, said.args
