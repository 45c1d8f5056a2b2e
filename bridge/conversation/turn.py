"""Working state of one step: the conversation, the policy, the effects so far; text helpers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from bridge.conversation import model
from bridge.ids import EventId, QueueId
from bridge.media.plaintext import html_to_text, unescaped
from bridge.webchat.codes import RobotUse, meaning
from bridge.webchat.frames import Reply

LONGEST_NOTICE = 10_000
"""Maximum characters read of a server's text that becomes one notice; frames have up to 16 MiB."""
UNWATCHED = 60_000
"""ms after which the customer has put the phone away: an agent's words and bad news ring."""
UNSURE = "outage.unsure"
"""Key of the line that agents' messages of an outage may be missing."""
LONGEST_QUOTE = 300
"""Maximum number of characters shown of the server's own words."""
_OTHERWISE: Mapping[str, tuple[str, str]] = {
    "room.welcome": ("room.welcome_command", "room.welcome_paused"),
    "room.welcome_shared": ("room.welcome_command", "room.welcome_paused"),
    # Where the robot answers first, any message goes to it: no command variant.
    "robot.welcome": ("robot.welcome", "room.welcome_paused"),
    "help.idle": ("help.idle_command", "help.idle_paused"),
    "chat.ended": ("chat.ended_command", "chat.ended_paused"),
    "chat.ended_by_you": ("chat.ended_by_you_command", "chat.ended_by_you_paused"),
    "undelivered.no_chat": ("undelivered.no_chat_command", "undelivered.paused"),
    "result.-10": ("result.-10_command", "queue.ended_paused"),
    "result.-11": ("result.-11_command", "queue.ended_paused"),
    "status.2": ("status.2_command", "queue.ended_paused"),
    "status.3": ("status.3_command", "queue.ended_paused"),
    "status.4": ("status.4_command", "queue.ended_paused"),
    "status.other": ("status.other_command", "status.other_paused"),
    "queue.position": ("queue.position", "queue.position_paused"),
    "queue.place_said": ("queue.place_said", "queue.place_said_paused"),
    "queue.waiting": ("queue.waiting", "queue.waiting_paused"),
}
"""Key -> its variants if only a command requests a chat, and if the room is paused."""


class Opening(Protocol):
    """Opening hours of a queue; times are ms since the epoch."""

    def is_open(self, now: int) -> bool: ...

    def opens(self, now: int) -> int:
        """Return the first time from `now` on at which the queue is open."""


class Policy(msgspec.Struct, frozen=True):
    """Settings of operator and room admin, and limits that tests make smaller; durations are ms."""

    queue_id: QueueId = QueueId(1)
    source: str = "APP"
    to_agent: str = ""
    brand: str = ""
    tracks: str = ""
    map: str = "baidu"
    """Map whose datum the desk expects for coordinates: `baidu`, or `gaode` (AMap)."""
    emoji_codes: bool = False
    """Whether emoji are sent as WeChat's codes."""
    escape_html: bool = False
    """Whether texts are escaped because desks render them as HTML (trap T35)."""
    guard_json: bool = False
    """Whether texts like JSON are guarded because the server would parse them (trap T24)."""
    videos: bool = False
    """Whether videos go as messages of type 6; one refused as such is sent again as a file."""
    start_on_message: bool = True
    max_text_bytes: int = 7000
    """Maximum length of the text in one frame, in bytes of escaped JSON."""
    max_held: int = 200
    """Maximum number of waiting pieces of content in a room."""
    hold: int = 30 * 60_000
    """How long content waits while the service cannot be reached."""
    accepted_wait: int = 20_000
    """Time without news of an accepted request after which 101 is sent again (trap T14)."""
    cancel_wait: int = 20_000
    """Time after a cancel until the customer leaves the queue even without WebChat's answer."""
    linger: int = 60_000
    """How long the link stays open after a refusal, as an agent may still accept."""
    ping_wait: int = 10_000
    """How long to wait for an agent's first message before notifying the customer."""
    show_comments: bool = False
    """Whether customers see the call centre's notes on its agents (trap T39)."""
    robot: RobotUse = RobotUse.OFF
    max_repeats: int = 3
    """Maximum repeats of content after an unknown outcome or a lost session."""
    max_tries: int = 3
    """Maximum attempts of a call that fails with -100; other failures in a row count as well."""
    upload_tries: int = 5
    """Maximum uploads of a file when failures look transient; with back-off a minute and a half."""
    hours: Mapping[QueueId, Opening] = {}
    """Known opening hours, for callbacks and the card: they block no request of the customer."""
    paused: bool = False
    """True while the room is not served: the bridge requests no chat by itself."""
    leaving: bool = False
    """True if another enterprise takes the room over after the chat: a rating would be too late."""
    callback: bool = True
    callback_first: int = 5 * 60_000
    """First interval between callback attempts, after "closed" or "no agent"."""
    callback_last: int = 60 * 60_000
    """Longest interval between callback attempts."""
    callback_limit: int = 3 * 86_400_000
    """Lifetime of a callback if opening hours are unknown: longer than a weekend."""
    backoff_first: int = 1_000
    backoff_last: int = 60_000


