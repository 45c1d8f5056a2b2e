"""The invariants of the state machine, checked from outside after each step.

A `Witness` sees only inputs, effects and states, keeps its own records, and fails if

* a customer's event is neither kept, delivered, reported nor answered by the robot, or twice so;
* the robot is said to have answered an event that it did not, or is asked about an unknown one;
* an event is delivered after it was reported as undelivered, or the reverse;
* an event is delivered while an earlier one still waits;
* content is first sent in another order than it was typed;
* content of uncertain fate is sent under a new call id;
* two calls are under way at once;
* redacted text is sent, be it in a quotation or a correction;
* an agent is told of the redaction or correction of a message that the agent does not have;
* a ghost stays in the room without its agent in the chat;
* a rating is asked for twice;
* a comment on a rating is neither kept nor accepted, and nothing is told;
* a ping is sent for anything but "you are next", once per request, an agent who comes, and the end
  of a long wait, of a callback, of the robot's search for a person or of a long outage;
* a hidden request is shown on the queue card;
* content is dropped with its request, and its number is not told in the end, or not in the order
  in which it was typed;
* a sentence does not exist, or lacks an argument.
"""

from __future__ import annotations

from bridge.conversation.model import (
    COUNTED,
    AgentsCame,
    AgentsLeft,
    Answered,
    Args,
    AskRating,
    AskRobot,
    CallbackCard,
    CallFailed,
    CallWebChat,
    Cancel,
    Card,
    Chatting,
    Close,
    Consulted,
    Conversation,
    CustomerText,
    Delivered,
    Effect,
    FetchHistory,
    Held,
    Input,
    Offer,
    Queued,
    Rate,
    Relay,
    Replied,
    Reported,
    Requesting,
    Said,
    Say,
    Solved,
    TakeBack,
    UploadMedia,
    Withdrawn,
)
from bridge.conversation.queue import callback_wanted, hidden
from bridge.conversation.turn import all_pieces
from bridge.ids import AgentId, CallId, EventId, SessionId
from bridge.texts import LANGUAGES, Texts
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import SendMessage, SendPreMessage, Text

ROBOT_NOTE = "(the robot: no)"
"""The robot's answer to each question that it cannot answer."""
_SETTLES_NOTHING = {ResultCode.INTERNAL_ERROR, ResultCode.INVALID_TOKEN}
_GONE = {
    SendMessage: ResultCode.INVALID_CHAT_SESSION_ID,
    SendPreMessage: ResultCode.INVALID_CHAT_REQUEST_ID,
}
"""Results that tell that the chat or the request is over, and nothing of an earlier attempt."""
_PINGS = {
    "queue.next",
    "callback.given_up",
    "trouble.given_up",
    "robot.alone.-3",
    "robot.alone.-5",
    "robot.alone.busy",
    "robot.refused",
    "chat.started",
    "chat.started_unnamed",
    "chat.agent_joined",
    "chat.notice",
    "chat.transferred",
}
_ENDS = ("status.", "result.", "trouble.", "queue.closed", "queue.ended_paused")


def _same_agent(before: Conversation, after: Conversation) -> bool:
    """Whether the present or coming agent is the one who has what was sent until now."""
    old, new = before.phase, after.phase
    if isinstance(old, Chatting):
        return isinstance(new, Chatting) and new.session_id == old.session_id
    if isinstance(old, Queued) and isinstance(new, Queued):
        ours_again = {piece.order for piece in all_pieces(after)}
        ours_again -= {piece.order for piece in new.pre_sent}
        return not any(piece.order in ours_again for piece in old.pre_sent)
    if isinstance(old, Queued) and isinstance(new, Requesting):
        return new.adopt_at is not None
    return isinstance(new, Queued | Chatting | Requesting)


def _is_answer(held: Held) -> bool:
    """Whether a piece is the robot's answer, which follows its question."""
    return isinstance(held.content, CustomerText) and held.content.text == ROBOT_NOTE


