"""Pushes of WebChat."""

from __future__ import annotations

import pytest

from bridge.conversation.model import AgentsCame, AgentsLeft, Card, Chatting, Queued, Say, TakeBack
from bridge.conversation.turn import Policy
from bridge.ids import AgentId
from bridge.webchat import frames
from bridge.webchat.frames import AgentText
from tests.support.scene import JUN, MEI, REQUEST, SESSION, Scene

HELLO = {"type": 1, "content": "hello"}


def queued() -> Scene:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.forget()
    return scene


def test_news_of_another_request_is_ignored() -> None:
    scene = queued()
    before = scene.state
    scene.push(201, requestId=1, requestStatus=5)
    assert scene.state == before


def test_news_without_a_request_id_is_about_the_current_request() -> None:
    scene = queued()
    scene.push(201, requestStatus=5)
    assert scene.phase == "Idle"


def test_news_of_the_new_request_before_its_reply() -> None:
    scene = queued()
    scene.restored()
    scene.push(201, requestId=9002, requestStatus=0, queueLength=1)
    scene.reply()
    assert isinstance(scene.state.phase, Queued)
    assert scene.state.phase.request_id == 9002


@pytest.mark.parametrize("first", [210, 202])
@pytest.mark.parametrize("kind", [202, 204])
def test_a_name_that_comes_late_is_shown_on_the_card(first: int, kind: int) -> None:
    """The 202 was lost, and an agent's words began the chat; or it named nobody yet."""
    scene = queued()
    if first == 202:
        scene.push(202, sessionId=SESSION)
    else:
        scene.push(210, sessionId=SESSION, agentId=MEI["id"], msg=HELLO)
    for _ in range(2):
        scene.push(kind, sessionId=SESSION, agents=[{"id": MEI["id"]}])
    assert scene.cards[1:] == []
    for _ in range(2):
        scene.push(kind, sessionId=SESSION, agents=[MEI])
    assert scene.cards[1:] == ["queue.joined"]
    assert scene.card_args == {"names": ("Mei",)}


def test_position_0_is_not_shown() -> None:
    scene = queued()
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=0)
    assert scene.cards == []


def test_an_acceptance_pushed_twice_edits_the_card_once() -> None:
    scene = queued()
    scene.push(201, requestId=REQUEST, requestStatus=1)
    scene.push(201, requestId=REQUEST, requestStatus=11)
    assert scene.cards == ["queue.accepted"]


def test_while_leaving_neither_position_nor_acceptance_is_shown() -> None:
    scene = queued()
    scene.cancel()
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=2)
    scene.push(201, requestId=REQUEST, requestStatus=1)
    assert scene.cards == []
    scene.push(201, requestId=REQUEST, requestStatus=5)
    assert scene.cards == ["queue.cancelled"]


def test_the_end_of_a_session_that_awaits_its_202() -> None:
    scene = Scene()
    scene.start()
    scene.reply(sessionId=SESSION)
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert scene.phase == "Ended"
    assert scene.notices == ["chat.ended"]


def test_the_end_of_a_chat_being_closed_is_the_customers() -> None:
    scene = Scene()
    scene.begin()
    scene.text("bye")
    scene.close()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert scene.notices[-1] == "chat.ended_by_you"


def test_a_session_that_is_over_does_not_start_again() -> None:
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.phase == "Ended"
    scene.push(202, sessionId=5151, agents=[MEI])
    assert scene.phase == "Chatting"


def test_a_request_may_be_answered_with_the_session_that_is_over() -> None:
    """The customer has requested a chat since, whatever the session id."""
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.phase == "Chatting"


def test_each_unrequested_chat_has_its_own_card() -> None:
    scene = Scene()
    for number in (1, 2):
        scene.push(202, sessionId=SESSION + number, agents=[MEI])
        assert (scene.phase, scene.state.number) == ("Chatting", number)
        scene.push(205, sessionId=SESSION + number, agentId="K00017")