class Turn(msgspec.Struct):
    """The mutable state of one step; it never leaves this package."""

    state: model.Conversation
    now: int
    """ms since the epoch."""
    policy: Policy
    effects: list[model.Effect] = []

    def set(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)

    def enter(self, phase: model.Phase, **changes: Any) -> None:
        self.state = replace(self.state, phase=replace(phase, **changes) if changes else phase)

    def ask(self, effect: model.Effect) -> None:
        self.effects.append(effect)

    def say(self, key: str, args: model.Args | None = None, *, ping: bool = False) -> None:
        self.ask(model.Say(key, args or {}, ping=ping))
        self.set(unsure_at=self.now if key == UNSURE else 0)
        if ping:
            self.set(watched_at=self.now)

    def quote(self, words: str) -> None:
        if words:
            self.say("trouble.server_says", {"text": words})

    def refused(self, key: str, reply: Reply) -> None:
        self.say(key, {"code": reply.result})
        self.quote(server_reason(reply))

    def card(self, key: str, args: model.Args | None = None, *, anew: bool = False) -> None:
        self.ask(model.Card(self.state.number, key, args or {}, anew=anew))

    def no_trouble(self) -> None:
        """Reset the failure counters: WebChat answers, or no call is wanted."""
        self.set(failures=0, trouble_since=None, retry_at=None, told_trouble=False)

    def put_back(self, *pieces: model.Held) -> None:
        """Return content to `held`, in the order typed."""
        back: list[model.Held] = []
        for piece in pieces:
            # An edit that was under way during `lapse`.
            lapsed = piece.instead and piece.amends is None and not piece.quotes
            back += _whole(piece) if lapsed else (piece,)
        held = sorted((*back, *self.state.held), key=lambda piece: piece.order)
        self.set(held=tuple(held))

    def lapse(self, event_id: EventId | None = None, *, notes: bool = True) -> None:
        """Send edits of a message, or of all messages if None, as whole messages.

        For a message that no future agent has: an edit replaces it, and a note of its redaction is
        dropped. Without `notes`, notes are kept, and so is an edit that is partly under way.
        """
        outstanding = self.state.outstanding
        going = None if outstanding is None else outstanding.held
        pieces = self.state.held if going is None else (going, *self.state.held)
        if not notes:
            part = None if going is None else going.event_id
            begun = part if any(piece.event_id == part for piece in self.state.held) else None
            pieces = tuple(
                piece for piece in pieces if not piece.is_note and piece.event_id != begun
            )
        lapsed = {
            piece.event_id
            for piece in pieces
            if piece.amends is not None and event_id in {None, piece.amends}
        }
        lapsed |= {piece.event_id for piece in pieces if piece.amends in lapsed}
        overtaken = {piece.amends for piece in pieces if piece.event_id in lapsed}
        if outstanding is not None and going is not None and going.event_id in lapsed | overtaken:
            # Under way: the change only matters if it is put back.
            over = going.event_id in overtaken or not going.instead
            # What the customer gave up, and was not told of yet, is told of by the reply (`drop`).
            last = not over and (going.last or not outstanding.moot)
            known, moot = replace(going, amends=None, last=last), outstanding.moot or over
            self.set(outstanding=replace(outstanding, held=known, moot=moot, stale=True))
            overtaken.add(going.event_id)
        held: list[model.Held] = []
        for piece in self.state.held:
            if piece.event_id in overtaken:
                continue
            if piece.event_id in lapsed:
                held += _whole(piece)
                overtaken.add(piece.event_id)  # `_whole` includes its other pieces
            else:
                held.append(piece)
        self.set(held=tuple(held))

    def delivered(self, *pieces: model.Held) -> None:
        """Record that WebChat has these pieces; an event is delivered with its last one."""
        self.effects += [model.Delivered(piece.event_id) for piece in pieces if piece.last]

    def report(
        self, pieces: tuple[model.Held, ...], key: str, args: model.Args | None = None
    ) -> None:
        """Tell the customer, once per event, that it was not delivered, and drop its rest.

        If an earlier call may have delivered it, that is what is told, unless the customer gave it
        up themselves.
        """
        events, chatting = unique_events(pieces), isinstance(self.state.phase, model.Chatting)
        messages = unique_events(piece for piece in pieces if not piece.is_note)
        late = {piece.event_id for piece in pieces if chatting and self.now - piece.at >= UNWATCHED}
        given_up = key in (model.COUNTED, "undelivered.cancelled")
        doubtful = {piece.event_id for piece in pieces if piece.asked is not None and not given_up}
        for event_id in messages:
            why = ("undelivered.uncertain", {}) if event_id in doubtful else (key, args or {})
            self.ask(model.Reported(event_id, *why, ping=event_id in late))
        if key == model.COUNTED:
            known = {*messages, *self.state.dropped}
            amending = {piece.event_id for piece in pieces if piece.amends in known}
            counted = (event for event in messages if event not in amending)  # no message more
            self.set(dropped=(*self.state.dropped, *counted))
        self.rewrite(events)
        for event_id in events:
            self.lapse(event_id)

    def rewrite(
        self,
        gone: tuple[EventId, ...],
        change: Callable[[model.Held], model.Held] = lambda piece: piece,
    ) -> None:
        """Remove the pieces of the events in `gone` wherever they are, and `change` the others.

        A piece under way stays: its call becomes moot or, if the piece is changed, stale.
        """

        def kept(pieces: tuple[model.Held, ...]) -> tuple[model.Held, ...]:
            return tuple(change(piece) for piece in pieces if piece.event_id not in gone)

        phase, asked = self.state.phase, self.state.outstanding
        self.set(held=kept(self.state.held))
        if isinstance(phase, model.Queued):
            self.enter(phase, pre_sent=kept(phase.pre_sent))
        if asked is not None and asked.held is not None:
            piece = change(asked.held)
            asked = replace(asked, held=piece, stale=asked.stale or piece != asked.held)
            if piece.event_id in gone:  # do not report this event again
                asked = replace(asked, held=replace(piece, last=False), moot=True)
            self.set(outstanding=asked)

    def forget_dropped(self, events: tuple[EventId, ...]) -> None:
        """Remove events from the given-up ones: they are sent again, or were redacted."""
        self.set(dropped=tuple(event for event in self.state.dropped if event not in events))

    def drop(self, pieces: tuple[model.Held, ...]) -> None:
        """Report events that no agent gets because the customer leaves, or has left, the queue.

        Events without their last piece here were reported before.
        """
        phase = self.state.phase
        leaving = isinstance(phase, model.Waiting) and phase.cancel
        whole = tuple(piece for piece in pieces if piece.last)
        if not leaving:
            self.report(whole, "undelivered.cancelled")
        elif whole:
            # The events given up earlier were typed later. Report them once more, since sending
            # again follows the order of the reports.
            later = self.state.dropped
            self.set(dropped=())
            self.report(whole, model.COUNTED)
            self.effects += [model.Reported(event_id, model.COUNTED) for event_id in later]
            self.set(dropped=(*self.state.dropped, *later))


