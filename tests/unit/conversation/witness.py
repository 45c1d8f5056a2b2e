"""What the machine promises, checked from outside, step after step.

A `Witness` sees only inputs, effects and states, keeps its own books, and objects when

* an event that was typed is neither kept nor delivered nor reported, or is so twice;
* an event is delivered although the customer was told that it was not, or the reverse;
* content leaves for the first time in another order than it was typed;
* content whose fate is unknown is sent under a new call id;
* two calls are under way at once;
* a ghost stays in the room without its agent in the chat;
* a rating is asked for twice;
* a sentence does not exist, or misses a word that it needs.
"""

from __future__ import annotations

from bridge.conversation.effects import (
    AgentsCame,
    AgentsLeft,
    AskRating,
    CallWebChat,
    Card,
    Delivered,
    Effect,
    FetchHistory,
    Relay,
    Reported,
    Say,
    UploadMedia,
)
from bridge.conversation.inputs import CallFailed, Input, Replied, Said, Withdrawn
from bridge.conversation.model import Chatting, Conversation
from bridge.conversation.transitions import all_pieces
from bridge.ids import AgentId, CallId, EventId, SessionId
from bridge.texts import LANGUAGES, Texts
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import SendMessage, SendPreMessage

_SETTLES_NOTHING = {ResultCode.INTERNAL_ERROR, ResultCode.INVALID_TOKEN}


class Witness:
    """See the module."""

    def __init__(self) -> None:
        self.unsettled: set[EventId] = set()
        self._delivered: set[EventId] = set()
        self._reported: set[EventId] = set()
        self._newest_sent = -1
        self._sent: set[int] = set()
        self._doubtful: dict[int, CallId] = {}
        """Pieces whose fate is unknown, by order, with the call that may have carried them."""
        self._ghosts: set[AgentId] = set()
        self._asked: set[tuple[int, SessionId]] = set()
        self._texts = Texts()
        self._rendered: set[tuple[str, frozenset[str]]] = set()

    def watch(
        self,
        before: Conversation,
        happened: Input,
        effects: tuple[Effect, ...],
        after: Conversation,
    ) -> None:
        """Take note of one step; raises AssertionError for a broken promise."""
        if isinstance(happened, Said):
            self.unsettled.add(happened.event_id)
        if isinstance(happened, Withdrawn):
            self.unsettled.discard(happened.event_id)  # from here on nothing is owed
        self._note_fate(before, happened)
        calls = [one for one in effects if isinstance(one, CallWebChat | UploadMedia)]
        for effect in effects:
            self._note(effect, before.number)
        for call in calls:
            self._check_call(call, before, after)
        assert len(calls) <= 1, "two calls at once"
        if before.outstanding is not None and after.outstanding is not None and calls:
            answered = isinstance(happened, Replied | CallFailed) or (
                before.outstanding.call_id != after.outstanding.call_id
            )
            assert answered, "two calls under way"
        self._check_pieces(after)
        self._check_ghosts(after)

    # --- content ----------------------------------------------------------------------------

    def _note_fate(self, before: Conversation, happened: Input) -> None:
        """Learn what became of the piece that was under way."""
        asked = before.outstanding
        if asked is None or asked.held is None:
            return
        order = asked.held.order
        match happened:
            case CallFailed() if happened.call_id == asked.call_id and not happened.certain:
                self._doubtful[order] = asked.call_id
            case Replied() if happened.call_id == asked.call_id:
                if happened.reply.result not in _SETTLES_NOTHING:
                    self._doubtful.pop(order, None)
            case _:
                pass

    def _note(self, effect: Effect, chat: int) -> None:
        match effect:
            case Delivered(event_id=event_id):
                assert event_id in self.unsettled, f"{event_id} delivered, but not awaited"
                self.unsettled.discard(event_id)
                self._delivered.add(event_id)
            case Reported(event_id=event_id):
                assert event_id not in self._delivered, f"{event_id} reported after delivery"
                assert event_id not in self._reported, f"{event_id} reported twice"
                assert event_id in self.unsettled, f"{event_id} reported, but not awaited"
                self.unsettled.discard(event_id)
                self._reported.add(event_id)
                self._render(effect.key, effect.args)
            case Say() | Card():
                self._render(effect.key, effect.args)
            case AskRating(session_id=session_id):
                assert (chat, session_id) not in self._asked, f"asked twice about {session_id}"
                self._asked.add((chat, session_id))
            case AgentsCame():
                self._ghosts |= {agent.id for agent in effect.agents}
            case AgentsLeft():
                self._ghosts -= set(effect.agents)
            case Relay():
                self._ghosts.add(effect.agent.id)
            case CallWebChat() | UploadMedia() | FetchHistory():
                pass

    def _check_call(
        self, call: CallWebChat | UploadMedia, before: Conversation, after: Conversation
    ) -> None:
        asked = after.outstanding
        assert asked is not None, "a call that nothing waits for"
        assert asked.call_id == call.call_id, "a call under another id"
        repeated = isinstance(call, CallWebChat) and call.repeat
        assert repeated or call.call_id == before.next_call, "an id used twice"
        if asked.held is None:
            assert not repeated, "only content is repeated"
            return
        assert isinstance(call, CallWebChat), "content is carried by calls"
        assert isinstance(call.command, SendMessage | SendPreMessage), "content in a command"
        order = asked.held.order
        if order in self._doubtful:
            assert repeated, "not marked as a repeat"
            assert call.call_id == self._doubtful[order], "doubtful content under a new id"
        else:
            assert not repeated, "marked as a repeat"
        if order > self._newest_sent:
            self._newest_sent = order
        else:
            assert order in self._sent, "overtaken by what was typed later"
        self._sent.add(order)

    def _check_pieces(self, after: Conversation) -> None:
        pieces = all_pieces(after)
        kept = {piece.event_id for piece in pieces}
        assert self.unsettled <= kept, f"lost {self.unsettled - kept}"
        orders = [piece.order for piece in pieces]
        assert len(orders) == len(set(orders)), "kept twice"
        waiting = [piece.order for piece in after.held]
        assert waiting == sorted(waiting), "out of order"

    # --- what people see --------------------------------------------------------------------

    def _check_ghosts(self, after: Conversation) -> None:
        phase = after.phase
        present = {agent.id for agent in phase.agents} if isinstance(phase, Chatting) else set()
        assert self._ghosts <= present, f"ghosts without agents: {self._ghosts - present}"
        if isinstance(phase, Chatting) and not phase.unwanted:
            assert self._ghosts == present, f"agents without ghosts: {present - self._ghosts}"

    def _render(self, key: str, args: dict[str, str | int]) -> None:
        for name, value in args.items():
            assert str(value).strip(), f"{key}: {name} is blank"
        shape = key, frozenset(args)
        if shape in self._rendered:
            return
        self._rendered.add(shape)
        for language in LANGUAGES:
            self._texts.render(language, key, {"prefix": "!wc", **args})
