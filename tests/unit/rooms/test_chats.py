"""The record of a room's chats: number, times, agents, ending, rating."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.model import (
    CallBack,
    Cancel,
    Chatting,
    Close,
    Conversation,
    CustomerText,
    Human,
    Idle,
    Input,
    Outstanding,
    Pushed,
    Queued,
    Rate,
    Replied,
    Requesting,
    Said,
    Start,
    Tick,
)
from bridge.conversation.queue import hidden
from bridge.ids import AgentId, CallId, EventId, QueueId, RequestId, SessionId
from bridge.rooms.record import (
    MOST_AGENTS,
    Chat,
    ChatAgent,
    Ending,
    changed_chats,
    dump_chat,
    kept_chats,
    load_chat,
    note_chat,
)
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import (
    Agent,
    AgentsUpdated,
    AgentText,
    ChatStarted,
    MessageReceived,
    QueueStatus,
    RateSession,
    Reply,
    RobotMessage,
    SessionClosed,
)
from tests.unit.conversation.test_walk import Walk
from tests.unit.rooms.visits import House

MEI = Agent(AgentId("K00017"), "Mei")
JUN = Agent(AgentId("K00018"), "Jun")
SESSION = SessionId(5150)
REQUEST = RequestId(9001)


class Room:
    """A room whose clock advances by a second with each input."""

    def __init__(self) -> None:
        self.house = House().served()
        self.began = self.house.visit.now

    def happens(self, happened: Input, event: EventId | None = None) -> Chat:
        self.house.visit.now += 1_000
        self.house.visit.step(happened, event)
        return self.chat

    def says(self, name: str = "$1") -> Chat:
        return self.happens(Said(EventId(name), CustomerText("hello")))

    def replies(self, result: int = 1) -> Chat:
        """Let the server answer the outstanding call."""
        asked = self.house.record.conversation.outstanding
        assert asked is not None
        reply = Reply(0, result, request_id=REQUEST, queue_length=1)
        return self.happens(Replied(asked.call_id, reply))

    def queued(self) -> Chat:
        self.says()
        return self.replies()

    def chatting(self) -> Chat:
        self.queued()
        self.replies()  # the pre-message
        return self.happens(Pushed(ChatStarted(SESSION, (MEI,))))

    @property
    def chats(self) -> tuple[Chat, ...]:
        return self.house.record.chats

    @property
    def chat(self) -> Chat:
        return self.chats[-1]


def test_a_chat_from_the_first_word_to_the_rating() -> None:
    room = Room()
    asked = room.says()
    assert asked == Chat(1, QueueId(2), room.began + 1_000, first=EventId("$1"))
    room.replies()
    room.replies()
    started = room.happens(Pushed(ChatStarted(SESSION, (MEI,))))
    assert (started.started, started.session_id) == (room.began + 4_000, SESSION)
    assert started.agents == (ChatAgent(MEI.id, "Mei"),)
    room.happens(Pushed(AgentsUpdated(SESSION, (JUN,))))
    assert room.says("$2").first == EventId("$1")
    ended = room.happens(Pushed(SessionClosed(SESSION, JUN.id)))
    assert (ended.ended, ended.ending) == (room.began + 7_000, Ending.AGENT)
    assert [one.name for one in ended.agents] == ["Mei", "Jun"]
    room.happens(Rate(4))
    assert room.chat == ended  # changed once the server has the rating
    while room.house.record.conversation.rating is not None:
        room.replies()
    assert room.chat == msgspec.structs.replace(ended, rating=4)


def test_the_time_of_an_agents_first_message_is_noted() -> None:
    room = Room()
    assert room.chatting().answered is None
    assert room.says("$2").answered is None
    hello = Pushed(MessageReceived(SESSION, MEI.id, AgentText("hello")))
    answered = room.happens(hello)
    assert answered.answered == room.house.visit.now
    assert room.happens(hello) == answered
    # An agent who writes nothing.
    silent = Room()
    silent.chatting()
    silent.happens(Tick())
    assert silent.happens(Pushed(SessionClosed(SESSION, MEI.id))).answered is None
    # The push that starts the chat was lost.
    late = Room()
    late.queued()
    assert late.happens(hello).answered == late.house.visit.now


def test_a_robots_message_is_not_an_agents_first_answer() -> None:
    room = Room()
    room.queued()
    room.replies()
    room.happens(Pushed(ChatStarted(SESSION, (), robot=True)))
    assert room.happens(Pushed(RobotMessage(SESSION, None, "Ask me."))).answered is None
    person = room.happens(Pushed(ChatStarted(SessionId(5151), (MEI,))))
    assert person.answered is None
    hello = Pushed(MessageReceived(SessionId(5151), MEI.id, AgentText("hello")))
    assert room.happens(hello).answered == room.house.visit.now


def test_a_person_who_takes_over_from_the_robot_has_not_written_yet() -> None:
    room = Room()
    room.queued()
    room.replies()
    room.happens(Pushed(ChatStarted(SESSION, (), robot=True)))
    assert room.happens(Pushed(AgentsUpdated(SESSION, (MEI,)))).answered is None
    hello = Pushed(MessageReceived(SESSION, MEI.id, AgentText("hello")))
    assert room.happens(hello).answered == room.house.visit.now


def test_a_chat_of_an_earlier_version_has_no_time_of_first_answer() -> None:
    phase = Chatting(SESSION, 5, QueueId(1), (MEI,))
    before, after = Conversation(phase, 1), Conversation(msgspec.structs.replace(phase), 1)
    chats = (Chat(1, QueueId(1), 2, started=5, session_id=SESSION),)
    (found,) = note_chat(chats, before, after, Tick(), 9, queue=QueueId(1))
    assert found.answered is None


def test_a_hidden_request_that_can_never_succeed_is_listed_as_one_in_vain() -> None:
    """For a call-back; the customer hears of it only when it has failed."""
    before = Conversation(Requesting(QueueId(2), 5, quiet=True), 3)
    after = Conversation(Idle(9), 4)
    (found,) = note_chat((), before, after, Tick(), 9, queue=QueueId(2))
    assert found == Chat(4, QueueId(2), 9, ended=9, ending=Ending.NOBODY)


def test_the_next_chat_begins_with_its_own_first_message() -> None:
    room = Room()
    room.chatting()
    room.happens(Pushed(SessionClosed(SESSION, MEI.id)))
    second = room.says("$9")
    assert (second.number, second.first) == (2, EventId("$9"))
    assert [one.number for one in room.chats] == [1, 2]


def test_the_first_event_of_a_chat_requested_without_a_message() -> None:
    room = Room()
    assert room.happens(Start(), EventId("$command")).first == EventId("$command")
    assert room.says("$1").first == EventId("$command")
    other = Room()
    assert other.happens(Human()).first is None
    assert other.says("$1").first == EventId("$1")


@pytest.mark.parametrize(
    ("happened", "ending"),
    [
        (Cancel(), Ending.CANCELLED),
        (Close(), Ending.CANCELLED),
        (Pushed(QueueStatus(REQUEST, 3)), Ending.NOBODY),
    ],
)
def test_a_request_that_ends_in_the_queue_is_an_ended_chat(happened: Input, ending: Ending) -> None:
    room = Room()
    room.queued()
    room.happens(happened)
    while room.house.record.conversation.outstanding is not None:
        room.replies()
    assert (room.chat.started, room.chat.ending) == (None, ending)
    assert room.chat.ended is not None


def test_a_refused_request_that_an_agent_accepts_late_is_the_same_chat() -> None:
    room = Room()
    room.says()
    over = room.replies(ResultCode.NO_AGENT_ONLINE)
    assert over.ending is Ending.NOBODY
    late = room.happens(Pushed(ChatStarted(SESSION, (MEI,))))
    assert (late.number, late.ended, late.ending) == (1, None, None)
    assert late.started is not None


def test_a_person_who_follows_a_robot_is_in_the_same_chat() -> None:
    room = Room()
    room.queued()
    room.happens(Pushed(ChatStarted(SESSION, (), robot=True)))
    assert (room.chat.robot, room.chat.agents) == (True, ())
    room.happens(Pushed(ChatStarted(SESSION, (MEI,))))
    assert room.chat.robot
    assert [one.name for one in room.chat.agents] == ["Mei"]


def test_a_chat_closed_by_command_is_ended_by_the_customer() -> None:
    room = Room()
    room.chatting()
    room.happens(Close())
    assert room.replies().ending is Ending.CUSTOMER


def test_a_message_to_a_lost_session_starts_a_new_chat() -> None:
    room = Room()
    room.chatting()
    room.says("$2")
    room.replies(ResultCode.INVALID_CHAT_SESSION_ID)
    lost, new = room.chats
    assert (lost.ending, new.number, new.first) == (Ending.LOST, 2, EventId("$2"))


def test_an_unrequested_chat_has_a_number() -> None:
    room = Room()
    chat = room.happens(Pushed(ChatStarted(SESSION, (MEI,))))
    assert chat.number == 1


def test_a_chat_that_began_before_there_was_a_record() -> None:
    """The record is of an older version: only the phase tells about the chat."""
    before = Conversation(phase=Chatting(SESSION, 70, QueueId(2), (MEI,)), number=4)
    after = msgspec.structs.replace(before, phase=before.phase)
    (found,) = note_chat(
        (), before, after, Said(EventId("$1"), CustomerText("x")), 99, queue=QueueId(1)
    )
    assert (found.number, found.asked, found.started) == (4, 99, 99)
    ended = Conversation(number=4)
    (found,) = note_chat(
        (), before, ended, Pushed(SessionClosed(SESSION, MEI.id)), 99, queue=QueueId(1)
    )
    assert (found.asked, found.ended, found.ending) == (70, 99, Ending.AGENT)


@pytest.mark.parametrize(
    "phase", [Requesting(QueueId(1), 5, cancel=True), Queued(QueueId(1), 5, cancel_by=6)]
)
def test_a_late_reply_to_a_cancel_ends_the_chat_as_cancelled(phase: Requesting | Queued) -> None:
    before = Conversation(phase=phase, number=1)
    (found,) = note_chat(
        (), before, Conversation(number=1), Replied(CallId(1), Reply(102, 1)), 9, queue=QueueId(1)
    )
    assert found.ending is Ending.CANCELLED


def test_an_unwanted_session_ends_as_cancelled() -> None:
    phase = Chatting(SESSION, 5, QueueId(1), close=True, unwanted=True)
    before = Conversation(phase=phase, number=1)
    (found,) = note_chat(
        (), before, Conversation(number=1), Replied(CallId(1), Reply(103, 1)), 9, queue=QueueId(1)
    )
    assert found.ending is Ending.CANCELLED


def test_only_a_rating_that_the_server_accepted_is_noted() -> None:
    chats = (Chat(1, QueueId(1), 1, session_id=SESSION), Chat(2, QueueId(1), 2))
    asked = Outstanding(CallId(7), RateSession(SESSION, 3))
    before = Conversation(outstanding=asked, number=2)
    taken = note_chat(chats, before, before, Replied(CallId(7), Reply(104, 1)), 9, queue=QueueId(1))
    assert [one.rating for one in taken] == [3, None]
    for happened in (
        Replied(CallId(7), Reply(104, 0)),
        Replied(CallId(8), Reply(104, 1)),
        Cancel(),
    ):
        assert note_chat(chats, before, before, happened, 9, queue=QueueId(1)) == chats
    other = Conversation(outstanding=Outstanding(CallId(7), RateSession(SessionId(1), 3)))
    assert (
        note_chat(chats, other, other, Replied(CallId(7), Reply(104, 1)), 9, queue=QueueId(1))
        == chats
    )


def test_agents_keep_their_names_and_do_not_pile_up() -> None:
    room = Room()
    room.chatting()
    room.happens(Pushed(AgentsUpdated(SESSION, (Agent(MEI.id, " "),))))
    assert room.chat.agents[0].name == "Mei"
    room.happens(Pushed(AgentsUpdated(SESSION, (Agent(MEI.id, "Mei Li"),))))
    assert room.chat.agents[0].name == "Mei Li"
    crowd = tuple(Agent(AgentId(f"A{number}")) for number in range(2 * MOST_AGENTS))
    assert len(room.happens(Pushed(AgentsUpdated(SESSION, crowd))).agents) == MOST_AGENTS


def test_which_chats_the_record_keeps_and_which_rows_are_written() -> None:
    rated = Chat(1, QueueId(1), 1, session_id=SESSION)
    empty, newest = Chat(2, QueueId(1), 2), Chat(3, QueueId(1), 3)
    assert kept_chats((rated, empty, newest)) == (rated, newest)
    assert kept_chats((rated,)) == (rated,)
    assert kept_chats(()) == ()
    assert changed_chats((newest,), (newest,)) == []
    ended = msgspec.structs.replace(newest, ended=9)
    assert changed_chats((rated, newest), (rated, ended)) == [(newest, ended)]
    assert changed_chats((), (newest,)) == [(None, newest)]


def test_a_chat_survives_storage() -> None:
    room = Room()
    chat = room.chatting()
    assert load_chat(dump_chat(chat)) == chat
    assert load_chat(b'{"is":"Chat","number":1,"queue_id":2,"asked":3}') == Chat(1, QueueId(2), 3)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_every_chat_is_noted(seed: int) -> None:
    """A random walk through the state machine; the stored rows agree with its state."""
    walk = Walk(seed)
    chats: tuple[Chat, ...] = ()
    stored: dict[int, Chat] = {}
    for _ in range(1_500):
        walk.now += walk.random.randrange(50)
        happened, before = walk.any_input(), walk.state
        walk.take(happened)
        after, former = walk.state, chats
        chats = note_chat(former, before, after, happened, walk.now, queue=QueueId(1))
        for _, chat in changed_chats(former, chats):
            stored[chat.number] = chat
            assert load_chat(dump_chat(chat)) == chat
        chats = kept_chats(chats)
        assert len(chats) <= 2
        assert list(stored) == list(range(1, after.number + 1))
        phase = after.phase
        going_on = {number for number, chat in stored.items() if chat.ended is None}
        asking = isinstance(phase, Requesting | Queued) and not hidden(phase)
        live = asking or isinstance(phase, Chatting)
        assert going_on == ({after.number} if live else set())
        assert all((chat.ended is None) == (chat.ending is None) for chat in stored.values())
        if isinstance(phase, Chatting):
            current = stored[after.number]
            assert current.session_id == phase.session_id
            assert current.started is not None
            assert {one.id for one in phase.agents} <= {one.id for one in current.agents}


def test_a_callback_attempt_is_a_chat_only_once_it_succeeds() -> None:
    """A failed attempt leaves the refused chat unchanged; the successful one is a new chat."""
    room = Room()
    room.says()
    refused = room.replies(ResultCode.NO_AGENT_ONLINE)
    assert refused.ending is Ending.NOBODY
    room.happens(CallBack())
    for _ in range(2):
        wished = room.house.record.conversation.callback
        assert wished is not None
        room.house.visit.now = wished.next_at
        assert room.happens(Tick()) == refused
        assert room.replies(ResultCode.NO_AGENT_ONLINE) == refused
    room.house.visit.now += 3_600_000
    room.happens(Tick())
    chat = room.happens(Pushed(ChatStarted(SESSION, (MEI,))))
    assert (chat.number, chat.session_id, chat.ended) == (refused.number + 1, SESSION, None)
    assert chat.agents == (ChatAgent(MEI.id, "Mei"),)
