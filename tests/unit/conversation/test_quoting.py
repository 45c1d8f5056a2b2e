"""Texts of the server that are quoted to the customer (reference 1.2, 2.5)."""

from __future__ import annotations

import pytest

from bridge.conversation.model import Card, Human, Say
from bridge.conversation.turn import LONGEST_QUOTE, one_line, server_reason
from bridge.webchat.frames import Reply
from tests.support.scene import MEI, REQUEST, SESSION, Scene

CLOSED = "本店春节放假，2月10日恢复"


def said(scene: Scene) -> list[object]:
    """Notices in order, with the server's text in place of the key."""
    says = [one for one in scene.effects if isinstance(one, Say)]
    return [one.args.get("text", one.key) for one in says]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("", ""),
        (" \n", ""),
        ("ok", ""),
        ("fail", ""),
        ("NOT_IN_WORKTIME", ""),
        ("<b>fail</b>", ""),
        ("繁忙", "繁忙"),
        ("agents are busy", "agents are busy"),
        ("one\n  two\tthree\u202e four\x00", "one two three four"),
        ("<p>Closed</p><p>See <a href='https://h'>this</a> &amp; that</p><script>x</script>", None),
        ("a &lt;b&gt; c", "a <b> c"),
        ("word " * 100, None),
    ],
)
def test_a_server_text_becomes_one_plain_line_or_nothing(message: str, shown: str | None) -> None:
    found = one_line(message)
    assert len(found) <= LONGEST_QUOTE
    if shown is None:
        assert found
        assert "<" not in found
        assert "\n" not in found
    else:
        assert found == shown


def test_a_shortened_text_ends_in_an_ellipsis() -> None:
    assert one_line("字" * 301) == "字" * 299 + "…"
    assert one_line("字" * 300) == "字" * 300


@pytest.mark.parametrize(
    ("code", "quoted"), [(0, True), (-3, True), (-77, True), (7, True), (-5, False), (-7, False)]
)
def test_only_vague_results_quote_the_server(code: int, *, quoted: bool) -> None:
    assert bool(server_reason(Reply(101, code, CLOSED))) is quoted


@pytest.mark.parametrize("code", [0, -3, -77])
def test_a_refused_request_quotes_the_server(code: int) -> None:
    """Below the bridge's sentence, on the same card."""
    scene = Scene()
    scene.text("hello")
    scene.reply(code, message=CLOSED)
    key = "result.other" if code == -77 else f"result.{code}"
    assert [scene.card[0], scene.card[-1]] == [key, "trouble.server_says"]
    assert scene.card_args["text"] == CLOSED


@pytest.mark.parametrize("message", ["outside working hours", "We are closed", "非工作时间"])
def test_texts_that_only_say_closed_are_not_quoted(message: str) -> None:
    scene = Scene()
    scene.text("hello")
    scene.reply(-3, message=message)
    assert scene.card == ["result.-3", "queue.kept", "callback.offer"]


def test_a_refused_callback_attempt_quotes_nothing() -> None:
    scene = Scene()
    scene.start()
    scene.reply(-3)
    scene.call_back()
    scene.forget()
    while not scene.sent(101):
        scene.later(60)
    scene.reply(-3, message=CLOSED)
    assert scene.notices == []


def test_a_refused_message_quotes_the_server() -> None:
    scene = Scene()
    scene.begin()
    event = scene.text("hello")
    scene.forget()
    scene.reply(0, message=CLOSED)
    assert list(scene.reported) == [event]
    assert said(scene) == [CLOSED]


@pytest.mark.parametrize("again", [False, True])
def test_a_dropped_message_quotes_nothing(*, again: bool) -> None:
    scene = Scene()
    scene.text("hello")
    scene.reply(requestId=REQUEST)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.reply(-10)
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.cancel()
    if again:
        scene.start()
    scene.forget()
    scene.reply(0, message=CLOSED)
    assert said(scene) == []
    assert scene.reported == {"$1": "undelivered.cancelled"}


def test_a_refused_cancel_close_or_rating_quotes_the_server() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.cancel()
    scene.reply(0, message=CLOSED)
    assert said(scene) == ["cancel.refused", CLOSED]
    scene.push(202, sessionId=SESSION, agents=[MEI])
    for do, key in ((scene.close, "close.refused"), (lambda: scene.rate(1), "rating.refused")):
        scene.forget()
        do()
        scene.reply(0, message=CLOSED)
        assert said(scene) == [key, CLOSED]


