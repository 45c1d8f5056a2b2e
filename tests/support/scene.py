"""A driver of the pure conversation machine for tests, without I/O.

`push` and `reply` take the keys of the protocol guide and go through the real frame reader;
`frames` returns the commands of the machine as written to the wire. So a test reads like a row of
the protocol reference. Time is virtual: `later` advances it and fires each deadline on the way.
"""

from __future__ import annotations

import json

import msgspec

from bridge.conversation.machine import deadline, step
from bridge.conversation.model import (
    AgentsCame,
    AgentsLeft,
    Args,
    AskRating,
    CallBack,
    CallbackCard,
    CallFailed,
    CallWebChat,
    Cancel,
    Card,
    Chatting,
    Close,
    Conversation,
    CustomerContent,
    CustomerMedia,
    CustomerText,
    Delivered,
    Effect,
    Input,
    LinkRestored,
    Outstanding,
    Pushed,
    Rate,
    Relay,
    Replied,
    Reported,
    Said,
    Say,
    Start,
    Tick,
    Upload,
    Uploaded,
    UploadMedia,
)
from bridge.conversation.turn import Policy
from bridge.ids import CallId, EventId, QueueId
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import Received, Reply
from bridge.webchat.protocol import dump_command
from bridge.webchat.read import parse_frame

Json = dict[str, object]

MEI: Json = {"id": "K00017", "name": "Mei", "icon": "", "comments": "tier 1"}
JUN: Json = {"id": "K00021", "name": "Jun", "icon": "", "comments": "lead"}
SESSION = 5150
REQUEST = 9001
ASK: Json = {"type": 101, "queueId": 7, "from": "APP"}
"""The command 101 for queue 7."""


def message(text: str, session: int = SESSION) -> Json:
    """Return the command 110 with this text."""
    content = {"content": text, "extra": ""}
    return {"type": 110, "sessionId": session, "msg": {"type": 1, "content": content}}


