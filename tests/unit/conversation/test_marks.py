"""Marks of shown messages are compared with a history: what only the history has is shown.

If the history lacks what was shown, it may lack more: the customer is told.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest

from bridge.conversation import history
from bridge.conversation.history import (
    FIRST_PAUSE,
    MOST_HEARD,
    MOST_RECALLED,
    UNSURE_AGAIN,
    Mark,
    mark_of,
    shown_lately,
)
from bridge.conversation.model import (
    Conversation,
    Input,
    LinkLost,
    LinkRestored,
    Pushed,
    Recalled,
    Resumed,
    Say,
)
from bridge.ids import AgentId, RequestId, SessionId
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import AgentText, MessageReceived, QueueStatus
from bridge.webchat.http import HistoryEntry
from tests.support.scene import JUN, MEI, REQUEST, SESSION
from tests.unit.conversation.centre import AGENT, Centre, after_an_outage, chat, entry


def told_unsure(centre: Centre) -> int:
    return sum(isinstance(one, Say) and one.key == "outage.unsure" for one in centre.effects)


@pytest.mark.parametrize(
    ("missed", "pushed"),
    [
        ("look <img src='/a.png'>", "look <img src='/b.png'>"),
        ("<img src='/a.png'>", "<img src='/b.png'>"),
        ("[urgent] call me", "[done]"),
    ],
)
def test_messages_with_equal_marks_may_differ(missed: str, pushed: str) -> None:
    centre = after_an_outage(missed)
    centre.now += 1_000
    centre.said(pushed)
    centre.tell()
    assert centre.words == ["hello", pushed, missed]


@pytest.mark.parametrize("numbered", [True, False])
def test_a_text_like_a_placeholder_is_shown_beside_a_file(numbered: bool) -> None:
    """The history has both, and one was pushed; better one too many than one too few."""
    centre = after_an_outage("[urgent] call me")
    centre.now += 1_000
    centre.pushed_file("/a.pdf")
    centre.entries.append(entry(3, "[file]", centre.now))
    for expected in ([], ["[file]"], ["[file]", "[file]"]):
        if not numbered:
            centre.entries = [msgspec.structs.replace(one, id="") for one in centre.entries]
        centre.tell()
        assert centre.words == ["hello", "[urgent] call me", "[file]", *expected]
        centre.now += 30_000
        centre.entries.append(entry(len(centre.entries) + 1, "[file]", centre.now))
        centre.link_back()


def test_a_missed_message_older_than_all_marks_is_told() -> None:
    """The agent writes on while the history is unavailable.

    What was missed can no longer be told from what was shown and forgotten, which is told.
    """
    centre = after_an_outage("missed")
    for number in range(MOST_HEARD):
        centre.now += 1_000
        centre.said(f"word {number}")
    centre.tell()
    assert centre.words == ["hello", *(f"word {number}" for number in range(MOST_HEARD))]
    assert told_unsure(centre) == 1


def test_more_missed_messages_than_a_history_contains_are_told() -> None:
    centre = after_an_outage(*(f"word {number}" for number in range(MOST_RECALLED + 1)))
    ask = centre.asked_for[-1]
    told = tuple(centre.entries[-MOST_RECALLED:])
    centre.happen(Recalled(ask.session_id, ask.since, told))
    assert centre.words == ["hello", *(line.html for line in told)]
    assert told_unsure(centre) == 1


def test_a_history_that_reaches_back_far_enough_leaves_no_doubt() -> None:
    centre = after_an_outage(*(f"word {number}" for number in range(MOST_RECALLED - 1)))
    centre.tell()
    assert len(centre.entries) == MOST_RECALLED
    assert len(centre.words) == MOST_RECALLED
    assert told_unsure(centre) == 0


# --- what the history leaves out ------------------------------------------------------------------


def talk(*words: str, numbered: bool = False) -> Centre:
    """A chat in which the agent wrote `words`, a second apart, before the link was cut."""
    centre = chat()
    for word in words:
        centre.now += 1_000
        centre.entries.append(entry(len(centre.entries) + 1, word, centre.now))
        centre.pushed(word, numbered=numbered)
    centre.now += 20_000
    centre.link_back()
    return centre


@pytest.mark.parametrize(
    "told",
    [
        [],
        [entry(90, "bye", 1_000)],
        [entry(90, "hello", 1_000), entry(91, "my parcel", 1_001, user_type=1)],
    ],
    ids=["nothing", "an earlier chat", "up to a while ago"],
)
def test_a_history_without_the_last_shown_messages_is_told(told: list[HistoryEntry]) -> None:
    """It omits the running chat, or is behind."""
    centre = talk("hello", "one")
    centre.entries = told
    centre.tell()
    assert centre.words == ["hello", "one"]
    assert told_unsure(centre) == 1
    centre.text("what?")
    centre.link_back()
    centre.tell()
    assert told_unsure(centre) == 2, "by now, more may have been missed"


def test_a_history_without_messages_shown_since_a_failed_lookup_is_told() -> None:
    """The lookup goes on from before them, and covers a later outage, too."""
    centre = chat()
    centre.link_back()
    centre.tell(failed=True)
    centre.now += 1_000
    centre.pushed("one moment")
    centre.now += 20_000
    centre.link_back()
    centre.later(2 * FIRST_PAUSE / 1000)
    centre.tell()
    assert told_unsure(centre) == 1


def test_a_missed_message_is_shown_from_a_history_with_gaps() -> None:
    centre = talk("hello", "one")
    centre.entries = [entry(90, "missed", centre.now)]
    centre.tell()
    assert centre.words == ["hello", "one", "missed"]
    assert told_unsure(centre) == 1


def test_a_gap_is_told_once() -> None:
    centre = talk("hello", "one", "two")
    del centre.entries[1]
    for _ in range(2):
        centre.tell()
        centre.link_back()
    assert told_unsure(centre) == 1


def test_a_short_history_omits_only_older_messages() -> None:
    centre = talk("ok", "one", "ok", "two")
    for left in (3, 2, 1):
        del centre.entries[: -left or None]
        centre.tell()
        centre.link_back()
    assert told_unsure(centre) == 0


def test_the_last_of_equal_messages_may_be_missing() -> None:
    centre = talk("ok", "one", "ok")
    del centre.entries[2]
    centre.tell()
    assert told_unsure(centre) == 1


def test_a_history_may_have_another_order() -> None:
    centre = talk("one", "two")
    centre.entries.reverse()
    centre.entries = [msgspec.structs.replace(line, posted=0) for line in centre.entries]
    centre.tell()
    assert (centre.words, told_unsure(centre)) == (["one", "two"], 0)


def test_a_history_may_name_people_by_other_ids() -> None:
    centre = talk("hello", "one")
    centre.entries = [
        msgspec.structs.replace(line, agent_id=AgentId("17"), user_type=0)
        for line in centre.entries
    ]
    centre.tell()
    assert told_unsure(centre) == 0


def test_messages_that_a_history_need_not_contain() -> None:
    """Files, whose placeholder may have any form; and numbered pushes, which are repeated."""
    picture = talk()
    picture.pushed_file("/up/1")
    picture.pushed("[1] see above")
    receipts = talk("hello", numbered=True)
    for centre in (picture, receipts):
        centre.entries.clear()
        centre.link_back()
        centre.tell()
        assert told_unsure(centre) == 0


def nothing_kept(centre: Centre) -> None:
    """Let the server answer every request: it keeps no history."""
    while centre.state.recall is not None:
        ask = centre.asked_for[-1]
        centre.happen(Recalled(ask.session_id, ask.since, kept=False))


def test_without_a_history_missed_messages_are_told_as_lost() -> None:
    """Even if the agent has written nothing yet; a change of the token is no loss."""
    centre = talk("hello")
    nothing_kept(centre)
    assert told_unsure(centre) == 1
    centre.text("what?")
    for brief, told in ((True, 1), (False, 2)):
        centre.now += 60_000
        centre.link_back(brief=brief)
        nothing_kept(centre)
        assert told_unsure(centre) == told
    silent = chat()
    silent.link_back()
    nothing_kept(silent)
    assert told_unsure(silent) == 1


def test_messages_missed_while_no_process_had_the_room_are_told() -> None:
    """Found by `make chaos` (seed 20261127, three, plain): a room changed processes while the
    customer wrote, so its new link was opened for a call, and reported no loss.
    """
    centre = talk("hello")
    nothing_kept(centre)
    centre.text("what?")
    centre.state = msgspec.structs.replace(centre.state, linked_at=0)
    told = told_unsure(centre)
    centre.now += 60_000
    centre.happen(Resumed())
    centre.later(60)
    nothing_kept(centre)
    assert told_unsure(centre) == told + 1


@pytest.mark.parametrize("before", ["resumed", "brief"])
def test_a_second_handover_while_the_history_is_requested_is_told(before: str) -> None:
    """As in a rolling restart."""
    centre = talk("hello")
    nothing_kept(centre)
    centre.text("what?")
    told = told_unsure(centre)
    if before == "brief":
        centre.link_back(brief=True)
    else:
        centre.happen(Resumed())
        centre.state = msgspec.structs.replace(centre.state, linked_at=0)
    centre.now += 1_000
    centre.happen(Resumed())
    centre.later(60)
    nothing_kept(centre)
    assert told_unsure(centre) == told + 1


def by_nobody(_centre: Centre) -> None:
    """Say nothing."""


def by_the_robot(centre: Centre) -> None:
    centre.push(301, sessionId=SESSION, robotType=1, content="one moment")


def set_back(centre: Centre) -> None:
    """Set the bridge's clock to before the line was said."""
    centre.now -= 3_600_000


