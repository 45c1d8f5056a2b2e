"""Random walks through the state machine: no customer's message disappears silently.

The walk plays a customer, a server and a link that may do anything at any moment: right, wrong and
unsolicited replies, pushes for this session and for others, cuts and long silences. After each
step `Witness` checks the invariants. The number of steps comes from WALK_STEPS (default: enough
for CI); the seed is the number of the test.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import msgspec
import pytest

from bridge.config.hours import parse_hours
from bridge.conversation.chat import unhappy
from bridge.conversation.machine import deadline, is_plain_success, no_deadline_but_retry, step
from bridge.conversation.model import (
    CallBack,
    CallFailed,
    Cancel,
    Chatting,
    Clip,
    Close,
    Consulted,
    Conversation,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
    Delivered,
    Effect,
    Human,
    Idle,
    Input,
    LinkLost,
    LinkRestored,
    Moved,
    Pending,
    Pushed,
    Queued,
    Rate,
    Recalled,
    Replied,
    Resumed,
    Said,
    Solved,
    Start,
    Tick,
    TurnAwaited,
    Upload,
    Uploaded,
    Withdrawn,
)
from bridge.conversation.queue import callback_wanted
from bridge.conversation.turn import Policy, all_pieces, unique_events
from bridge.ids import AgentId, CallId, EventId, QueueId, RequestId, SessionId
from bridge.webchat.codes import (
    FailureReason,
    FrameType,
    RequestStatus,
    ResultCode,
    RobotUse,
    Silence,
)
from bridge.webchat.frames import (
    Agent,
    AgentNotice,
    AgentsUpdated,
    AgentText,
    ChatStarted,
    InitConfig,
    MessageReceived,
    Push,
    QueueStatus,
    RatingPushed,
    Reply,
    RobotMessage,
    SessionClosed,
)
from bridge.webchat.http import HistoryEntry
from tests.unit.conversation.witness import ROBOT_NOTE, Witness

STEPS = int(os.environ.get("WALK_STEPS", "200000"))
WALKS = 40


MORNINGS = parse_hours("daily 09:00-12:00 UTC")


class Walk:
    """One random walk: the state and the random generator."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - chance that can be repeated
        self.policy = Policy(
            start_on_message=self.random.random() < 0.8,
            to_agent=self.random.choice(["", "K00017"]),
            max_held=self.random.choice([3, 20, 200]),
            max_text_bytes=self.random.choice([40, 7000]),
            robot=self.random.choice([RobotUse.OFF, RobotUse.FIRST, RobotUse.WHEN_NO_AGENT]),
            hours=self.random.choice([{}, {QueueId(1): MORNINGS}]),
            paused=self.random.random() < 0.1,
        )
        self.state = Conversation()
        self.now = 1_000_000
        self.said = 0
        self.taken = 0
        self.wordings: dict[EventId, list[EventId]] = {}
        self.roots: dict[EventId, EventId] = {}
        self.witness = Witness()
        # Some servers chatter, others mostly do as they are told.
        chatter, faults = self.random.choice([(14, 0.25), (6, 0.1), (3, 0.03)])
        self.faults = faults
        self.kinds: list[tuple[int, Callable[[], Input]]] = [
            (12, self._said),
            (2, self._said_again),
            (2, self._replied),
            (2, self._corrected),
            (4, self._replaced),
            (2, self._withdrawn),
            (1, lambda: Start(self.random.choice([None, QueueId(2)]))),
            (1, Cancel),
            (1, Close),
            (1, Human),
            (2, CallBack),
            (1, Pending),
            (1, lambda: Solved(self.random.choice([None, *self._questions()]))),
            (6, self._consulted),
            (3, self._rated),
            (chatter, self._push),
            (2, self._queue_news),
            (30, self._answer),
            (3, LinkRestored),
            (1, Resumed),
            (1, Moved),
            (1, LinkLost),
            (2, lambda: TurnAwaited(self.random.randrange(120))),
            (3, self._recalled),
            (6, self._tick),
        ]

    def take(self, happened: Input) -> None:
        before = self.state
        self.state, effects = step(self.state, happened, self.now, self.policy)
        try:
            self.witness.watch(before, happened, effects, self.state)
            self._check_waiting(happened)
            self._check_flags()
            if isinstance(happened, Replied) and is_plain_success(before, happened):
                self._check_plain_success(before, effects)
        except AssertionError as error:
            raise AssertionError(
                f"{error}\ninput {happened!r}\neffects {effects!r}"[:2000]
                + f"\nbefore {before!r}"[:4000]
                + f"\nafter {self.state!r}"[:4000]
            ) from error

    def _check_waiting(self, happened: Input) -> None:
        """Whatever waits has a call under way or a deadline, and no deadline repeats itself."""
        state = self.state
        if no_deadline_but_retry(state):
            assert deadline(state, self.policy) == state.retry_at
        if isinstance(happened, Tick):
            due = deadline(state, self.policy)
            assert due is None or due > self.now, "a deadline that has passed stands"
        if state.outstanding is not None:
            return
        waits = bool(state.held) or state.rating is not None or callback_wanted(state)
        if waits or type(state.phase).__name__ in {"Requesting", "Queued"}:
            assert deadline(state, self.policy) is not None, "waits for ever"

    def _check_flags(self) -> None:
        """The states that do not exist, as `Conversation` and `Chatting` say."""
        phase = self.state.phase
        assert (self.state.trouble_since is None) is (self.state.failures == 0)
        assert self.state.outstanding is None or self.state.retry_at is None
        if isinstance(phase, Chatting):
            assert phase.close or not phase.unwanted
            assert phase.robot or not (phase.human or phase.seeking)

    def _check_plain_success(self, before: Conversation, effects: tuple[Effect, ...]) -> None:
        """A plain success clears the call, and delivers the event with its last piece."""
        asked = before.outstanding
        assert asked is not None
        assert asked.held is not None
        assert self.state == msgspec.structs.replace(before, outstanding=None)
        assert effects == ((Delivered(asked.held.event_id),) if asked.held.last else ())

    # --- what may happen ------------------------------------------------------------------

    def any_input(self) -> Input:
        weights = [weight for weight, _ in self.kinds]
        _, make = self.random.choices(self.kinds, weights)[0]
        return make()

    def _said(self) -> Said:
        self.said += 1
        event_id = EventId(f"$e{self.said}")
        if self.random.random() < 0.25:
            kind = self.random.choice(["image", "file", "video", "audio", "voice", "place"])
            if kind == "place":
                return Said(event_id, CustomerLocation(31.2, 121.5, "here"))
            caption = self.random.choice(["", "look"])
            media = CustomerMedia(kind, "a.png", f"mxc://h/{self.said}", caption=caption)
            return Said(event_id, media)
        text = self.random.choice([self._words(self.random.choice([1, 30, 150])), " ", "\n"])
        return Said(event_id, CustomerText(text), self.random.choice(["", "2", "raw"]))

    def _words(self, times: int = 1) -> str:
        """A text that no other event contains, to recognise it anywhere."""
        self.witness.words[EventId(f"$e{self.said}")] = f"w{self.said}w"
        return " ".join(f"好 w{self.said}w" for _ in range(times))

    def _replied(self) -> Said:
        """A reply or a reaction that quotes its target."""
        target = self._some_event()
        quoted = self.witness.words.get(target)
        if quoted is None or target in self.witness.taken_back:
            return self._said()
        self.said += 1
        event_id = EventId(f"$e{self.said}")
        if self.random.random() < 0.3:
            return Said(event_id, CustomerText(f"👍 ({quoted})"), quotes=(target,))
        own = self._words(self.random.choice([1, 30]))
        text = f"re {quoted}:\n{own}"
        if self.random.random() < 0.3:
            media = CustomerMedia("file", "a.zip", f"mxc://h/{self.said}", caption=text)
            bare = msgspec.structs.replace(media, caption=own)
            return Said(event_id, media, quotes=(target,), instead=bare)
        return Said(event_id, CustomerText(text), own, quotes=(target,), instead=CustomerText(own))

    def _corrected(self) -> Said:
        """A correction of a message that the agent may have; it quotes the former wording."""
        target = self._some_event()
        former = self.witness.words.get(target)
        gone = target in self.witness.taken_back
        if former is None or gone or not self.witness.may_be_known(target, self.state):
            return self._said()
        self.said += 1
        event_id = EventId(f"$e{self.said}")
        new = self._words(self.random.choice([1, 30]))
        root = self.roots.get(target, target)
        self.roots[event_id] = root
        self.wordings.setdefault(root, []).append(event_id)
        text = CustomerText(f"{former} → {new}")
        return Said(event_id, text, amends=target, instead=CustomerText(new))

    def _replaced(self) -> Said:
        """A correction of a waiting message that no agent has, in its place."""
        held = self.state.held
        begun = {one.event_id for one in all_pieces(self.state) if one not in held}
        begun |= {one.event_id for one in held if one.asked is not None or one.amends is not None}
        events = [one for one in unique_events(held) if one not in begun]
        if not events:
            return self._said()
        return msgspec.structs.replace(self._said(), replaces=(self.random.choice(events),))

    def _questions(self) -> list[EventId]:
        return [one.event_id for one in self.state.questions]

    def _consulted(self) -> Consulted:
        event_id = self.random.choice([*self._questions(), EventId("$none")])
        note = self.random.choice(["", ROBOT_NOTE])
        return Consulted(event_id, note, self.random.choice(list(Silence)))

    def _said_again(self) -> Said:
        """One of the events that did not arrive and are not under way, if there is one."""
        under_way = {piece.event_id for piece in all_pieces(self.state)}
        events = sorted(self.witness.reported - under_way)
        if not events:
            return self._said()
        return Said(EventId(self.random.choice(events)), CustomerText("once more"))

    def _rated(self) -> Rate:
        """A rating, or the comment on a bad one."""
        wanted = unhappy(self.state, self.now)
        if wanted is not None and wanted.asked is not None and self.random.random() < 0.7:
            self.said += 1
            return Rate(wanted.asked, self._words(), wanted.session_id, EventId(f"$e{self.said}"))
        value = self.random.randrange(-1, 6)
        return Rate(value, self.random.choice(["", "", "x"]), more=value < 3)

    def _some_event(self) -> EventId:
        """An event under way, or one of the newest."""
        events = [piece.event_id for piece in all_pieces(self.state)]
        if self.state.rating is not None and self.state.rating.event_id is not None:
            events.append(self.state.rating.event_id)
        newest = EventId(f"$e{self.random.randint(max(0, self.said - 9), self.said)}")
        return self.random.choice([newest, *events])

    def _withdrawn(self) -> Withdrawn:
        """The redaction of an event with its corrections, told to an agent who may know it."""
        event_id = self._some_event()
        self.taken += 1
        known = self.witness.may_be_known(event_id, self.state)
        return Withdrawn(
            event_id,
            tuple(self.wordings.get(event_id, ())),
            by=EventId(f"$back{self.taken}"),
            note=f"(back {event_id})" if known else "",
        )

    def _session(self) -> SessionId:
        known = self.state.last_session
        return SessionId(self.random.choice([known or 5150, 5150, 5151, 5152]))

    def _rarely(self) -> bool:
        return self.random.random() < 0.1

    def _request(self) -> RequestId | None:
        return self.random.choice([self._own_request(), None, RequestId(9001), RequestId(9002)])

    def _own_request(self) -> RequestId | None:
        """The current request, or the one refused lately."""
        phase = self.state.phase
        place = phase.refused if isinstance(phase, Idle) else phase
        return place.request_id if isinstance(place, Queued) else None

    def _queue_news(self) -> Pushed:
        """News of the own request: mostly waiting, refused or dropped."""
        status = self.random.choice([0, 1, RequestStatus.REFUSED, RequestStatus.DROPPED])
        return Pushed(QueueStatus(self._own_request(), status, self.random.choice([None, 0, 2])))

    def _agents(self) -> tuple[Agent, ...]:
        ids = self.random.sample(["A", "B", "C"], self.random.randrange(4))
        return tuple(Agent(AgentId(i), self.random.choice(["Mei", "Jun"])) for i in ids)

    def _push(self) -> Pushed:
        agent = AgentId(self.random.choice(["A", "B", "Z", ""]))
        notice = self.random.choice([0, 1, 2, 3, 5, 99, 120])
        status = self.random.choice([*RequestStatus, 0, 0, 0, 42])
        options: list[Push] = [
            QueueStatus(self._request(), status, self.random.choice([None, 0, 1, 3])),
            ChatStarted(self._session(), self._agents(), robot=self._rarely()),
            ChatStarted(self._session(), self._agents(), continued=True),
            RatingPushed(self._session(), agent),
            AgentsUpdated(self._session(), self._agents(), self.random.choice([None, QueueId(3)])),
            SessionClosed(self._session(), agent),
            MessageReceived(self._session(), agent, AgentText("hi")),
            MessageReceived(self._session(), agent, AgentNotice(notice, "note")),
            InitConfig(self.random.choice([(), ("png", "zip"), ("zip",)]), ((5, "good"),)),
            RobotMessage(None, None, "hm", ("more", "less"), transfer=self.random.random() < 0.3),
            RobotMessage(self._session(), 3, self.random.choice(["", "<b>hm</b>"])),
        ]
        return Pushed(self.random.choice(options))

    def _answer(self) -> Input:
        outstanding = self.state.outstanding
        if outstanding is None:
            return Replied(CallId(self.random.randrange(5)), Reply(FrameType.SEND_MESSAGE, 1))
        call_id = outstanding.call_id
        if self.random.random() < self.faults:
            reason = self.random.choice(list(FailureReason))
            certain = reason not in {FailureReason.NO_ANSWER, FailureReason.SILENT}
            code = self.random.choice([None, *ResultCode])
            return CallFailed(call_id, reason, certain=certain, code=code)
        if isinstance(outstanding.what, Upload):
            if outstanding.what.media.kind == "voice" and self.random.random() < 0.7:
                long = self.random.random() < 0.3
                address, data = ("http://h/webchat/a.amr", "") if long else ("", "IyFBTVIK")
                return Uploaded(call_id, address, clip=Clip(3, data))
            return Uploaded(call_id, "http://h/webchat/a.png", self.random.choice([0, 10]))
        code = (
            self.random.choice([*ResultCode, 77]) if self.random.random() < 2 * self.faults else 1
        )
        return Replied(
            call_id,
            Reply(
                FrameType.SEND_MESSAGE,
                code,
                request_id=self._request() if self.random.random() < 0.5 else None,
                queue_length=self.random.choice([None, 0, 2]),
                session_id=self._session() if self.random.random() < 0.2 else None,
                agents=self._agents(),
                permanent=self._rarely(),
                continued=self._rarely(),
                robot_type=self.random.choice([None, None, None, 3]),
                message=self.random.choice(["", "ok", "back at nine"]),
            ),
        )

    def _recalled(self) -> Recalled:
        """Some history, asked for or not."""
        entries = tuple(
            HistoryEntry(
                str(self.random.choice(["", number])),
                AgentId(self.random.choice(["A", "B", "Z", ""])),
                "Mei",
                self.random.choice([0, 1, 2, 2, 2]),
                self.random.choice(["hi", "ho"]),
                self.random.choice([0, self.now, self.now - 50, self.now - 500_000]),
                revoked=self.random.random() < 0.1,
            )
            for number in range(self.random.randrange(4))
        )
        failed = self.random.random() < 0.3
        since = self.now - self.random.randrange(1000)
        return Recalled(self._session(), since, entries, failed=failed)

    def _tick(self) -> Tick:
        due = deadline(self.state, self.policy)
        if due is not None and self.random.random() < 0.7:
            self.now = max(self.now, due)
        else:
            self.now += self.random.choice([0, 1000, 60_000, 3_600_000])
        return Tick()

    # --- the end of every walk --------------------------------------------------------------

    def run_down(self) -> None:
        """Let every call fail: every wait must still end."""
        for _ in range(2000):
            outstanding = self.state.outstanding
            if outstanding is not None:
                failed = CallFailed(outstanding.call_id, FailureReason.UNREACHABLE, certain=True)
                self.now += 1000
                self.take(failed)
                continue
            due = deadline(self.state, self.policy)
            if due is None:
                break
            self.now = max(self.now, due)
            self.take(Tick())
        assert not all_pieces(self.state), self.state
        assert not callback_wanted(self.state), self.state
        assert not self.witness.unsettled


@pytest.mark.parametrize("number", range(WALKS))
def test_no_customers_message_disappears_silently(number: int) -> None:
    walk = Walk(seed=number)
    for _ in range(STEPS // WALKS):
        walk.now += walk.random.randrange(50)
        walk.take(walk.any_input())
    walk.run_down()


def test_every_state_survives_storage() -> None:
    walk = Walk(seed=4711)
    for _ in range(3000):
        walk.take(walk.any_input())
        stored = msgspec.json.encode(walk.state)
        assert msgspec.json.decode(stored, type=Conversation) == walk.state