def test_a_request_cancelled_by_webchat_is_told_like_a_cancel() -> None:
    scene = Scene()
    event = scene.queue_up("one")
    scene.push(201, requestId=REQUEST, requestStatus=7)
    assert (scene.phase, scene.card) == ("Idle", ["queue.cancelled", "queue.dropped"])
    assert scene.reported == {event: "queue.dropped"}


def test_news_of_agents_without_a_chat_changes_nothing() -> None:
    """Nor does the end of a chat, a second time."""
    scenes = [Scene() for _ in range(4)]
    for number, scene in enumerate(scenes):
        if number > 0:
            scene.start()
        if number > 1:
            scene.reply(requestId=REQUEST)
        if number > 2:
            scene.push(202, sessionId=SESSION, agents=[MEI])
            scene.push(205, sessionId=SESSION, agentId="K00017")
        scene.forget()
        before = scene.state
        scene.push(204, sessionId=SESSION, agents=[JUN])
        scene.push(205, sessionId=SESSION, agentId="K00017")
        assert (scene.state, scene.effects) == (before, [])
    assert [one.phase for one in scenes] == ["Idle", "Requesting", "Queued", "Ended"]


def test_a_202_without_agents_changes_nothing() -> None:
    scene = Scene()
    scene.begin(MEI)
    before = scene.state
    scene.push(202, sessionId=SESSION)
    scene.push(204, sessionId=SESSION, agents=[])
    assert scene.state == before


def test_agents_of_an_unwanted_chat_being_closed_are_not_shown() -> None:
    scene = queued()
    scene.cancel()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=HELLO)
    scene.push(204, sessionId=SESSION, agents=[JUN])
    assert scene.notices == []
    assert scene.ghosts == set()


def test_an_agent_who_leaves_a_conference() -> None:
    scene = Scene()
    scene.begin(MEI, JUN)
    said = scene.notices
    scene.push(204, sessionId=SESSION, agents=[JUN])
    assert scene.notices == said  # the room shows it
    assert AgentsLeft((AgentId("K00017"),)) in scene.effects
    assert scene.ghosts == {"K00021"}


def test_a_rating_push_without_a_chat_is_ignored() -> None:
    scene = queued()
    scene.push(203, sessionId=SESSION, agentId="K00017")
    assert scene.notices == []


@pytest.mark.parametrize("agent", ["", "K00099"])
def test_a_message_of_an_agent_who_is_not_in_the_list(agent: str) -> None:
    """Trap T15: attributed to the only agent if it has no agent id."""
    scene = Scene()
    scene.begin(MEI)
    scene.push(210, sessionId=SESSION, agentId=agent, msg=HELLO)
    assert scene.relayed[0].agent.id == (agent or "K00017")
    assert isinstance(scene.state.phase, Chatting)
    assert len(scene.state.phase.agents) == (2 if agent else 1)


def test_the_number_of_agents_of_a_chat_is_limited() -> None:
    """Each listed agent joins the room, and is stored with it."""
    scene = Scene()
    scene.begin(MEI)
    many = [{"id": f"A{number}", "name": "A"} for number in range(400)]
    scene.push(204, sessionId=SESSION, agents=many)
    for number in range(400, 800):
        scene.push(210, sessionId=SESSION, agentId=f"A{number}", msg=HELLO)
    assert isinstance(scene.state.phase, Chatting)
    assert len(scene.state.phase.agents) == frames.MOST_AGENTS
    assert len(scene.relayed) == 400
    # Those beyond the limit join with their message, and leave at once.
    left = [one.agents for one in scene.effects if isinstance(one, AgentsLeft)]
    assert left[1:] == [(f"A{number}",) for number in range(400, 800)]


def test_a_message_without_an_agent_in_an_unknown_session() -> None:
    scene = Scene()
    scene.push(210, sessionId=SESSION, msg=HELLO)
    assert scene.relayed[0].agent.id == "agent"
    assert [one.ping for one in scene.relayed] == [True]
    assert scene.notices == []