@pytest.mark.parametrize(
    ("between", "told"),
    [
        (by_nobody, 1),
        (lambda centre: centre.text("what?"), 2),
        (lambda centre: centre.said("one moment"), 2),
        (by_the_robot, 2),
        (lambda centre: centre.push(204, sessionId=SESSION, agents=[JUN]), 2),
        (lambda centre: centre.happen(LinkLost()), 2),
        (lambda centre: centre.later(UNSURE_AGAIN / 1000), 2),
        (set_back, 2),
    ],
    ids=["nothing", "customer", "agent", "robot", "another agent", "bridge", "long ago", "clock"],
)
def test_a_possible_loss_is_told_again_only_below_something_new_or_much_later(
    between: Callable[[Centre], object], told: int
) -> None:
    """The bridge restarts three times, and a line says each time that messages may be missing."""
    centre = talk("hello")
    nothing_kept(centre)
    for _ in range(3):
        centre.now += 60_000
        between(centre)
        between = by_nobody
        centre.happen(Resumed())
        centre.later(60)
        nothing_kept(centre)
    assert told_unsure(centre) == told


@pytest.mark.parametrize("losses", [(True, False), (False, True), (False, False), (True, True)])
def test_consecutive_losses_are_told_once(losses: tuple[bool, ...]) -> None:
    centre = chat()
    for brief in losses:
        centre.link_back(brief=brief)
    nothing_kept(centre)
    assert told_unsure(centre) == (False in losses)