def hand_over(result: object = 1, **told: object) -> Scene:
    """Ask the robot for a person; keep only the effects of the reply."""
    scene = Scene()
    scene.start()
    scene.reply(sessionId=SESSION, agentId="BOT007", agentName="Helper", robotType=3)
    scene.happen(Human())
    scene.forget()
    scene.reply(result, **told)
    return scene


def test_the_reply_to_the_hand_over_names_a_position() -> None:
    """Table row 27: the position in the 302 reply, as that of a 201."""
    scene = hand_over(queueLength=2, message="you are number two")
    assert said(scene) == []
    cards = [one for one in scene.effects if isinstance(one, Card)]
    assert [(one.key, one.args) for one in cards] == [
        ("robot.position", {"position": 2, "queue": 7})
    ]


@pytest.mark.parametrize("length", [{"queueLength": 0}, {}])
def test_the_reply_to_the_hand_over_has_a_text(length: dict[str, object]) -> None:
    scene = hand_over(1, **length, message="Agents are busy, please wait")
    assert said(scene) == ["Agents are busy, please wait"]
    assert said(hand_over(1, **length, message="ok")) == []


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        (-1, []),  # asked for twice: it is still looking
        (-3, ["robot.alone.-3", CLOSED]),
        (-5, ["robot.alone.-5"]),
        (0, ["robot.refused", CLOSED]),
        (-8, ["robot.refused"]),
    ],
)
def test_a_refused_hand_over_quotes_the_server_where_it_helps(code: int, shown: list[str]) -> None:
    assert said(hand_over(code, message=CLOSED)) == shown


def test_the_call_centres_text_for_a_position_is_on_the_card() -> None:
    """101 and 201 may have it (HTTP guide by 2020-08); a position without text removes it."""
    scene = Scene()

    def card() -> tuple[str, object, object]:
        last = [one for one in scene.effects if isinstance(one, Card)][-1]
        return last.key, last.args.get("position"), last.args.get("text")

    def told(**news: object) -> None:
        scene.push(201, requestId=REQUEST, requestStatus=0, **news)

    scene.start()
    scene.reply(requestId=REQUEST, queueLength=3, positionInQueueMessage="当前排在第3位。")
    assert card() == ("queue.place_said", 3, "当前排在第3位")
    told(queueLength=3, message="success")
    told(queueLength=3, message="<b>快到了</b>\n请稍候")
    assert card() == ("queue.place_said", 3, "快到了 请稍候")
    versions = len(scene.cards)
    told(queueLength=3, message="快到了 请稍候")
    assert len(scene.cards) == versions
    told(message="约5分钟")
    assert card() == ("queue.place_said", 3, "约5分钟")
    told(queueLength=2)
    assert card() == ("queue.position", 2, None)
    told(queueLength=1, message="下一位就是您")
    assert card() == ("queue.place_said", 1, "下一位就是您")
    assert scene.notices == ["queue.next"]
    scene.push(201, requestId=REQUEST, requestStatus=3, queueLength=0, message="当前排在第0位")
    assert scene.cards[-1] == "status.3"


def test_the_text_for_a_lost_position_does_not_come_back() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST, queueLength=3, positionInQueueMessage="当前排在第3位")
    scene.push(201, requestId=REQUEST, requestStatus=2)
    scene.push(201, requestId=REQUEST, requestStatus=0)
    assert scene.cards[-1] == "queue.waiting"


def test_a_text_without_a_position_is_on_the_card_too() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST, queueLength=0, positionInQueueMessage="约5分钟")
    assert scene.cards[-1] == "queue.place_said"


def test_ratings_and_extensions_of_a_202() -> None:
    """As sent by servers from 2017-11-15 until 200 did; an omitted list changes nothing."""
    scene = Scene()

    def known() -> tuple[object, object]:
        return scene.state.ratings, scene.state.extensions

    ratings = [{"id": 2, "name": "满意"}]
    scene.begin()
    assert known() == ((), ())
    chat = {"sessionId": SESSION, "agents": [MEI]}
    scene.push(202, **chat, ratings=ratings, fileAcceptExtensionsArr=["PNG"])
    scene.push(202, **chat, ratings="odd", fileAcceptExtensionsArr=None)
    scene.push(202, **chat, ratings=[], fileAcceptExtensionsArr="zip,jpg")
    assert known() == (((2, "满意"),), ("zip", "jpg"))
    scene.push(202, **chat, ratings=[{"id": 1, "name": "好"}])
    assert known() == (((1, "好"),), ("zip", "jpg"))
