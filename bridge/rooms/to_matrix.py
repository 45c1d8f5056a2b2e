"""The lane to Matrix: carries out one effect at a time, retried until the homeserver accepts it.

A retry posts nothing twice: the transaction id is made of the database's id, the row's number, the
time when the row was stored (a restored database reuses numbers, but at other times) and the sender
(Synapse's cache does not tell senders apart). If an effect becomes several events, each has its own
id, so that a retry sends only the missing ones.

An agent's file is streamed from server to server; if it cannot be fetched, the customer is told.
Requests to the homeserver raise Unavailable or Refused here; `run` handles both.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from bridge.conversation import model
from bridge.ids import EventId, QueueId, UserId, digest_of
from bridge.media.plaintext import as_markup
from bridge.rooms import cards, effects, ports
from bridge.rooms.blobs import link_to, opened_file
from bridge.rooms.erasure import redact_all
from bridge.rooms.record import (
    CardKind,
    CardPosted,
    EntryFailed,
    LookedUp,
    MatrixEvent,
    Membership,
    NotShown,
    OurCard,
    PartPosted,
    RoomRecord,
    rung,
    thread_in_use,
)
from bridge.rooms.references import recall_anchor, said_by_agent
from bridge.rooms.room import Room
from bridge.rooms.rules import BadOrder, hides, settings_of_event, state_of
from bridge.rooms.store import EffectRow, Outcome
from bridge.rooms.surroundings import Shut
from bridge.rooms.visit import Came, Done, can_be_sent_again, log_fields, peek
from bridge.texts import clock_time, waiting_range
from bridge.webchat import frames
from bridge.webchat.words import decode_emoji

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.matrix")
_Stored = effects.InRoom | effects.EndPoll
_effects: msgspec.json.Decoder[_Stored] = msgspec.json.Decoder(_Stored)
"""Decoder of this lane's effects, and of one of earlier versions, only: mypy finds one that is not
carried out."""

_INVITE_US = "room.upgraded"
"""Text key of the notice that belongs in the old room only."""
_UNSAID = ("agents.renamed", "chat.agent_left")
"""Text keys stored by earlier versions that are no longer said."""
FETCH_TRIES, FETCH_WITHIN = 4, 5 * 60_000
"""Attempts to fetch an agent's file before the customer is told that it is missing; ms since the
first within which others begin: a file that drips must not hold up the agent's words for longer."""
STORE_WITHIN = 60_000
"""ms after which a file is given up that only the homeserver's media repository does not take: it
may be a process of its own, or its disk be full, and the agent's words wait behind the file."""
ICON_LIMIT = 2 * 1024 * 1024
"""Maximum bytes of an agent's picture."""
GIVE_UP_AFTER, LEAST_WAIT = 24 * 3_600_000, 3600.0
"""ms while the homeserver is down, after which an effect is a dead letter; seconds of these that
this process must have waited: the clock may have been set, or the machine suspended."""
FIRST_WAIT, LAST_WAIT = 0.5, 60.0
"""First and longest back-off between attempts, in seconds."""
TELL_AFTER = 600.0
"""Seconds waited until an agent is told, and it is asked whether the effect is at fault."""
PROOFS = 3
"""Times that all but an effect is accepted, and then it is not, which make it a dead letter."""
REMEMBERED = 25 * 60_000
"""ms that any homeserver remembers transaction ids; most do longer (reference matrix.md §5)."""
FORBIDDEN, UNKNOWN = "M_FORBIDDEN", "M_UNKNOWN"
"""Error codes of a room that lets the user write nothing; of a deleted one or edit with Synapse."""
LONG_TEXT = 256 * 1024
"""Characters of a text with its pictures above which a thread splits it (12 MB: 0.2 s)."""
NEWS_AFTER, NEWS_WITHIN = 1.0, 5 * 60_000
"""Seconds between retries in an upgraded room; ms for which news of the upgrade is awaited."""
MOST_ASKED = 300.0
"""Maximum seconds of a homeserver's `retry_after` that are respected; a chat waits for them."""


class MatrixLane:
    begin = None
    """No effect of this lane can start synchronously: all wait for the homeserver."""

    def run(self, room: Room, row: EffectRow) -> Coroutine[Any, Any, Done]:
        return Delivery(room, row).run()