def test_a_server_with_numbered_pushes_needs_no_history() -> None:
    centre = talk("hello", numbered=True)
    nothing_kept(centre)
    assert told_unsure(centre) == 0


def test_a_chat_that_begins_on_the_new_link_has_lost_nothing() -> None:
    for wait, told in ((1, 1), (20_000, 0)):  # the first may have begun while the link was away
        centre = Centre()
        centre.queue_up()
        centre.link_back()
        centre.now += wait
        centre.push(202, sessionId=SESSION, agents=[MEI])
        nothing_kept(centre)
        assert told_unsure(centre) == told
        centre.push(205, sessionId=SESSION, agentId=AGENT)


@pytest.mark.parametrize("back", [LinkRestored(), Resumed()])
@pytest.mark.parametrize("heard", [False, True])
def test_a_request_that_was_never_sent_has_lost_nothing(back: Input, heard: bool) -> None:
    """One of uncertain fate may have become a chat."""
    centre = Centre()
    centre.text("hello")
    if heard:
        centre.cut()
    centre.fail(FailureReason.UNREACHABLE)
    centre.now += 1
    centre.happen(back)
    centre.later(centre.policy.backoff_last / 1000)
    centre.reply(requestId=REQUEST)
    centre.push(202, sessionId=SESSION, agents=[MEI])
    if heard:
        assert centre.asked_for
        nothing_kept(centre)
    assert (centre.state.recall, centre.asked_for != []) == (None, heard)


def test_a_session_not_announced_yet_may_have_lost_messages() -> None:
    centre = Centre()
    centre.start()
    centre.reply(sessionId=SESSION)
    centre.link_back()
    centre.push(202, sessionId=SESSION, agents=[MEI])
    nothing_kept(centre)
    assert told_unsure(centre) == 1