def _whole(piece: model.Held) -> tuple[model.Held, ...]:
    """Return an edit as a whole message, for an agent who does not have the original."""
    parts = len(piece.instead)
    return tuple(
        model.Held(
            piece.event_id,
            part,
            piece.at,
            last=index == parts - 1,
            order=piece.order + index,
            words=piece.words if index == 0 else "",
            sender=piece.sender,
        )
        for index, part in enumerate(piece.instead)
    )


def without(pieces: tuple[model.Held, ...], events: tuple[EventId, ...]) -> tuple[model.Held, ...]:
    return tuple(piece for piece in pieces if piece.event_id not in events)


def unique_events(pieces: Iterable[model.Held]) -> tuple[EventId, ...]:
    """Return the events that these pieces belong to, each once, in order."""
    return tuple(dict.fromkeys(piece.event_id for piece in pieces))


def all_pieces(state: model.Conversation) -> tuple[model.Held, ...]:
    """Return all content that is neither delivered nor reported: under way, pre-sent and held."""
    going = None if state.outstanding is None else state.outstanding.held
    pre_sent = state.phase.pre_sent if isinstance(state.phase, model.Queued) else ()
    return (*(() if going is None else (going,)), *pre_sent, *state.held)


def inviting(key: str, policy: Policy) -> str:
    """Return the variant of a sentence about starting chats that applies in this room."""
    on_command, paused = _OTHERWISE.get(key, (key, key))
    if policy.paused:
        return paused
    return key if policy.start_on_message else on_command


def plain_text(fragment: str) -> str:
    """Return the text of an HTML fragment; without any element, its line breaks are kept."""
    if len(fragment) > LONGEST_NOTICE:
        fragment = f"{fragment[:LONGEST_NOTICE]}…"
    if "<" not in fragment:
        return unescaped(fragment).strip()
    text = html_to_text(fragment)
    return (fragment if text is None else text).strip()


def cut(text: str, most: int) -> str:
    """Return a text of at most that many characters, the last an ellipsis if it was longer."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def one_line(message: str) -> str:
    """Return a server's message on one line; "" for a single ASCII word, such as an error name."""
    seen = (char for char in plain_text(message) if char.isprintable() or char.isspace())
    line = " ".join("".join(seen).split())
    if line.isascii() and " " not in line:
        return ""
    return cut(line, LONGEST_QUOTE)


def server_reason(reply: Reply) -> str:
    """Return the reply's message if the bridge's sentence for its code is vague (2.5), else "".

    For "closed" (-3) only a message with a digit, such as a time or date, adds anything.
    """
    row = meaning(reply.result)
    words = one_line(reply.message) if row.vague else ""
    return "" if row.nobody and not any(map(str.isdigit, words)) else words