@pytest.mark.parametrize("session", [None, SESSION])
def test_words_of_nobody_outside_a_chat_are_the_call_centres(session: int | None) -> None:
    """In the queue, or of the chat that has ended; no ghost comes and goes for them."""
    scene = queued()
    if session is not None:
        scene.push(202, sessionId=SESSION, agents=[MEI])
        scene.push(205, sessionId=SESSION)
    scene.forget()
    busy = {"type": 1, "content": "All agents are busy,<br>please wait"}
    scene.push(210, sessionId=session, msg=busy)
    (said,) = scene.effects
    assert said == Say("chat.notice", {"text": "All agents are busy,\nplease wait"})
    scene.push(210, sessionId=session, msg={"type": 2, "content": "iVBORw0KGgo="})
    assert [relay.agent.id for relay in scene.relayed] == ["agent"], "only a ghost can show these"


def test_words_of_nobody_that_a_new_link_repeats_are_said_once() -> None:
    """Trap T34, also outside a chat."""
    scene = queued()
    busy = {"type": 1, "content": "All agents are busy"}
    scene.push(210, msg=busy)
    scene.later(1)
    scene.restored()
    scene.push(210, msg=busy)
    assert scene.notices.count("chat.notice") == 1


@pytest.mark.parametrize("notice", [{"noticeType": 1, "content": "x"}, {"content": " "}])
def test_notices_without_a_text_for_people_are_dropped(notice: dict[str, object]) -> None:
    scene = Scene()
    scene.begin()
    scene.forget()
    scene.push(210, sessionId=SESSION, agentId="K00017", msg={"type": 99, **notice})
    assert scene.effects == []


def test_a_recall_is_passed_on_without_raw_data() -> None:
    scene = Scene()
    scene.begin()
    scene.forget()
    recall = {"type": 99, "noticeType": 6, "content": {"messageId": 152820}}
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=recall)
    assert scene.effects == [
        TakeBack(frames.Agent(AgentId("K00017"), "Mei", comments="tier 1"), "152820")
    ]
    scene.forget()
    words = {"type": 1, "content": "hello"}
    scene.push(210, sessionId=SESSION, agentId="K00017", messageId=152821, msg=words)
    assert [relay.message_id for relay in scene.relayed] == ["152821"]


@pytest.mark.parametrize("kind", [10, 11, 12])
def test_only_a_notice_of_a_departure_is_needless_once_the_room_shows_it(kind: int) -> None:
    scene = Scene()
    scene.begin(MEI, JUN)
    scene.forget()
    told = {"type": 99, "noticeType": kind, "content": "Mei has left"}
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=told)
    scene.push(204, sessionId=SESSION, agents=[JUN])
    assert scene.notices == ["chat.notice"]
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=told)
    scene.push(205, sessionId=SESSION, agentId=JUN["id"])
    scene.push(210, sessionId=SESSION, agentId=JUN["id"], msg=told)
    scene.push(210, sessionId=SESSION, agentId="", msg=told)
    assert scene.notices.count("chat.notice") == (3 if kind == 12 else 4)


def test_the_room_hears_of_a_transfer_after_both_agents_have_moved() -> None:
    """Clients fold neighbouring joins and leaves into one line."""
    scene = Scene()
    scene.begin()
    scene.forget()
    scene.push(204, sessionId=SESSION, agents=[JUN])
    came, left, told = scene.effects
    assert isinstance(came, AgentsCame)
    assert isinstance(left, AgentsLeft)
    assert isinstance(told, Say)


def test_a_notice_with_a_picture_is_shown_as_a_message() -> None:
    """Without the picture its text would be meaningless or empty."""
    scene = Scene()
    scene.begin()
    scene.forget()
    shown = ['<img src="/qr.png">', 'Scan this: <IMG src="/qr.png">']
    for content in shown:
        scene.push(210, sessionId=SESSION, agentId="K00017", msg={"type": 99, "content": content})
    assert [relay.content for relay in scene.relayed] == [AgentText(one) for one in shown]
    assert scene.notices == []