class Scene:
    """One conversation with a virtual clock.

    Attributes:
        state: the present conversation.
        now: ms since the epoch.
        policy: by default queue 7, and agents are announced at once.
        effects: all effects so far.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self.state = Conversation()
        self.now = 1_733_011_200_000
        self.policy = policy or Policy(queue_id=QueueId(7), ping_wait=0)
        self.effects: list[Effect] = []
        self._events = 0

    def happen(self, happened: Input) -> None:
        """Feed one input to the machine, and a Tick if an agent's announcement is due at once."""
        self.state, effects = step(self.state, happened, self.now, self.policy)
        self.effects.extend(effects)
        if isinstance(self.state.phase, Chatting) and self.state.phase.ping_at == self.now:
            self.happen(Tick())

    # --- the customer -----------------------------------------------------------------------

    def text(self, text: str) -> EventId:
        """Send a text as the customer; return the event id."""
        return self.content(CustomerText(text))

    def image(self, name: str = "cat.png", caption: str = "") -> EventId:
        media = CustomerMedia("image", name, f"mxc://example.org/{name}", "image/png", 3, caption)
        return self.content(media)

    def content(self, content: CustomerContent) -> EventId:
        self._events += 1
        event_id = EventId(f"${self._events}")
        self.happen(Said(event_id, content))
        return event_id

    def start(self, queue: int | None = None) -> None:
        self.happen(Start(None if queue is None else QueueId(queue)))

    def cancel(self) -> None:
        self.happen(Cancel())

    def call_back(self) -> None:
        self.happen(CallBack())

    def close(self) -> None:
        self.happen(Close())

    def rate(self, value: int, comment: str = "") -> None:
        self.happen(Rate(value, comment))

    # --- the server -------------------------------------------------------------------------

    def push(self, kind: int, **told: object) -> None:
        """Deliver a server push with the keys of the wire."""
        read = parse_frame(json.dumps({"type": kind, **told}))
        assert isinstance(read, Received), read
        self.happen(Pushed(read.push))

    def reply(self, result: object = 1, **told: object) -> None:
        """Answer the outstanding call with the keys of the wire."""
        outstanding = self.outstanding
        assert not isinstance(outstanding.what, Upload), "an upload is under way"
        call_id, kind = outstanding.call_id, outstanding.what.type
        frame = {"messageId": call_id, "type": kind, "result": result, "message": "", **told}
        read = parse_frame(json.dumps(frame))
        assert isinstance(read, Reply), read
        self.happen(Replied(call_id, read))

    def uploaded(self, url: str = "http://crm.example.org/webchat/cat.png", size: int = 3) -> None:
        self.happen(Uploaded(self.outstanding.call_id, url, size))

    # --- the link and the clock -------------------------------------------------------------

    def fail(self, reason: FailureReason, *, certain: bool = True, code: int | None = None) -> None:
        """Let the outstanding call fail."""
        call_id = self.outstanding.call_id
        self.happen(CallFailed(call_id, reason, certain=certain, code=code))

    def cut(self) -> None:
        """Lose the link during a call, so that its outcome is uncertain."""
        self.fail(FailureReason.NO_ANSWER, certain=False)

    def restored(self) -> None:
        """Report that the link is up again."""
        self.happen(LinkRestored())

    def later(self, seconds: float) -> None:
        """Advance the clock, firing each deadline on the way."""
        end = self.now + round(seconds * 1000)
        while (due := deadline(self.state, self.policy)) is not None and due <= end:
            self.now = max(self.now, due)
            self.happen(Tick())
        self.now = end

    # --- usual beginnings -------------------------------------------------------------------

    def queue_up(self, text: str = "hello") -> EventId:
        """Send `text` as a pre-message, and be queued as request REQUEST."""
        event_id = self.text(text)
        self.reply(requestId=REQUEST, queueLength=3)
        self.reply()
        return event_id

    def begin(self, *agents: Json, session: int = SESSION) -> None:
        """Start a chat without a message, and have it accepted."""
        self.start()
        self.reply(requestId=REQUEST)
        self.push(202, sessionId=session, agents=list(agents or (MEI,)))

    def leave_too_late(self) -> None:
        """Leave the queue just as an agent accepts: the chat is closed, unseen (table row 22)."""
        self.start()
        self.reply(requestId=REQUEST)
        self.cancel()
        self.push(202, sessionId=SESSION, agents=[MEI])
        self.reply(-10)

    # --- effects ----------------------------------------------------------------------------

    @property
    def outstanding(self) -> Outstanding:
        """The outstanding call."""
        assert self.state.outstanding is not None, "no call is under way"
        return self.state.outstanding

    @property
    def calls(self) -> list[CallWebChat | UploadMedia]:
        return [one for one in self.effects if isinstance(one, CallWebChat | UploadMedia)]

    @property
    def frames(self) -> list[Json]:
        """All commands so far as frames, without the fields common to all commands."""
        return [_frame(one) for one in self.effects if isinstance(one, CallWebChat)]

    @property
    def last(self) -> Json:
        return self.frames[-1]

    def sent(self, kind: int) -> list[Json]:
        """Return the frames of one type."""
        return [frame for frame in self.frames if frame["type"] == kind]

    @property
    def texts(self) -> list[object]:
        """Contents of the frames 110 and 111, in order."""
        return [_written(frame) for frame in self.frames if frame["type"] in {110, 111}]

    @property
    def cards(self) -> list[str]:
        """Sentence keys of all versions of the queue card."""
        return [one.key for one in self.effects if isinstance(one, Card)]

    @property
    def card(self) -> list[str]:
        """All sentence keys of the newest queue card."""
        newest = [one for one in self.effects if isinstance(one, Card)][-1]
        return [newest.key, *newest.more, *newest.below]

    @property
    def card_args(self) -> Args:
        """Arguments of the newest queue card's sentences."""
        return [one.args for one in self.effects if isinstance(one, Card)][-1]

    @property
    def promises(self) -> list[str]:
        """Sentence keys of the callback cards."""
        return [one.key for one in self.effects if isinstance(one, CallbackCard)]

    @property
    def pings(self) -> list[str]:
        """Keys of the sentences that notify the customer."""
        return [one.key for one in self.effects if isinstance(one, Say | Card) and one.ping]

    def filled(self, key: str) -> list[Json]:
        """Return the arguments of each use of this sentence."""
        return [dict(one.args) for one in self.effects if isinstance(one, Say) and one.key == key]

    @property
    def notices(self) -> list[str]:
        """Keys of all sentences said by the bridge."""
        return [one.key for one in self.effects if isinstance(one, Say)]

    @property
    def asked(self) -> list[int]:
        """Session ids of all rating requests."""
        return [one.session_id for one in self.effects if isinstance(one, AskRating)]

    @property
    def relayed(self) -> list[Relay]:
        return [one for one in self.effects if isinstance(one, Relay)]

    @property
    def delivered(self) -> list[EventId]:
        return [one.event_id for one in self.effects if isinstance(one, Delivered)]

    @property
    def reported(self) -> dict[EventId, str]:
        """Sentence keys of reports on single messages, by event id."""
        return {one.event_id: one.key for one in self.effects if isinstance(one, Reported)}

    @property
    def ghosts(self) -> set[str]:
        """Ids of agents whose ghosts are in the room."""
        present: set[str] = set()
        for effect in self.effects:
            if isinstance(effect, AgentsCame):
                present |= {agent.id for agent in effect.agents}
            elif isinstance(effect, AgentsLeft):
                present -= set(effect.agents)
            elif isinstance(effect, Relay):
                present.add(effect.agent.id)  # relaying a message makes the ghost join
        return present

    @property
    def phase(self) -> str:
        return type(self.state.phase).__name__

    def forget(self) -> None:
        """Discard the effects so far."""
        self.effects.clear()


def _frame(call: CallWebChat) -> Json:
    text = dump_command(call.command, call_id=CallId(call.call_id), token="T", time_ms=1)
    frame = msgspec.json.decode(text, type=dict[str, object])
    return {key: value for key, value in frame.items() if key not in {"token", "time", "messageId"}}


def _written(frame: Json) -> object:
    if frame["type"] == 111:
        return frame["content"]
    message = frame["msg"]
    assert isinstance(message, dict)
    content = message["content"]
    assert isinstance(content, dict)
    return content.get("content", content.get("name"))