def test_what_was_written_in_a_session_that_no_frame_named_may_be_missing() -> None:
    """-2 of a server of 2016: the chat began in the outage, and her later words reveal it."""
    for back in (LinkRestored(), Resumed()):
        centre = Centre()
        centre.queue_up()
        centre.now += 60_000
        centre.happen(back)
        centre.happen(LinkRestored())
        centre.reply(-2)
        centre.later(10 * 60)
        assert centre.asked_for == []
        centre.pushed("are you there?")
        nothing_kept(centre)
        assert (centre.words, told_unsure(centre)) == (["are you there?"], 1)


@pytest.mark.parametrize("numbered", [False, True])
def test_a_loss_is_told_though_the_chat_has_ended_meanwhile(*, numbered: bool) -> None:
    """Her last words and the end come right after the outage. With receipts nothing is lost."""
    centre = talk("hello", numbered=numbered)
    centre.push(205, sessionId=SESSION, agentId=AGENT)
    nothing_kept(centre)
    assert told_unsure(centre) == (not numbered)


def test_an_earlier_chat_may_be_missing_from_the_history() -> None:
    centre = talk("hello")
    centre.tell()
    centre.push(205, sessionId=SESSION, agentId=AGENT)
    centre.push(202, sessionId=SESSION + 1, agents=[MEI])
    centre.entries.clear()
    centre.link_back()
    centre.tell()
    assert centre.asked_for[-1].session_id == SESSION + 1
    assert told_unsure(centre) == 0


def test_of_equal_messages_by_two_agents_the_first_is_in_the_history() -> None:
    """Not the one that a set names first, which differs from run to run."""
    for names in ("AB", "BA", "CD", "DC", "EF", "FE"):
        centre = chat()
        agents = [{"id": name, "name": name} for name in names]
        centre.push(204, sessionId=SESSION, agents=agents)
        for name in names:
            centre.now += 1_000
            said = MessageReceived(SessionId(SESSION), AgentId(name), AgentText("hello"))
            centre.happen(Pushed(said, centre.now))
        centre.now += 1_000
        centre.link_back()
        centre.entries = [entry(1, "hello", centre.now - 3_000, agent_id=AgentId("17"))]
        centre.tell()
        assert told_unsure(centre) == 1


def test_messages_after_the_outage_need_not_be_in_an_earlier_answer() -> None:
    centre = talk("hello")
    told = tuple(centre.entries)
    centre.now += 1_000
    centre.pushed("one")
    ask = centre.asked_for[-1]
    centre.happen(Recalled(ask.session_id, ask.since, told))
    assert told_unsure(centre) == 0


class Remembering(Centre):
    """An agent who writes in several chats; some messages come by a history first."""

    def __init__(self, seed: int, outages: float) -> None:
        super().__init__()
        self.dice = random.Random(seed)  # noqa: S311 - chance that can be repeated
        self.outages = outages
        self.session = SESSION
        self.begin()
        self.expected: list[tuple[int | None, bytes, SessionId | None]] = []
        """Per message: its time if pushed, its digest, and the session for which it counts."""

    def speak(self, number: int) -> None:
        self.now += self.dice.choice([1, 500, 40_000])
        chance, words = self.dice.random(), f"word {number}"
        if chance < 0.1:
            self.session += 1
            self.push(202, sessionId=self.session, agents=[MEI])
        if chance > 1 - self.outages:
            self.entries = [entry(number, words, self.now)]
            self.link_back()
            self.happen(Recalled(SessionId(self.session), self.now, tuple(self.entries)))
            self.expected.append((None, mark_of(AGENT, words), None))
            return
        numbered = self.dice.random() < 0.3
        push = MessageReceived(SessionId(self.session), AGENT, AgentText(words))
        self.happen(Pushed(push, self.now, numbered=numbered))
        session = None if numbered else SessionId(self.session)
        self.expected.append((self.now, mark_of(AGENT, words), session))