def test_the_configuration_of_later_servers_is_kept() -> None:
    scene = Scene()
    ratings = [{"ratingId": 1, "name": "good"}]
    scene.push(200, ratings=ratings, fileAcceptExtensionsArr="zip,jpg", hisSessions=[])
    assert scene.state.extensions == ("zip", "jpg")
    assert scene.state.ratings == ((1, "good"),)
    assert scene.effects == []


def test_news_of_a_request_that_became_a_session_is_ignored() -> None:
    scene = Scene()
    scene.start()
    scene.reply(sessionId=SESSION)
    before = scene.state
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    assert scene.state == before


def test_a_new_name_or_icon_updates_the_ghost() -> None:
    """The room shows both."""
    scene = Scene()
    scene.begin()
    scene.forget()
    for change in ({"icon": "b.png"}, {"name": "Mei Lin"}, {"name": ""}, {"name": "Anna"}):
        scene.push(204, sessionId=SESSION, agents=[MEI | change])
    assert scene.notices == []
    assert sum(isinstance(one, AgentsCame) for one in scene.effects) == 4


@pytest.mark.parametrize(
    ("robot", "before", "after", "told"),
    [
        (False, MEI, MEI | {"id": "K00018"}, ""),
        (False, MEI, JUN, "chat.transferred"),
        (False, {"id": "K00099"}, JUN, "chat.agent_joined"),
        (False, MEI, {"id": "K00099"}, "chat.started_unnamed"),
        (True, MEI, MEI | {"id": "K00018"}, "chat.transferred"),
    ],
    ids=["the same", "another", "for one without a name", "one without", "for a robot so named"],
)
def test_an_agent_in_the_place_of_another(
    robot: bool, before: dict[str, object], after: dict[str, object], told: str
) -> None:
    """After a new login, an agent may have another id: nobody is handed over."""
    scene = queued()
    scene.push(202, sessionId=SESSION, agents=[before], robotMode=robot)
    scene.forget()
    scene.push(204, sessionId=SESSION, agents=[after])
    assert scene.notices == scene.pings == ([told] if told else [])
    assert scene.ghosts == {after["id"]}


@pytest.mark.parametrize(
    ("show", "agents", "shown"),
    [
        (False, [MEI, JUN], ("Mei", "Jun")),
        (True, [MEI, JUN | {"comments": " "}], ("Mei (tier 1)", "Jun")),
    ],
)
def test_comments_on_agents_are_shown_if_the_operator_wants(
    show: bool, agents: list[dict[str, object]], shown: tuple[str, ...]
) -> None:
    scene = Scene(Policy(show_comments=show))
    scene.begin(*agents)
    card = [one for one in scene.effects if isinstance(one, Card)][-1]
    assert (card.key, card.args) == ("queue.joined", {"names": shown})
    scene.later(10)
    assert scene.filled("chat.started") == [{"names": shown}]
    joins = {"id": "K00033", "name": "Bo", "comments": "tier 3"}
    scene.push(204, sessionId=SESSION, agents=[*agents, joins])
    told = [{"names": ("Bo (tier 3)",)}] if show else []
    assert scene.filled("chat.agent_joined") == told
    again = MEI | {"id": "K00018"}  # the same one, after a new login
    scene.push(204, sessionId=SESSION, agents=[again, *agents[1:], joins])
    assert scene.filled("chat.agent_joined") == told


def test_messages_kept_at_the_end_of_a_chat_are_told_once() -> None:
    """Also of a message of which a part was under way then."""
    scene = Scene(Policy(max_text_bytes=40, ping_wait=0))
    scene.begin()
    scene.text("word " * 30)
    assert len(scene.state.held) > 1
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.reply(-11)
    assert scene.filled("queue.kept") == [{"count": 1}]
