"""One conversation on a stage without a world: what is said to it, and what it then does.

A `Scene` holds the pure machine. The server speaks in the words of the wire (`push`, `reply` take
the guide's own keys and go through the real reader), and what the machine asks of the server is
shown as frames of the wire (`frames`), so that a test reads like a row of the protocol reference.
Time is virtual: `later` lets it pass and delivers every deadline on its way.
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
    FailureReason,
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
from bridge.conversation.policy import Policy
from bridge.ids import CallId, EventId, QueueId
from bridge.webchat.frames import Received, Reply
from bridge.webchat.read import parse_frame
from bridge.webchat.write import dump_command

Json = dict[str, object]

MEI: Json = {"id": "K00017", "name": "Mei", "icon": "", "comments": "tier 1"}
JUN: Json = {"id": "K00021", "name": "Jun", "icon": "", "comments": "lead"}
SESSION = 5150
REQUEST = 9001
ASK: Json = {"type": 101, "queueId": 7, "from": "APP"}
"""The 101 of a scene whose queue is 7."""


def message(text: str, session: int = SESSION) -> Json:
    """The 110 that carries this text."""
    content = {"content": text, "extra": ""}
    return {"type": 110, "sessionId": session, "msg": {"type": 1, "content": content}}


class Scene:
    """See the module.

    Attributes:
        state: the conversation as it stands.
        now: ms since the epoch.
        policy: unless told otherwise queue 7, and agents are announced at once.
        effects: all that was asked for so far.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self.state = Conversation()
        self.now = 1_733_011_200_000
        self.policy = policy or Policy(queue_id=QueueId(7), ping_wait=0)
        self.effects: list[Effect] = []
        self._events = 0

    def happen(self, happened: Input) -> None:
        """One step of the machine."""
        self.state, effects = step(self.state, happened, self.now, self.policy)
        self.effects.extend(effects)
        if isinstance(self.state.phase, Chatting) and self.state.phase.ping_at == self.now:
            self.happen(Tick())

    # --- the customer -----------------------------------------------------------------------

    def text(self, text: str) -> EventId:
        """Say something; returns the id of the event."""
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
        """The server says something unasked; keys are those of the wire."""
        read = parse_frame(json.dumps({"type": kind, **told}))
        assert isinstance(read, Received), read
        self.happen(Pushed(read.push))

    def reply(self, result: object = 1, **told: object) -> None:
        """The server answers the call that is under way; keys are those of the wire."""
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
        """The call that is under way comes to nothing."""
        call_id = self.outstanding.call_id
        self.happen(CallFailed(call_id, reason, certain=certain, code=code))

    def cut(self) -> None:
        """The link is lost while a call is under way: nobody knows whether it arrived."""
        self.fail(FailureReason.NO_ANSWER, certain=False)

    def restored(self) -> None:
        """The link was lost and stands again."""
        self.happen(LinkRestored())

    def later(self, seconds: float) -> None:
        """Let time pass, with every deadline on its way."""
        end = self.now + round(seconds * 1000)
        while (due := deadline(self.state, self.policy)) is not None and due <= end:
            self.now = max(self.now, due)
            self.happen(Tick())
        self.now = end

    # --- usual beginnings -------------------------------------------------------------------

    def queue_up(self, text: str = "hello") -> EventId:
        """Write, and stand in the queue as request REQUEST; `text` went as a pre-message."""
        event_id = self.text(text)
        self.reply(requestId=REQUEST, queueLength=3)
        self.reply()
        return event_id

    def begin(self, *agents: Json, session: int = SESSION) -> None:
        """Ask for a chat and have it, without a word."""
        self.start()
        self.reply(requestId=REQUEST)
        self.push(202, sessionId=session, agents=list(agents or (MEI,)))

    # --- what came of it --------------------------------------------------------------------

    @property
    def outstanding(self) -> Outstanding:
        """The call that is under way."""
        assert self.state.outstanding is not None, "no call is under way"
        return self.state.outstanding

    @property
    def calls(self) -> list[CallWebChat | UploadMedia]:
        return [one for one in self.effects if isinstance(one, CallWebChat | UploadMedia)]

    @property
    def frames(self) -> list[Json]:
        """Every command so far as it goes over the wire, less what all of them have."""
        return [_frame(one) for one in self.effects if isinstance(one, CallWebChat)]

    @property
    def last(self) -> Json:
        return self.frames[-1]

    def sent(self, kind: int) -> list[Json]:
        """The frames of one type."""
        return [frame for frame in self.frames if frame["type"] == kind]

    @property
    def texts(self) -> list[object]:
        """What was written by 110 and 111, in order."""
        return [_written(frame) for frame in self.frames if frame["type"] in {110, 111}]

    @property
    def cards(self) -> list[str]:
        """The keys of the queue card's versions."""
        return [one.key for one in self.effects if isinstance(one, Card)]

    @property
    def card(self) -> list[str]:
        """The keys of all sentences of the queue card's newest version."""
        newest = [one for one in self.effects if isinstance(one, Card)][-1]
        return [newest.key, *newest.more, *newest.below]

    @property
    def card_args(self) -> Args:
        """What is filled into them."""
        return [one.args for one in self.effects if isinstance(one, Card)][-1]

    @property
    def promises(self) -> list[str]:
        """The keys of what was said about calling back."""
        return [one.key for one in self.effects if isinstance(one, CallbackCard)]

    @property
    def pings(self) -> list[str]:
        """The keys of the sentences for which a phone rings."""
        return [one.key for one in self.effects if isinstance(one, Say) and one.ping]

    def filled(self, key: str) -> list[Json]:
        """What was filled into this sentence, each time that it was said."""
        return [dict(one.args) for one in self.effects if isinstance(one, Say) and one.key == key]

    @property
    def notices(self) -> list[str]:
        """The keys of our sentences."""
        return [one.key for one in self.effects if isinstance(one, Say)]

    @property
    def asked(self) -> list[int]:
        """The sessions for which a rating was asked."""
        return [one.session_id for one in self.effects if isinstance(one, AskRating)]

    @property
    def relayed(self) -> list[Relay]:
        return [one for one in self.effects if isinstance(one, Relay)]

    @property
    def delivered(self) -> list[EventId]:
        return [one.event_id for one in self.effects if isinstance(one, Delivered)]

    @property
    def reported(self) -> dict[EventId, str]:
        """What the customer was told about single messages."""
        return {one.event_id: one.key for one in self.effects if isinstance(one, Reported)}

    @property
    def ghosts(self) -> set[str]:
        """The agents whose ghosts are in the room."""
        present: set[str] = set()
        for effect in self.effects:
            if isinstance(effect, AgentsCame):
                present |= {agent.id for agent in effect.agents}
            elif isinstance(effect, AgentsLeft):
                present -= set(effect.agents)
            elif isinstance(effect, Relay):
                present.add(effect.agent.id)  # whoever speaks is let in
        return present

    @property
    def phase(self) -> str:
        return type(self.state.phase).__name__

    def forget(self) -> None:
        """From here on only what comes now is seen."""
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