@pytest.mark.parametrize("outages", [0, 0.1])
@pytest.mark.parametrize("seed", range(20))
def test_marks_are_packed_and_lose_nothing(seed: int, outages: float) -> None:
    def plain(mark: Mark) -> tuple[int | None, bytes, SessionId | None]:
        return mark.at if mark.exact else None, mark.mark, mark.session

    centre = Remembering(seed, outages)
    for number in range(3 * MOST_HEARD):
        centre.speak(number)
        stored = msgspec.json.encode(centre.state)
        assert msgspec.json.decode(stored, type=Conversation) == centre.state
        marks = shown_lately(centre.state)
        assert all(mark.id and mark.awaited for mark in marks if not mark.exact)
        found = [
            # What a history lacked is told once: then its chat no longer counts.
            (at, digest, None if outages and mark.session is None else session)
            for mark, (at, digest, session) in zip(
                marks, centre.expected[-MOST_HEARD:], strict=True
            )
        ]
        assert list(map(plain, marks)) == found


@pytest.mark.parametrize(
    "told",
    [
        {},  # two zero bytes are no digest: a push would be compared with them
        {"id": "7", "exact": b"ab"},
        {"awaited": 9, "exact": b"ab"},
        {"exact": b"ab"},
    ],
)
def test_every_field_of_a_mark_is_kept(told: dict[str, object]) -> None:
    mark = Mark(1, bytes(5), session=SessionId(SESSION), **told)  # type: ignore[arg-type] # by name
    assert shown_lately(Conversation(marks=history._packed([mark]))) == (mark,)


def test_a_chat_with_many_messages_is_a_small_record() -> None:
    centre = chat()
    for number in range(MOST_HEARD + 1):
        centre.now += 1_000
        centre.said(f"word {number}")
    assert len(msgspec.json.encode(centre.state)) < 1_024


def waiting(*, restarted: bool) -> Centre:
    """In the queue after an outage."""
    centre = Centre()
    centre.queue_up()
    centre.now += 60_000
    if restarted:
        centre.happen(Resumed())
    else:
        centre.link_back()
    return centre


def lost_by_chance(centre: Centre) -> int:
    """Number of notices of missing messages for a chat that begins now."""
    centre.now += 8_000
    centre.push(202, sessionId=SESSION, agents=[MEI])
    centre.later(30)
    nothing_kept(centre)
    return told_unsure(centre)


def test_nothing_is_lost_if_the_chat_began_after_news_of_the_request() -> None:
    """By the reply to a message, by the reply to asking again, or by a push."""
    along = waiting(restarted=True)
    along.now += 1_000
    along.text("are you there?")
    along.reply()
    asked = waiting(restarted=False)
    asked.reply(-1, requestId=REQUEST)
    news = waiting(restarted=True)
    news.now += 1_000
    news.push(201, requestId=REQUEST, requestStatus=0, queueLength=2)
    unnamed = waiting(restarted=False)
    unnamed.reply(-1)  # as a server of 2016 says it
    refused = waiting(restarted=True)
    refused.now += 1_000
    refused.push(201, requestId=REQUEST, requestStatus=2)  # an agent may still accept it
    for centre in (along, asked, news, unnamed, refused):
        assert lost_by_chance(centre) == 0
        assert centre.asked_for == []


def test_a_chat_may_have_begun_in_an_outage_without_later_news() -> None:
    silent = waiting(restarted=True)
    other = waiting(restarted=False)
    other.reply(requestId=REQUEST + 1)  # that one may have been a chat meanwhile
    late = waiting(restarted=True)
    news = QueueStatus(RequestId(REQUEST), 0, 2)
    late.happen(Pushed(news, late.now - 30_000))  # stored before the bridge was killed
    unnamed = waiting(restarted=True)
    unnamed.now += 1_000
    unnamed.push(201, requestStatus=0, queueLength=2)
    granted = waiting(restarted=False)
    granted.reply()  # without an id it may be a new request too
    for centre in (silent, other, late, unnamed, granted):
        assert lost_by_chance(centre) == 1


def test_a_reply_from_before_the_outage_is_no_later_news() -> None:
    """It was stored, and is handled after the start of the bridge."""
    centre = Centre()
    centre.queue_up()
    centre.text("more")
    centre.now += 60_000
    centre.happen(Resumed())
    centre.reply()
    assert lost_by_chance(centre) == 1


def test_two_outages_in_quick_succession_make_one_request() -> None:
    centre = waiting(restarted=False)
    centre.text("more")
    centre.happen(Resumed())
    centre.reply(-1, requestId=REQUEST)
    assert centre.state.recall is not None, "the call was made before the second one"
    centre.reply()
    assert centre.state.recall is None