class Delivery:
    """One row of the lane, until the homeserver has accepted or refused it."""

    def __init__(self, room: Room, row: EffectRow) -> None:
        self._around = room.around
        self._matrix = room.around.matrix
        self._room = room
        self._row = row
        self._lost = False
        """Whether the host is not in the room any more, so that nothing can be carried out."""
        self._told_of = 0
        """Number of the chat whose agent was told that the room shows nothing."""
        self._answering_since: int | None = None
        """When the homeserver first did not take this row (or its file), but answered otherwise."""
        self._proofs = 0
        self._instead: EventId | None = None
        """Notice that the row cannot be carried out (see `_is_at_fault`)."""
        self._no_media = "chat.media_failed"
        """Text key of the notice instead of an agent's file."""
        self._posted: dict[EventId, str] = {}
        """Events that the row has posted, and their text if an agent's message (see `Part`)."""

    @property
    def record(self) -> RoomRecord:
        """The room's present record: it may change while the effect is being retried."""
        return self._room.record

    async def run(self) -> Done:
        effect, wait, waited = _effects.decode(self._row.effect), FIRST_WAIT, 0.0
        why, asked = "", None
        muted: bool | None = False
        key, moved_at = isinstance(effect, model.Say) and effect.key, self.record.moved_at
        if key in _UNSAID or isinstance(effect, effects.EndPoll):
            return Done(outcome=Outcome.DISCARDED, detail="from an earlier version")
        if key == _INVITE_US and self.record.place is not None and self._row.created <= moved_at:
            return Done(outcome=Outcome.DISCARDED, detail="the bridge is in the new room")
        # What a row of until then has posted may not be found by its ids alone (`_look_back`).
        known = max(moved_at, self._room.served_since - 1 if isinstance(effect, model.Relay) else 0)
        while True:
            # While it is, nothing is sent: the homeserver may forget the transaction id meanwhile.
            if muted is False or (muted := await self._around.is_muted(self.record)) is False:
                try:
                    if self._row.created <= max(known, self._around.clock.now() - REMEMBERED):
                        await self._look_back(effect)
                    done = await self._perform(effect)
                    if self._instead is not None:
                        with suppress(ports.Refused):
                            await self._redact(self.record.host, self._instead)
                    return self._with_posted(effect, done)
                except ports.Unavailable as error:
                    why, asked, muted = str(error), error.retry_after, False
                except ports.Refused as error:
                    muted = False
                    out = error.code in {FORBIDDEN, UNKNOWN}
                    if out and not isinstance(effect, effects.EnterRoom):
                        if self.record.upgrade is not None:
                            raise Shut from error
                        if await self._is_being_replaced():
                            await self._room.pause(NEWS_AFTER)
                            continue
                        muted = await self._around.is_muted(self.record)
                    if muted is False and error.code not in ports.LIFTED:
                        return self._with_posted(effect, await self._refused(effect, str(error)))
                    why = error.code if muted is False else "the room lets the bridge write nothing"
                    asked = None
            answered = muted is False and asked is None  # not only that it has to wait
            if self._is_late(waited) or (answered and await self._is_alone(effect, waited)):
                return self._with_posted(effect, self._give_up(effect, why))
            if muted or waited >= TELL_AFTER:
                await self._tell_agent(effect)
            pause = wait if asked is None else min(asked, MOST_ASKED)
            about = self._about(effect) | {"wait": pause, "why": why}
            _log.info("the homeserver has not accepted an effect yet", **about)
            await self._room.pause(pause)
            waited += pause
            wait = min(wait * 2, LAST_WAIT)

    def _with_posted(self, effect: effects.InRoom, done: Done) -> Done:
        """Have the journal know all that was posted, also before the rest was refused."""
        if not self._posted.keys() <= {done.event_id}:
            done.event_id = first = done.event_id or next(iter(self._posted))
            of = first if isinstance(effect, model.Relay) else EventId("")
            rest = ((key, text) for key, text in self._posted.items() if key != first)
            parts = (Came(PartPosted(text, of), event_id) for event_id, text in rest)
            done.came = (*parts, *done.came)
        return done

    async def _look_back(self, effect: effects.InRoom) -> None:
        """Look in the room for a row's events, as its transaction ids may be forgotten by now.

        Ids are per room and user. An agent's message may also stand in the room before the upgrade;
        and after a crash by the other of ghost and host, as the ghost's access may have changed.
        """
        record = self.record
        places = [(record.matrix_id, record.host)]
        if isinstance(effect, model.Relay) and self._row.created < record.moved_at:
            former, ghost = record.room_at(self._row.created), self._matrix.ghost_of(effect.agent)
            places += [(former, record.host), (former, ghost)]
        for room_id, reader in places:
            try:
                await self._matrix.find_markers(room_id, reader, self._row.created)
            except ports.Refused as error:
                _log.info("a room cannot be read", **self._about(), why=error.code)

    async def _is_being_replaced(self) -> bool:
        """True if the room was upgraded, or may have been, and that event has not arrived yet."""
        record, late = self.record, self._around.clock.now() - self._row.created >= NEWS_WITHIN
        if late or record.membership is not Membership.JOINED:
            return False
        try:
            return await self._matrix.is_replaced(record.matrix_id, record.host)
        except ports.Unavailable:
            return True  # unknown: retried
        except ports.Refused as error:
            # Of a room that was deleted, or made after a backup, no event tells the bridge so.
            self._lost = error.code == FORBIDDEN
            return False

    async def _tell_agent(self, effect: effects.InRoom) -> None:
        """Tell an agent who writes, once a chat, that the room shows nothing."""
        spoken = any(isinstance(said, model.Relay) for said in (effect, *self._behind()))
        if spoken and self._told_of != (chat := self.record.conversation.number):
            self._told_of = chat
            await self._room.take((self._unshown(),))

    def _is_late(self, waited: float) -> bool:
        since = max(self._row.created, self._row.revived or 0)
        return self._around.clock.now() - since >= GIVE_UP_AFTER and waited >= LEAST_WAIT

    async def _is_alone(self, effect: effects.InRoom, waited: float) -> bool:
        """True if the homeserver accepts all but this effect: `PROOFS` times, each after it failed.

        What it accepts is a notice in the effect's place, and edits of it: they are sent like any
        message, and so fail as well for any other cause.
        """
        proofs, self._proofs = self._proofs, 0
        vital = isinstance(effect, effects.EnterRoom | effects.LeaveRoom | effects.RedactAll)
        if vital or waited < TELL_AFTER or not await self._answers_otherwise():
            return False
        if proofs == PROOFS:
            return True
        key, name, rings = "chat.undone", "", tuple[UserId, ...]()
        if isinstance(effect, model.Relay):
            key, name = "chat.unshown", effect.agent.name or effect.agent.id
            rings = rung(self.record)
        text = self._sentence(key, {"agent": name})
        with suppress(ports.Refused, ports.Unavailable):
            notice = ports.EditableNotice(text, mentions=rings)
            self._instead = await self._notice(notice, ".instead")
            # With an id of its own: the homeserver answers a repeated one from memory.
            again, now = ports.EditableNotice(text, self._instead), self._around.clock.now()
            await self._notice(again, f".{now:x}")
            self._proofs = proofs + 1
        return False

    async def _refused(self, effect: effects.InRoom, why: str) -> Done:
        """Give up a refused effect; the customer is told of an agent's message."""
        left, described = self.record.membership is Membership.LEFT, False
        if isinstance(effect, model.Relay) and not left:
            with suppress(ports.Refused, ports.Unavailable):
                described = bool(await self._describe(effect))
        return self._give_up(effect, why, described=described)

    def _give_up(self, effect: effects.InRoom, why: str, *, described: bool = False) -> Done:
        about = self._about(effect) | {"why": why}
        if self._lost:
            _log.warning("a room has lost the bridge's user: its chat is ended", **about)
            lost = (Came(EntryFailed(why, lost=True)),)
            return Done(came=lost, outcome=Outcome.DISCARDED, detail=why)
        if isinstance(effect, effects.EnterRoom):
            later = self._behind()
            if any(isinstance(one, effects.EnterRoom) and one.into == effect.into for one in later):
                return Done(outcome=Outcome.DISCARDED, detail="replaced by a newer invitation")
            _log.info("the bridge may not enter a room", host=effect.host, **about)
            return Done(came=(Came(EntryFailed(why)),), outcome=Outcome.REFUSED, detail=why)
        leaves = isinstance(effect, effects.LeaveRoom | model.AgentsLeft)
        if leaves or self.record.membership is Membership.LEFT:
            return Done(outcome=Outcome.DISCARDED, detail=why)
        _log.error("an effect is a dead letter now; see `dead-letters list`", **about)
        unseen = isinstance(effect, model.Relay) and not (described or self._instead)
        return Done(came=(self._unshown(),) * unseen, outcome=Outcome.DEAD, detail=why)

    def _unshown(self) -> Came:
        """Return the input that has the agent told, once a chat, that the room shows nothing."""
        return Came(NotShown(), f"unshown:{self.record.conversation.number}:{self._room.room_id}")

    def _perform(self, effect: effects.InRoom) -> Awaitable[Done]:
        if isinstance(effect, model.Relay):  # by far the most frequent
            return self._relay(effect)
        match effect:
            case model.Say():
                return self._notify(effect)
            case model.Reported():
                return self._report(effect)
            case model.Card():
                return self._card(effect)
            case model.AskRating():
                return self._ask_rating(effect)
            case effects.ShowAnswer() | model.Offer() | model.CallbackCard():
                return self._offer(effect)
            case effects.PutSigns():
                return self._sign(effect)
            case effects.AskQueue():
                return self._ask_queue(effect)
            case effects.ShowSettings():
                return self._show_settings(effect)
            case model.TakeBack():
                return self._take_back(effect)
            case model.AgentsCame():
                return self._agents_came(effect)
            case effects.EnterRoom():
                return self._enter(effect)
            case effects.LeaveRoom() | model.AgentsLeft():
                return self._leave(effect)
            case effects.RedactAll():
                return self._redact_all(effect)

    def txn_id(self, sender: UserId, part: str = "") -> str:
        """Return the transaction id of one event; `part` tells the row's events apart."""
        row, around = self._row, self._around
        moment = f".{row.created:x}" if row.created >= around.dated else ""
        if sender == self.record.host and row.created < self.record.moved_at:
            moment += ".moved"  # the host's notice in the former room does not count in this one
        return f"{around.instance}.{row.seq}{moment}.{digest_of(sender)}{part}"

    def _behind(self) -> Iterator[effects.StoredEffect | None]:
        """Return the effects that wait for this one."""
        row = self._row
        return (peek(other) for other in self._room.rows(row.lane) if other.seq > row.seq)

    def _about(self, effect: effects.InRoom | None = None) -> dict[str, object]:
        return log_fields(self.record, self._row, effect)

    # --- notices ----------------------------------------------------------------------------

    async def _notify(self, say: model.Say) -> Done:
        behind = (other.key for other in self._behind() if isinstance(other, model.Say))
        if say.key in model.KEPT and not model.KEPT.isdisjoint(behind):
            return Done(outcome=Outcome.DISCARDED, detail="replaced by a newer count")
        return Done(await self._say(say))

    async def _say(self, say: model.Say, *, spoken: bool = False) -> EventId:
        """Send a notice; if it stands for an agent's message (`spoken`), it notifies like one."""
        keys, record = filter(None, (say.key, say.also)), self.record
        thread = thread_in_use(record, self._around.clock.now())
        notice = ports.NoticeText(
            "\n".join(self._sentence(key, say.args) for key in keys),
            reply_to=None if say.unquoted else say.reply_to,
            thread=thread.root if thread is not None and thread.latest == say.reply_to else None,
            ping=say.ping or spoken,
            mentions=rung(record) if say.ping else (),
        )
        return await self._notice(notice)

    async def _report(self, report: model.Reported) -> Done:
        """Reply to an event that was not delivered; a request for verification is declined."""
        if report.key == model.COUNTED:
            return Done(outcome=Outcome.DISCARDED, detail="reported as a count")
        if report.key == ports.CALL:
            return await self._turn_down(report)
        again = can_be_sent_again(report.key)
        also, about = "again.hint" if again else "", report.event_id
        reply = await self._say(model.Say(report.key, report.args, about, report.ping, also=also))
        where, host = self.record.matrix_id, self.record.host
        with suppress(ports.Refused):
            if report.key == "unreadable.verification":
                asked = UserId(str(report.args.get("user", host)))
                await self._matrix.decline(where, asked, report, self.txn_id(asked, ".cancel"))
            elif again and report.key != "undelivered.too_fast":
                txn_id = self.txn_id(host, ".again")
                self._posted[await self._matrix.react(where, host, reply, cards.AGAIN, txn_id)] = ""
        return Done(reply)

    async def _turn_down(self, call: model.Reported) -> Done:
        """Answer a call, by its first event only (`Visit.report`); in a direct chat, decline it."""
        # Not as a reply: Element hides call events, and replies to them.
        sent = None if "told" in call.args else await self._say(model.Say(call.key, ping=call.ping))
        host = self.record.host
        if self.record.direct:  # elsewhere the call may be meant for another member
            with suppress(ports.Refused):
                txn_id = self.txn_id(host, ".cancel")
                await self._matrix.decline(self.record.matrix_id, host, call, txn_id)
        return Done(sent)

    async def _notice(self, notice: ports.Notice, part: str = "") -> EventId:
        where, host = self.record.matrix_id, self.record.host
        event_id = await self._matrix.say(where, host, notice, self.txn_id(host, part))
        self._posted[event_id] = ""
        return event_id

    async def _poll(self, poll: ports.Poll, part: str) -> EventId | None:
        """Send a poll; None if it has too many answers, or the room refuses polls."""
        if len(poll.answers) > ports.MOST_ANSWERS:
            return None
        try:
            return await self._notice(poll, part)
        except ports.Refused as error:
            _log.info("poll refused", **self._about(), why=error.code)
            return None

    async def _card(self, card: model.Card) -> Done:
        """Post or edit this chat's card; no edit is made if a newer version waits in the lane.

        A repeat after a crash returns the first's id. A card that notifies the customer is a new
        message, and the former one says that it is over; also new is one that is `anew`, or whose
        former version was redacted or purged.
        """
        anchor = self.record.anchored(f"card:{card.number}")
        earlier = await self._room.anchor(anchor)
        edits = earlier is not None and not (card.ping or card.anew)
        behind = (other for other in self._behind() if isinstance(other, model.Card))
        newer = next((other for other in behind if other.number == card.number), None)
        if edits and newer is not None and not newer.anew:
            return Done(outcome=Outcome.DISCARDED, detail="replaced by a newer card")
        if card.ping and earlier is not None:
            with ports.Despite(UNKNOWN):
                over = ports.EditableNotice(self._sentence("queue.over", {}), earlier)
                await self._notice(over, ".over")
        removed = any(shown.event_id == earlier and shown.removed for shown in self.record.cards)
        edited = earlier if edits and not removed else None
        mentions = rung(self.record) if card.ping else ()
        notice = ports.EditableNotice(self._shown(card), edited, mentions)
        event_id = None
        with ports.Despite(UNKNOWN if edited else ""):
            event_id = await self._notice(notice)
        if event_id is None:  # purged by the homeserver's retention or administrator
            edited, event_id = None, await self._notice(replace(notice, edits=None), ".anew")
        posted = cards.request_card(card, edited or event_id, CardKind.QUEUE)
        came = () if posted.card in self.record.cards else (Came(posted),)
        return Done(event_id, None if edited else anchor, came)

    def _shown(self, card: model.Card) -> str:
        """Return the card's text, at most two lines; in the queue, the second tells the wait."""
        language, args = self._around.rules.language_for(self.record), card.args
        space = " " if language == "en" else ""
        first = (self._sentence(key, args) for key in (card.key, *card.more))
        below = space.join(self._sentence(key, args) for key in card.below)
        phase, around = self.record.conversation.phase, self._around
        if card.key in cards.WAITING and isinstance(phase, model.Queued):
            now = around.clock.now()
            below = cards.second_line(around.rules.texts, language, phase, around.waits, now)
        return "\n".join(filter(None, (space.join(first), below)))

    def _sentence(self, key: str, args: model.Args) -> str:
        rules, key = self._around.rules, cards.FORMER.get(key, key)
        # An effect stored by an earlier version may lack placeholders of today's sentences.
        command = f"{rules.prefix} {args.get('near', key.rpartition('.')[2])}"
        missing = {"commands": command, "command": command}
        missing |= dict.fromkeys(("rating", "link", "left", "now"), "…") | {"more": ""}
        queue_id = rules.queue_for(self.record)
        known = {"prefix": rules.prefix, "queue": queue_id, **missing, **args}
        language = rules.language_for(self.record)
        queue, opens, rating = known.get("queue"), known.get("opens"), known.get("rating")
        if isinstance(wait := known.get("wait"), int):
            known["wait"] = waiting_range(language, 0, wait)
        if isinstance(way := known.get("way"), str):
            known["way"] = rules.word(language, f"way.{way}")
        if isinstance(rating, int):
            ratings = self.record.conversation.ratings
            known["rating"] = cards.rating_label(rules, language, ratings, rating)
        if isinstance(queue, int):
            if key.startswith("chat.ended") and rules.queue(queue) is None:
                queue = queue_id  # an agent has transferred the chat to a queue without a name here
            known["queue"] = rules.queue_name(queue)
            if isinstance(opens, int):
                now = self._around.clock.now()
                zone = rules.zone_of(queue, self.record.settings)
                known["opens"] = clock_time(language, opens, zone, now_ms=now)
        return rules.sentence(self.record, key, known)

    # --- notices answered by a reaction or a vote --------------------------------------------

    async def _offer(self, offer: effects.ShowAnswer | model.Offer | model.CallbackCard) -> Done:
        about = offer.event_id if isinstance(offer, effects.ShowAnswer) else None
        event_id = await self._say(model.Say(offer.key, offer.args, reply_to=about))
        card = cards.card_of(offer, event_id, self.record.conversation.number)
        return Done(event_id, came=(Came(card),))

    async def _ask_rating(self, ask: model.AskRating) -> Done:
        """Send a poll with a text fallback for other clients; if polls are refused, text alone."""
        rules, record = self._around.rules, self.record
        options = cards.rating_options(rules, rules.language_for(record), ask.ratings)
        args: model.Args = {"options": cards.option_lines(options), "best": next(iter(options))}
        text = self._sentence("rating.ask", args)
        answers = tuple((str(number), label) for number, label in options.items())
        poll = ports.Poll(self._sentence("rating.question", {}), answers, text)
        event_id = await self._poll(poll, ".poll") or await self._notice(ports.NoticeText(text))
        card = OurCard(event_id, CardKind.RATING, ask.session_id, choices=tuple(options))
        return Done(event_id, came=(Came(CardPosted(card)),))

    async def _sign(self, wish: effects.PutSigns) -> Done:
        """Add and remove reactions on a notice; its text names the same choices in words."""
        host, where, done = self.record.host, self.record.matrix_id, Done()
        for number, sign in enumerate((*wish.signs, *wish.gone)):
            sign_id = self.txn_id(host, f".{number}")
            anchor = self.record.anchored(f"{sign}:{wish.event_id}")
            try:
                if sign in wish.signs:
                    posted = await self._matrix.react(where, host, wish.event_id, sign, sign_id)
                    done.event_id, self._posted[posted] = posted, ""
                    done.anchor = anchor if sign in {cards.BELL, cards.CROSS} else None
                elif (known := await self._room.anchor(anchor)) is not None:
                    await self._matrix.redact(where, host, known, sign_id)
            except ports.Refused as error:
                _log.info("reaction refused", **self._about(), why=error.code)
        return done

    async def _ask_queue(self, ask: effects.AskQueue) -> Done:
        """Offer the queues as a poll with a text fallback for clients without polls, or as text."""
        record, rules = self.record, self._around.rules.of_room(self.record.settings)
        hours = (rules.hours_of(queue.id, record.settings) for queue in rules.queues)
        answers = tuple(
            (str(queue.id), f"{queue.name} · {open_at}" if open_at else queue.name)
            for queue, open_at in zip(rules.queues, hours, strict=True)
        )
        args: model.Args = {
            "queue": rules.queue_name(rules.queue_for(record)),
            "list": "\n".join(f"{number} — {name}" for number, name in answers),
        }
        text = self._sentence("command.queue_offer", args)
        poll = ports.Poll(self._sentence("command.queue_question", args), answers, text)
        event_id = None if ask.in_words else await self._poll(poll, "")
        if event_id is None:
            event_id = await self._notice(ports.NoticeText(text, reply_to=ask.event_id or None))
        card = OurCard(event_id, CardKind.QUEUES, choices=tuple(queue.id for queue in rules.queues))
        return Done(event_id, came=(Came(CardPosted(card)),))

    async def _show_settings(self, effect: effects.ShowSettings) -> Done:
        """Write the current settings to the state event, if it differs.

        If the host may not, the room is told so once: by the change that made it differ.
        """
        record, matrix, parsed = self.record, self._matrix, None
        differs: tuple[Came, ...] = ()
        try:
            shown = await matrix.configuration(record.matrix_id, record.host)
            with suppress(BadOrder):
                parsed = settings_of_event(shown or {}, self._around.rules)
            if parsed != record.settings:
                if shown is not None and parsed == effect.former:
                    differs = (Came(LookedUp(EventId(""), "config.state_differs")),)
                await matrix.configure(record.matrix_id, record.host, state_of(record.settings))
        except ports.Refused as error:
            return Done(came=differs, outcome=Outcome.REFUSED, detail=error.code)
        return Done()

    # --- coming and going ---------------------------------------------------------------------

    async def _enter(self, effect: effects.EnterRoom) -> Done:
        where, host = effect.into or self.record.matrix_id, effect.host
        async with self._room.answering(effect.inviter, host, joins=True):
            entry = await self._matrix.enter(where, host, effect.inviter, encrypt=effect.encrypt)
        earlier = [
            Came(MatrixEvent(raw), event_id)
            for raw in entry.earlier
            if isinstance(event_id := raw.get("event_id"), str)
        ]
        order = tuple(EventId(came.key) for came in earlier if came.key is not None)
        return Done(came=(*earlier, Came(replace(entry.found, order=order))))

    async def _leave(self, order: effects.LeaveRoom | model.AgentsLeft) -> Done:
        """Leave the room; not being a member is no error.

        A host that is invited again has left: only this answer was lost, or it was removed.
        """
        if isinstance(order, model.AgentsLeft):
            ghosts = map(self._matrix.ghost_of, map(frames.Agent, order.agents))
            order = effects.LeaveRoom(tuple(ghosts))
        log = _log.bind(room=self._room.room_id)
        async with AsyncExitStack() as answer:
            if order.why:
                log.info("invitation refused", inviter=order.inviter, why=order.why)
                turn = self._room.answering(order.inviter, order.users[0])
                await answer.enter_async_context(turn)
            users, where = order.users, order.former or self.record.matrix_id
            if order.former is not None:
                chats = self.record.chats
                agents = (frames.Agent(agent.id) for chat in chats for agent in chat.agents)
                users += tuple(map(self._matrix.ghost_of, agents))
            coming = (one for one in self._behind() if isinstance(one, effects.EnterRoom))
            invited = {one.host for one in coming if (one.into or self.record.matrix_id) == where}
            for user in (one for one in users if one not in invited):
                try:
                    await self._matrix.leave(where, user, order.reason)
                except ports.Refused as error:
                    log.debug("leave refused", why=error.code)
        return Done()

    async def _redact_all(self, order: effects.RedactAll) -> Done:
        around, record, written = self._around, self.record, self._room.written
        return Done(detail=await redact_all(around, record, order.theirs, self._redact, written))

    async def _agents_came(self, came: model.AgentsCame) -> Done:
        """Join the ghosts to the room; for those refused the host speaks (`MatrixPort.relay`)."""
        if self.record.direct:
            # Before they join, so that no client counts three members even for a moment.
            ghosts = tuple(map(self._matrix.ghost_of, came.agents))
            await self._matrix.name_service_members(self.record.matrix_id, self.record.host, ghosts)
        barred, key = dict[str, str](), "agents.unserved"
        for agent in came.agents:
            try:
                await self._welcome(agent, came.queue_id)
            except ports.Refused as refusal:
                barred[agent.name or agent.id] = str(refusal)
                key = "agents.outside" if refusal.by_room else key
        about = f"outside:{self.record.conversation.number}:{', '.join(barred)}"
        done, anchor = Done(), self.record.anchored(about)
        if barred and await self._room.anchor(anchor) is None:  # once a chat
            _log.info("agents may not enter a room", **self._about(came), why=[*barred.values()])
            done = Done(await self._say(model.Say(key, {"names": (*barred,)})), anchor)
        done.detail = "agents may not enter the room" if barred else ""
        await self._around.show_bridge(self.record)  # may be missing, or the queue renamed
        return done

    async def _welcome(self, agent: frames.Agent, queue_id: QueueId | None) -> None:
        """Join the ghost to the room; without a picture if there is none (reference 3.9)."""
        matrix, link, host, icon = self._matrix, self._around.link, self.record.host, None
        source = link.icon_url(agent.icon, queue_id) if agent.icon else ""
        async with AsyncExitStack() as opened:
            if source and not await matrix.icon_known(agent, source):
                try:
                    icon = await opened.enter_async_context(link.fetch(source, ICON_LIMIT))
                except (ports.TooBig, ports.Unavailable, ports.Refused) as error:
                    text = "no picture for an agent"
                    _log.info(text, **log_fields(self.record), agent=agent.id, why=str(error))
            await matrix.welcome_agent(self.record.matrix_id, host, agent, icon, source)

    # --- agents' messages -----------------------------------------------------------------------

    async def _relay(self, relay: model.Relay) -> Done:
        """Send a message as the agent's ghost, or a notice that it is hidden or not supported."""
        if hides(self._around.rules, self.record):
            name = relay.agent.name or relay.agent.id
            say = model.Say("encrypting.not_shown", {"name": name}, ping=relay.ping)
            return Done(await self._say(say, spoken=True), detail="the room is not encrypted")
        recalled = None if relay.posted is None else recall_anchor(relay.message_id)
        if recalled is not None and await self._room.anchor(recalled) is not None:
            return Done(outcome=Outcome.DISCARDED, detail="recalled before the history was shown")
        ghost = self._matrix.ghost_of(relay.agent)
        txn_id, content = self.txn_id(ghost), relay.content
        parts: tuple[ports.Part, ...] = ()
        if isinstance(content, frames.AgentText):
            parts = await self._text(relay, content, txn_id)
        elif isinstance(content, frames.AgentLocation):
            of = content.map if content.map.strip() else self._around.rules.policy.map
            parts = await self._send(relay, replace(content, map=of), txn_id)
        elif isinstance(content, frames.AgentMedia):
            parts = await self._media(relay, content, txn_id)
        # Any other content is described in a notice.
        self._room.typist.agent_spoke(ghost)
        if parts:
            first = parts[0].event_id
            proposed = (Came(cards.proposals_card(relay, first)),) if relay.choices else ()
            return Done(first, came=proposed)
        return Done(await self._describe(relay), detail="shown as a notice")

    async def _take_back(self, taken: model.TakeBack) -> Done:
        """Redact a message that the agent recalled, once; or say so in a notice.

        The message may be unknown, or stand in the room before an upgrade, which the bridge left.
        """
        anchor = recall_anchor(taken.message_id)
        known = None if anchor is None else await self._room.anchor(anchor)
        await self._room.written()  # the event ids of the agent's messages
        taken = replace(taken, message_id="" if anchor is None else taken.message_id)
        events = await said_by_agent(self._around, self.record, self._row.seq, taken)
        if known is not None and (known in events or not events):
            return Done(outcome=Outcome.DISCARDED, detail="already recalled")
        try:
            for event_id in events:
                try:
                    await self._redact(self._matrix.ghost_of(taken.agent), event_id)
                except ports.Refused:
                    await self._redact(self.record.host, event_id)
            if events:
                return Done(events[0], anchor)
        except ports.Refused as error:
            _log.info("a recalled message could not be redacted", **self._about(), why=error.code)
            if known is not None:
                return Done(outcome=Outcome.DISCARDED, detail="already reported")
        return Done(await self._say(model.Say("chat.recalled")), anchor)

    async def _redact(self, user: UserId, event_id: EventId) -> None:
        where, txn_id = self.record.matrix_id, self.txn_id(user, f".{event_id}")
        await self._matrix.redact(where, user, event_id, txn_id)

    async def _describe(self, relay: model.Relay) -> EventId:
        key, content = "chat.unshown", relay.content
        args: model.Args = {"agent": relay.agent.name or relay.agent.id}
        if isinstance(content, frames.AgentMedia):
            key, args["name"] = self._no_media, content.name or content.kind
        elif isinstance(content, frames.UnknownContent) and content.message_type is not None:
            key, args["type"] = "chat.unknown", content.message_type
        return await self._say(model.Say(key, args, ping=relay.ping), spoken=True)

    async def _send(
        self, relay: model.Relay, what: ports.Relayed, txn_id: str
    ) -> tuple[ports.Part, ...]:
        record = self.record
        thread, where = thread_in_use(record, self._around.clock.now()), record.matrix_id
        mentions, host = rung(record) if relay.ping else (), record.host
        parts = await self._matrix.relay(
            where, host, relay.agent, what, txn_id, thread=thread, mentions=mentions
        )
        for part in parts:
            self._posted[part.event_id] = part.text
        return parts

    async def _text(
        self, relay: model.Relay, text: frames.AgentText, txn_id: str
    ) -> tuple[ports.Part, ...]:
        """Send a text and the pictures in it, in order, as one event or several."""
        parts: list[ports.Part] = []
        if len(text.html) > LONG_TEXT:
            run = asyncio.get_running_loop().run_in_executor
            pieces = await run(self._around.conversions, self._pieces, relay, text)
        else:
            pieces = self._pieces(relay, text)
        for number, piece in enumerate(pieces):
            piece_id = f"{txn_id}.p{number}" if number else txn_id
            if isinstance(piece, frames.AgentMedia):
                sent = await self._media(relay, piece, piece_id)
                parts += sent or await self._send(relay, link_to(piece), piece_id)
            else:
                parts += await self._send(relay, piece, piece_id)
            relay = replace(relay, ping=False)
        return tuple(parts)

    def _pieces(
        self, relay: model.Relay, text: frames.AgentText
    ) -> Sequence[frames.AgentText | frames.AgentMedia]:
        return self._matrix.pieces(self._dated_text(relay, text.html), self._around.link.absolute)

    def _dated_text(self, relay: model.Relay, fragment: str) -> str:
        """Return the HTML, with the time of writing before a message that came late."""
        if relay.posted is None:
            return fragment
        rules, now = self._around.rules, self._around.clock.now()
        language = rules.language_for(self.record)
        if relay.posted:
            time = clock_time(language, relay.posted, rules.timezone, now_ms=now)
            sentence = self._sentence("outage.late", {"time": time})
        else:
            sentence = self._sentence("outage.late_some_time", {})
        # Decode emoji before looking for markup: eleven of the desk's emoji codes look like it.
        return f"{html.escape(sentence, quote=False)}<br>{as_markup(decode_emoji(fragment))}"

    async def _media(
        self, relay: model.Relay, media: frames.AgentMedia, txn_id: str
    ) -> tuple[ports.Part, ...]:
        """Send a file; return () if it cannot be fetched or exceeds the homeserver's limit."""
        began, why = self._around.clock.now(), ""
        link, limit = self._around.link, self._around.rules.limits.file
        for attempt in range(FETCH_TRIES):
            if attempt:
                await self._room.pause(2 ** (attempt - 1))
                if self._around.clock.now() - began > FETCH_WITHIN:
                    break
            try:
                async with AsyncExitStack() as opened:
                    found = await opened_file(link, media, limit, opened)
                    if isinstance(found, str):
                        why = found
                        break
                    what = ports.RelayedMedia(media.kind, found, media.seconds)
                    return await self._send(relay, what, txn_id)
            except ports.BrokenOff as error:
                why = str(error)
            except ports.NotStored as error:
                if not await self._answers_otherwise():
                    raise
                why = str(error)
                break
            except (ports.TooBig, ports.Refused) as error:
                if isinstance(error, ports.Refused) and error.code != "M_TOO_LARGE":
                    self._no_media = "chat.unshown"  # to fetch it again would not help
                    raise
                text = "an agent's file is too large for the homeserver or limits.file"
                _log.warning(text, **log_fields(self.record), why=str(error))
                self._no_media = "chat.media_too_big"
                return ()
        _log.info("an agent's file cannot be fetched", **log_fields(self.record), why=why)
        return ()

    async def _answers_otherwise(self) -> bool:
        """True if the homeserver has answered other requests for `STORE_WITHIN`, but not this."""
        now = self._around.clock.now()
        try:
            with suppress(ports.Refused):  # an answer
                await self._matrix.is_replaced(self.record.matrix_id, self.record.host)
        except ports.Unavailable:
            self._answering_since = None
            return False
        self._answering_since = self._answering_since or now
        return now - self._answering_since >= STORE_WITHIN