class Witness:
    def __init__(self) -> None:
        self.unsettled: set[EventId] = set()
        self._delivered: set[EventId] = set()
        self.reported: set[EventId] = set()
        self._questions: set[EventId] = set()
        self._helped: set[EventId] = set()
        """Questions that the robot answered."""
        self._content = False
        """Whether the customer has just said that no agent is needed."""
        self._newest_sent = -1
        self._sent: set[int] = set()
        self._doubtful: dict[int, CallId] = {}
        """Pieces whose fate is unknown, by order, with the call that may have carried them."""
        self._ghosts: set[AgentId] = set()
        self._asked: set[tuple[int, SessionId]] = set()
        self._told_next: set[int] = set()
        self._along: set[EventId] = set()
        """Messages that are to be sent as the comment of a rating."""
        self.words: dict[EventId, str] = {}
        """Word that identifies the text of each event."""
        self.taken_back: set[EventId] = set()
        self._corrected: set[EventId] = set()
        self._agent = 0
        """Number of agents until now, present or coming."""
        self._read_by: dict[EventId, set[int]] = {}
        """Agents, by number, that each event may have reached."""
        self._texts = Texts()
        self._former: dict[EventId, EventId] = {}
        """Corrected event by correction; both count as one message."""
        self._uncounted: set[EventId] = set()
        """Dropped events whose number was not told yet."""
        self._places: dict[EventId, int] = {}
        """The order in which events were typed."""
        self._rendered: set[tuple[str, frozenset[str]]] = set()

    def watch(
        self,
        before: Conversation,
        happened: Input,
        effects: tuple[Effect, ...],
        after: Conversation,
    ) -> None:
        """Check one step; raise AssertionError for a broken invariant."""
        if isinstance(happened, Said):
            self._note_said(before, happened, after)
        if isinstance(happened, Withdrawn):
            self._note_withdrawn(before, happened)
        if isinstance(happened, Rate) and happened.event_id is not None:
            self._along.add(happened.event_id)
        ended = isinstance(happened, Close) and callback_wanted(before)  # as by `cancel`
        self._content = ended or isinstance(happened, Solved | Cancel)
        if isinstance(happened, Consulted) and happened.note:
            self._helped.add(happened.event_id)
        self._note_fate(before, happened)
        calls = [one for one in effects if isinstance(one, CallWebChat | UploadMedia)]
        for effect in effects:
            self._note(effect, before.number)
        # Of a corrected message only the newest wording is sent.
        self.unsettled -= self._corrected - {piece.event_id for piece in all_pieces(after)}
        self._agent += not _same_agent(before, after)
        whole = {piece.order for piece in all_pieces(after) if piece.amends is None}
        for piece in all_pieces(before):
            bound = piece.amends is not None or (piece.instead and not piece.quotes)
            if bound and piece.order in whole:
                self._doubtful.pop(piece.order, None)  # other words, for another agent
        self._check_receipt(before, effects, after)
        for call in calls:
            self._check_call(call, before, after)
            self._check_words(call, after)
        assert len(calls) <= 1, "two calls at once"
        if before.outstanding is not None and after.outstanding is not None and calls:
            answered = isinstance(happened, Replied | CallFailed) or (
                before.outstanding.call_id != after.outstanding.call_id
            )
            assert answered, "two calls under way"
        self._check_pieces(after)
        self._places |= {one.event_id: one.order for one in reversed(all_pieces(after))}
        self._check_ghosts(after)
        if after.rating is None or after.rating.event_id not in self._along:
            taken = isinstance(happened, Replied) and happened.reply.ok
            told = any(isinstance(one, Say) and one.key.startswith("rating.") for one in effects)
            assert taken or told or not self._along, f"{self._along} disappeared"
            self._along.clear()
        if not (isinstance(after.phase, Requesting | Queued) and after.phase.cancel):
            assert not self._uncounted, f"{self._uncounted} given up, and nobody is told how many"
        if isinstance(after.phase, Requesting | Queued) and hidden(after.phase):
            assert not any(isinstance(one, Card) for one in effects), "a quiet request is shown"

    # --- content ----------------------------------------------------------------------------

    def _note_said(self, before: Conversation, said: Said, after: Conversation) -> None:
        if said.replaces:
            self._note_withdrawn(before, Withdrawn(said.replaces[0]))
            new = {one.order for one in all_pieces(after) if one.event_id == said.event_id}
            if min(new, default=-1) in self._sent:  # so a former agent had the replaced one
                self._sent |= new
        self.unsettled.add(said.event_id)
        self._uncounted.discard(said.event_id)
        self._questions.discard(said.event_id)  # sent once more, it may be asked once more
        self.reported.discard(said.event_id)  # it is sent again
        if said.amends is not None:
            self._former[said.event_id] = said.amends
            self._corrected.add(said.amends)

    def _check_receipt(
        self, before: Conversation, effects: tuple[Effect, ...], after: Conversation
    ) -> None:
        """A receipt says "up to here": nothing that was typed earlier may still wait.

        A piece that is under way again does not wait if an agent is known to have it.
        """
        places = {piece.event_id: piece.order for piece in all_pieces(before)}
        asked = after.outstanding
        again = asked.held if asked is not None and asked.moot else None
        if again is not None and again.event_id not in self._delivered:
            again = None
        waiting = [piece.order for piece in all_pieces(after) if piece is not again]
        for effect in effects:
            if isinstance(effect, Delivered):
                passed = min(waiting, default=places[effect.event_id])
                assert passed >= places[effect.event_id], f"{effect.event_id} overtook {passed}"

    def _note_fate(self, before: Conversation, happened: Input) -> None:
        """Note whether the fate of the piece under way is uncertain."""
        asked = before.outstanding
        if asked is None or asked.held is None:
            return
        order = asked.held.order
        match happened:
            case CallFailed() if happened.call_id == asked.call_id and not happened.certain:
                self._doubtful[order] = asked.call_id
            case Replied() if happened.call_id == asked.call_id:
                result = happened.reply.result
                if result not in _SETTLES_NOTHING and result != _GONE.get(type(asked.what)):
                    self._doubtful.pop(order, None)
            case _:
                pass

    def _note(self, effect: Effect, chat: int) -> None:
        match effect:
            case Delivered(event_id=event_id):
                assert event_id in self.unsettled, f"{event_id} delivered, but not awaited"
                self.unsettled.discard(event_id)
                self._delivered.add(event_id)
            case Reported():
                self._note_reported(effect)
            case AskRobot(event_id=event_id):
                assert event_id in self.unsettled, f"{event_id} asked about, but not awaited"
                assert event_id not in self._questions, f"{event_id} asked about twice"
                self._questions.add(event_id)
            case Answered(event_id=event_id):
                assert event_id in self.unsettled, f"{event_id} answered, but not awaited"
                assert event_id in self._questions, f"{event_id} answered, but not asked"
                assert self._content or event_id in self._helped, f"{event_id} not answered"
                self.unsettled.discard(event_id)
            case Say() | Card() | CallbackCard() | Offer():
                self._render(effect.key, effect.args)
                if isinstance(effect, Card):
                    for key in (*effect.more, *effect.below):
                        self._render(key, effect.args)
                if isinstance(effect, Card | CallbackCard):
                    places = [self._places[event_id] for event_id in effect.dropped]
                    assert places == sorted(places), "given up in another order"
                    self._note_counted(set(effect.dropped))
                self._note_ping(effect, chat)
            case AskRating(session_id=session_id):
                assert (chat, session_id) not in self._asked, f"asked twice about {session_id}"
                self._asked.add((chat, session_id))
            case AgentsCame():
                self._ghosts |= {agent.id for agent in effect.agents}
            case AgentsLeft():
                self._ghosts -= set(effect.agents)
            case Relay():
                self._ghosts.add(effect.agent.id)
            case CallWebChat() | UploadMedia() | FetchHistory() | TakeBack():
                pass

    def _note_counted(self, counted: set[EventId]) -> None:
        for event_id, former in self._former.items():  # in the order of writing
            if former in counted:
                counted.add(event_id)
        self._uncounted -= counted

    def _note_reported(self, effect: Reported) -> None:
        event_id = effect.event_id
        if effect.key == COUNTED and event_id in self._uncounted:
            return  # again, after earlier messages
        self._uncounted |= {event_id} if effect.key == COUNTED else set()
        assert event_id not in self._delivered, f"{event_id} reported after delivery"
        assert event_id not in self.reported, f"{event_id} reported twice"
        assert event_id in self.unsettled, f"{event_id} reported, but not awaited"
        self.unsettled.discard(event_id)
        self.reported.add(event_id)
        self._render(effect.key, {"count": 1, **effect.args})

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
            # A former agent had the question; the robot has answered it since.
            answers = order - 1 in self._sent and _is_answer(asked.held)
            assert order in self._sent or answers, "overtaken by what was typed later"
        self._sent.add(order)

    def _note_withdrawn(self, before: Conversation, happened: Withdrawn) -> None:
        """From here on the event needs no outcome, and its text must not be sent."""
        gone = {happened.event_id, *happened.also}
        for piece in all_pieces(before):
            if gone & set(piece.quotes) and not piece.instead:
                gone.add(piece.event_id)
        self.unsettled -= gone
        self._uncounted -= gone
        self._along -= gone
        self.taken_back |= gone

    def may_be_known(self, event_id: EventId, state: Conversation) -> bool:
        """Whether the present or coming agent may have that message."""
        if any(one.event_id == event_id and one.asked is None for one in state.held):
            return False  # a message of which a part waits is not told
        there = isinstance(state.phase, Queued | Chatting)
        known = self._agent in self._read_by.get(event_id, set())
        return there and known and event_id not in self.reported

    def _check_words(self, call: CallWebChat | UploadMedia, after: Conversation) -> None:
        """No redacted text is sent, nor news of a message that the agent does not have.

        A call that was under way then counts as sent.
        """
        if not isinstance(call, CallWebChat):
            return
        match call.command:
            case SendMessage(content=Text(text=text)) | SendPreMessage(text=text):
                pass
            case _:
                return
        for event_id in self.taken_back:
            word = self.words.get(event_id)
            assert word is None or word not in text, f"{event_id} was taken back"
        held = None if after.outstanding is None else after.outstanding.held
        if held is not None and held.amends is not None:
            known = self._read_by.get(held.amends, set())
            assert self._agent in known, f"{held.amends} is not known here"
        if held is not None:
            self._read_by.setdefault(held.event_id, set()).add(self._agent)

    def _check_pieces(self, after: Conversation) -> None:
        pieces = all_pieces(after)
        kept = {piece.event_id for piece in pieces}
        assert self.unsettled <= kept, f"lost {self.unsettled - kept}"
        orders = [piece.order for piece in pieces]
        assert len(orders) == len(set(orders)), "kept twice"
        waiting = [piece.order for piece in after.held]
        assert waiting == sorted(waiting), "out of order"

    def _note_ping(self, effect: Effect, chat: int) -> None:
        if not isinstance(effect, Say | Card) or not effect.ping:
            return
        ended = isinstance(effect, Card) and effect.key.startswith(_ENDS)
        assert ended or effect.key in _PINGS, f"{effect.key} is no reason to ring"
        if effect.key == "queue.next":
            assert chat not in self._told_next, "told twice to be next"
            self._told_next.add(chat)

    # --- what people see --------------------------------------------------------------------

    def _check_ghosts(self, after: Conversation) -> None:
        phase = after.phase
        present = {agent.id for agent in phase.agents} if isinstance(phase, Chatting) else set()
        assert self._ghosts <= present, f"ghosts without agents: {self._ghosts - present}"
        if isinstance(phase, Chatting) and not phase.unwanted:
            assert self._ghosts == present, f"agents without ghosts: {present - self._ghosts}"

    def _render(self, key: str, args: Args) -> None:
        for name, value in args.items():
            assert str(value).strip(), f"{key}: {name} is blank"
        shape = key, frozenset(args)
        if shape in self._rendered:
            return
        self._rendered.add(shape)
        for language in LANGUAGES:
            self._texts.render(language, key, {"prefix": "!wc", **args})
