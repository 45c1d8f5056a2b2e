"""Agents' messages of an outage are shown once, whether pushes, the history or both tell them."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.history import (
    FIRST_PAUSE,
    LONGEST_READ,
    MOST_HEARD,
    SETTLING,
    TRIES,
    mark_of,
    shown_lately,
)
from bridge.conversation.machine import deadline
from bridge.conversation.model import (
    AgentsLeft,
    Chatting,
    FetchHistory,
    LinkLost,
    Pushed,
    Recalled,
    Resumed,
    Say,
    TakeBack,
)
from bridge.ids import AgentId, SessionId
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import (
    AgentMedia,
    AgentNotice,
    AgentText,
    MessageReceived,
    UnknownContent,
)
from bridge.webchat.words import FACES
from tests.support.scene import JUN, MEI, SESSION
from tests.unit.conversation.centre import AGENT, Centre, after_an_outage, chat, entry


def test_row_31_missed_messages_are_fetched_and_shown_with_their_times() -> None:
    centre = after_an_outage("one", "two")
    hello, one, two = (line.posted for line in centre.entries)
    assert centre.asked_for == [FetchHistory(SessionId(SESSION), hello)]
    centre.tell()
    assert [(relay.content, relay.posted) for relay in centre.relayed] == [
        (AgentText("hello"), None),
        (AgentText("one"), one),
        (AgentText("two"), two),
    ]
    assert centre.relayed[-1].agent.name == "Mei"
    centre.link_back()
    centre.tell()
    assert centre.words == ["hello", "one", "two"]


HOURS = 4 * 3_600_000


@pytest.mark.parametrize("then", [0, 1, MOST_HEARD - 1, MOST_HEARD])
@pytest.mark.parametrize("words", ["ahead", "again"])
@pytest.mark.parametrize("ahead", [HOURS, -HOURS])
def test_missed_messages_are_fetched_though_the_bridges_clock_was_wrong(
    then: int, words: str, ahead: int
) -> None:
    """And was corrected: messages shown meanwhile have times in the future, or too old."""
    centre = chat()
    centre.said("again")
    centre.now += ahead + 1_000
    centre.said(words, skew=-ahead)
    centre.now -= ahead
    for number in range(then):
        centre.now += 1_000
        centre.said(f"then {number}")
    shown = centre.words
    centre.now += 20_000
    centre.said("lost", heard=False)
    centre.now += 20_000
    centre.link_back()
    centre.tell()
    assert centre.words == [*shown, "lost"]
    assert not any(one.key == "outage.unsure" for one in centre.effects if isinstance(one, Say))


def test_an_outage_is_told_once_and_so_is_its_end() -> None:
    """Although both the link and, later, a message could not get through."""
    centre = chat()
    centre.happen(LinkLost())
    centre.text("hello?")
    centre.fail(FailureReason.UNREACHABLE)
    centre.link_back()
    centre.reply()
    assert centre.notices == ["chat.started", "trouble.unreachable", "trouble.over"]


@pytest.mark.parametrize("skew", [-3_600_000, -5_000, 5_000, 7 * 86_400_000])
def test_the_clocks_need_not_agree(skew: int) -> None:
    centre = after_an_outage("one", skew=skew)
    centre.tell()
    assert centre.words == ["hello", "one"]
    assert centre.relayed[-1].posted == centre.entries[-1].posted


def test_a_push_is_suppressed_once_after_the_history_told_it() -> None:
    """The server pushes it late; written again after that, it is a new message."""
    centre = after_an_outage("wait")
    centre.tell()
    assert centre.words == ["hello", "wait"]
    centre.pushed("wait")
    assert centre.words == ["hello", "wait"]
    centre.tell()
    centre.pushed("wait")
    assert centre.words == ["hello", "wait", "wait"]


def test_no_history_is_requested_without_a_chat() -> None:
    centre = Centre()
    centre.link_back()
    centre.happen(Resumed())
    assert centre.asked_for == []
    assert centre.state.recall is None


def test_a_chat_that_began_during_the_outage() -> None:
    """table row 30: the queue request has become a chat, and the agent has written."""
    centre = Centre()
    centre.queue_up()
    centre.now += 5_000
    centre.said("how can I help?", heard=False)
    centre.now += 5_000
    centre.link_back()
    assert centre.asked_for == []
    centre.reply(-2, sessionId=SESSION)
    assert len(centre.asked_for) == 1
    centre.tell()
    assert centre.words == ["how can I help?"]


def test_a_chat_that_began_in_the_outage_and_that_only_its_agents_words_reveal() -> None:
    centre = Centre()
    centre.queue_up()
    centre.now += 5_000
    centre.said("how can I help?", heard=False)
    centre.link_back()
    centre.reply(-2)
    centre.later(60)
    centre.said("are you there?")
    centre.tell()
    assert sorted(centre.words) == ["are you there?", "how can I help?"]


def test_a_queue_that_ended_requests_no_history() -> None:
    centre = Centre()
    centre.queue_up()
    centre.link_back()
    centre.reply(-3)
    assert centre.state.recall is None
    assert centre.asked_for == []


def test_entries_that_are_no_agents_message_are_left_out() -> None:
    centre = after_an_outage()
    now = centre.now
    centre.entries += [
        entry(7, "my parcel", now, user_type=1, agent_id=AgentId("me")),
        entry(8, "Mei has joined", now, notice=True),
        entry(9, "a mistake", now, revoked=True),
        entry(10, "whose?", now, user_type=0, agent_id=AgentId("me")),
        entry(11, "mine", now, user_type=0),
    ]
    centre.tell()
    assert centre.words == ["hello", "mine"]


def test_messages_of_an_agent_who_has_left() -> None:
    centre = after_an_outage()
    centre.entries.append(entry(5, "I hand you over", centre.now, agent_id="K00021", name="Jun"))
    centre.entries.append(entry(6, "anybody", centre.now, agent_id=""))
    centre.tell()
    _, jun, anybody = centre.relayed
    assert (jun.agent.id, jun.agent.name) == ("K00021", "Jun")
    assert anybody.agent.id == AGENT
    assert [one for one in centre.effects if isinstance(one, AgentsLeft)] == [
        AgentsLeft((AgentId("K00021"),))
    ]


def test_messages_without_an_agent_in_a_chat_of_two() -> None:
    centre = Centre()
    centre.begin(MEI, JUN)
    centre.link_back()
    centre.entries.append(entry(6, "anybody", centre.now, agent_id=""))
    centre.tell()
    assert [relay.agent.id for relay in centre.relayed] == ["agent"]


def test_missed_messages_are_shown_after_the_end_of_the_chat() -> None:
    centre = after_an_outage("bye")
    centre.push(205, sessionId=SESSION, agentId=AGENT)
    centre.tell()
    assert centre.words == ["hello", "bye"]
    assert centre.ghosts == set()


def test_a_history_without_times() -> None:
    """What follows a shown message is later than that; the rest is unknown."""
    centre = after_an_outage("one")
    centre.entries = [entry(1, "long ago", 0), entry(2, "hello", 0), entry(3, "one", 0)]
    centre.tell()
    assert centre.words == ["hello", "one"]
    assert centre.relayed[-1].posted == 0
    other = after_an_outage()
    other.entries = [entry(1, "who knows", 0)]
    other.tell()
    assert other.words == ["hello"]


def test_of_equal_messages_the_time_tells_which_one_was_shown() -> None:
    centre = chat()
    centre.said("ok", heard=True)
    for seconds in (100, 200):
        centre.now += seconds * 1000
        centre.said("ok", heard=False)
    centre.link_back()
    centre.tell()
    first, *late = centre.relayed
    assert first.posted is None
    assert [relay.posted for relay in late] == [line.posted for line in centre.entries[1:]]


def test_files_match_the_placeholders_of_a_history() -> None:
    centre = chat()
    picture = MessageReceived(SessionId(SESSION), AGENT, AgentMedia("image", data="iVBO"))
    centre.happen(Pushed(picture, centre.now))
    centre.entries.append(entry(1, "[图片]", centre.now))
    centre.said("see above")
    centre.now += 10_000
    centre.entries.append(entry(3, "[image]", centre.now))
    centre.link_back()
    centre.tell()
    assert centre.words == ["see above", "[image]"]


def test_raw_json_in_a_history_is_told_and_not_shown() -> None:
    centre = after_an_outage('{"name":"terms.pdf"}')
    centre.tell()
    assert centre.words == ["hello"]
    assert isinstance(centre.relayed[-1].content, UnknownContent)


@pytest.mark.parametrize(
    ("pushed", "told"),
    [
        ("Hello /::)", "Hello 🙂"),
        ("a &amp; b", "a & b"),
        ("<p>two</p><p>lines</p>", "two\nlines"),
        ("  blanks   between ", "blanks between"),
        ('<img src="x">', "[picture]"),
        ("<" * 5000, "<" * 5000),
    ],
)
def test_equal_texts_in_another_notation_have_the_same_mark(pushed: str, told: str) -> None:
    assert mark_of("A", pushed) == mark_of("A", told)
    assert mark_of("A", pushed) != mark_of("B", told)


def test_a_long_text_is_compared_as_it_is() -> None:
    """Looking for emoji in 16 MiB of brackets took 3 s, and a history of HTML minutes."""
    long = "[" * LONGEST_READ
    assert mark_of("A", f"{long}[微笑]") != mark_of("A", f"{long}🙂")


def test_every_emoji_is_recognised_in_each_notation() -> None:
    for code, names, face in FACES:
        for spelling in (code, *(f"[{name}]" for name in names.split("/"))):
            assert mark_of("A", f"so {spelling}") == mark_of("A", f"so {face}"), spelling


def test_marks_are_bounded_and_older_messages_are_not_shown_again() -> None:
    centre = chat()
    for number in range(MOST_HEARD + 10):
        centre.now += 1_000
        centre.said(f"word {number}")
    assert len(shown_lately(centre.state)) == MOST_HEARD
    centre.link_back()
    centre.tell()
    assert len(centre.words) == MOST_HEARD + 10


def test_older_messages_are_not_shown_again_after_others_came_late() -> None:
    """Pushed after an outage, those make the server's clock seem to be behind the bridge's."""
    centre = chat()
    texts = [f"word {number}" for number in range(MOST_HEARD + 5)]
    for number, text in enumerate(texts):
        centre.now += 300
        centre.said(text, heard=number < 10)
    centre.now += 5_000
    for text in texts[10:]:
        centre.pushed(text, numbered=True)
    assert len(shown_lately(centre.state)) == MOST_HEARD
    centre.said("lost", heard=False)
    centre.now += 1_000
    centre.link_back()
    centre.tell()
    assert centre.words == [*texts, "lost"]


# --- requesting the history -----------------------------------------------------------------------


def test_a_second_loss_while_the_history_is_requested() -> None:
    centre = after_an_outage("one")
    early = tuple(centre.entries)
    centre.now += 5_000
    centre.said("two", heard=False)
    centre.link_back()
    assert len(centre.asked_for) == 1
    first = centre.asked_for[0]
    centre.happen(Recalled(first.session_id, first.since, early))
    assert centre.words == ["hello", "one"]
    assert len(centre.asked_for) == 2
    centre.tell()
    assert centre.words == ["hello", "one", "two"]


def test_a_failed_history_request_is_repeated() -> None:
    centre = after_an_outage("one")
    centre.tell(failed=True)
    due = deadline(centre.state, centre.policy)
    assert due is not None
    assert FIRST_PAUSE <= due - centre.now < 2 * FIRST_PAUSE
    centre.said("hello again")  # what comes meanwhile does not hide what is missing
    centre.later(2 * FIRST_PAUSE / 1000)
    assert len(centre.asked_for) == 2
    centre.tell()
    assert sorted(centre.words) == ["hello", "hello again", "one"]


def test_after_the_last_failure_the_customer_is_told_of_a_possible_loss() -> None:
    centre = after_an_outage("one")
    for _ in range(TRIES):
        centre.tell(failed=True)
        centre.later(3 * 3600)
    assert len(centre.asked_for) == TRIES
    assert centre.notices.count("outage.unsure") == 1
    assert centre.state.recall is None


def test_a_new_loss_shortens_the_retry_delay() -> None:
    centre = after_an_outage("one")
    centre.tell(failed=True)
    centre.now += 1_000
    centre.link_back()
    assert len(centre.asked_for) == 2


def test_after_a_start_the_history_is_requested_once_the_link_is_up() -> None:
    centre = chat()
    centre.happen(Resumed())
    assert centre.asked_for == []
    centre.now += 1_000
    centre.link_back()
    assert len(centre.asked_for) == 1
    centre.happen(Resumed())
    centre.tell()
    assert len(centre.asked_for) == 1


def test_after_a_start_the_history_is_requested_even_without_link_news() -> None:
    """A link opened for a call is never announced as restored."""
    centre = chat()
    centre.happen(Resumed())
    centre.later(SETTLING / 1000)
    assert len(centre.asked_for) == 1


def test_after_a_start_an_answer_shows_that_the_link_is_up() -> None:
    """Unless the history was asked for and could not be read: that retry has its own time."""
    centre = chat()
    centre.text("are you there?")
    centre.happen(Resumed())
    assert centre.asked_for == []
    centre.reply()
    assert len(centre.asked_for) == 1
    centre.tell(failed=True)
    centre.text("hello?")
    centre.reply()
    assert len(centre.asked_for) == 1


def test_a_history_answer_that_nothing_waits_for_is_used() -> None:
    centre = chat()
    centre.said("one", heard=False)
    centre.happen(Recalled(SessionId(SESSION), centre.now - 1_000, tuple(centre.entries)))
    assert centre.words == ["one"]
    assert centre.state.recall is None


def test_the_robots_messages_are_marked_too() -> None:
    centre = Centre()
    centre.start()
    centre.reply(sessionId=SESSION, robotType=1, agentId="BOT007", agentName="Helper")
    centre.now += 60_000
    centre.push(301, sessionId=SESSION, robotType=1, content="Which order?")
    centre.entries.append(entry(1, "Which order?", centre.now, agent_id="BOT007"))
    centre.forget()
    centre.link_back()
    centre.tell()
    assert centre.relayed == []
    centre.push(205, sessionId=SESSION, agentId="BOT007")
    centre.push(301, sessionId=SESSION, robotType=1, content="bye")
    assert shown_lately(centre.state)[-1].mark == mark_of("", "bye")


def test_notices_are_not_marked_as_messages() -> None:
    centre = chat()
    for _ in range(2):
        notice = MessageReceived(SessionId(SESSION), AGENT, AgentNotice(0, "busy"))
        centre.happen(Pushed(notice, centre.now))
    assert centre.notices.count("chat.notice") == 2
    assert shown_lately(centre.state) == ()


def test_messages_recalled_in_the_history_are_recalled_in_the_room() -> None:
    """By number where the history told the message, otherwise by text and time."""
    centre = chat()
    centre.said("12 yuan")
    came = centre.now
    centre.pushed_file("/up/a.png")
    centre.entries.append(entry(2, "[image]", came))
    centre.now += 60_000
    centre.said("21 yuan", heard=False)
    centre.said("never mind", heard=False)
    centre.entries[-1] = entry(4, "never mind", centre.now, revoked=True)

    def taken_back() -> list[TakeBack]:
        centre.now += 60_000
        centre.forget()
        centre.link_back()
        centre.tell()
        return [one for one in centre.effects if isinstance(one, TakeBack)]

    assert taken_back() == []
    centre.entries[:3] = [msgspec.structs.replace(one, revoked=True) for one in centre.entries[:3]]
    assert isinstance(centre.state.phase, Chatting)
    (mei,) = centre.state.phase.agents
    words = [mark_of(AGENT, text).hex() for text in ("12 yuan", "21 yuan")]
    taken = taken_back()
    assert [(one.agent, one.message_id) for one in taken] == [(mei, n) for n in "123"]
    assert [one.mark for one in taken] == [words[0], mark_of(AGENT, "").hex(), words[1]]
    assert taken[0].at == came
    assert taken_back() == taken, "the lane tells what it has done"
    assert centre.words == []


@pytest.mark.parametrize("placeholder", ["[图片]", "【图片】", '{"imageUri":"/up/a.png"}'])
def test_a_shown_picture_is_recognised_by_its_placeholder(placeholder: str) -> None:
    centre = chat()
    centre.pushed_file("/up/a.png")
    centre.entries.append(entry(1, placeholder, centre.now))
    centre.now += 20_000
    centre.link_back()
    centre.tell()
    assert len(centre.relayed) == 1
