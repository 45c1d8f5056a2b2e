"""The robot of a queue, in every way in which robots were seen to speak and to hand over."""

from __future__ import annotations

import pytest

from tests.support.matrix_user import membership
from tests.support.stage import Stage
from tests.support.talk import MEI, Talk, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROBOT = "@webchat__b_o_t007:localhost"
ANSWER = "Send it <b>back</b> &amp; wait"


@pytest.mark.parametrize(
    ("make", "speaks", "started", "mode", "handover"),
    [
        (3, 301, False, True, 204),  # XIAODUO: JSON text in 301
        (3, 301, True, False, 204),  # and a 202 as the guides print it
        (0, 301, True, True, 202),  # KM: plain text, and a 202 with robotMode
        (1, 210, True, False, 202),  # YIBOT: as agents speak
        (1, 210, False, True, 202),
        (2, 210, True, True, 204),  # XIAOI
    ],
)
async def test_a_robot_answers_and_hands_over(
    stage: Stage, *, make: int, speaks: int, started: bool, mode: bool, handover: int
) -> None:
    """Reference 1.6, table row 27: one greeting, on the card; one answer; one hand-over."""
    options = {
        "dialect": "2019",
        "robot_queues": [1],
        "robot_answers": {"How do I return it?": ANSWER},
        "robot_type": make,
        "robot_speaks": speaks,
        "robot_started": started,
        "robot_mode": mode,
        "robot_handover": handover,
    }
    await stage.simulator.do({"op": "set", "options": options})
    customer = await stage.customer(f"asker{make}{started}{mode}".lower())
    talk = await Talk.open(stage, customer, "How do I return it?")
    answer = await talk.reads("Send it back & wait")
    assert answer["sender"] == ROBOT
    await talk.say("Can I talk to a real person, please?")
    await talk.queued()
    await talk.desk("accept", agent="A00001")
    await talk.sees(membership(MEI, "join"))
    await talk.sees(membership(ROBOT, "leave"))
    await talk.desk("say", text="I am a person")
    await talk.reads("I am a person", MEI)
    await talk.say("at last")
    await talk.heard("at last")
    person = talk.person
    assert person is not None
    assert person.texts == ["How do I return it?", "at last"]
    assert [message.type for message in person.messages] == [110, 110]
    told = [wording(event) for event in talk.messages(stage.bot)]
    assert len([line for line in told if "Connected: Helper" in line]) == 1, told
    assert len([line for line in told if "handed you over to Mei" in line]) == 1, told
    await talk.desk("close")


async def test_a_robot_is_known_by_its_words_though_the_reply_that_named_it_was_lost(
    stage: Stage,
) -> None:
    """The next reply, -2, only names the session: it offers no person, and is no person's."""
    options = {
        "dialect": "2019",
        "robot_queues": [1],
        "robot_answers": {"How do I return it?": ANSWER},
        "robot_speaks": 301,
        "robot_started": False,
        "robot_mode": False,
        "request_id_in_reply": True,
    }
    lost = {"fault": "drop", "type": 101}
    await stage.simulator.do({"op": "set", "options": options, "faults": [lost]})
    talk = await Talk.open(stage, await stage.customer("unnamed"), "How do I return it?")
    await talk.reads("Send it back & wait")
    await talk.reads("To talk to a person")
    await talk.say("!wc human")
    await talk.queued()
    await talk.desk("accept", agent="A00001")
    await talk.desk("say", text="I am a person")
    await talk.reads("I am a person", MEI)
    told = [wording(event) for event in talk.messages(stage.bot)]
    assert not [line for line in told if "An agent is here" in line], told
    await talk.desk("close")
