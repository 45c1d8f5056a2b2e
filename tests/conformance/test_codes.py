"""Every result code of reference 2.5 as the repeated answer to every command.

Whatever a server answers: no endless retries, the customer is shown a sentence for this code, texts
are kept or reported as undelivered, and the room remains usable.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.conversation.model import Human, Idle, Upload
from bridge.texts import CATALOGUE, LANGUAGES
from bridge.webchat.codes import RequestStatus, ResultCode
from tests.support.scene import ASK, MEI, REQUEST, SESSION, Scene

HOUR = 3600
REFUSALS = [
    (ResultCode.FAILURE, "result.0"),
    (-3, "result.-3"),
    (-4, "result.-4"),
    (-5, "result.-5"),
    (-6, "result.-6"),
    (-7, "result.-7"),
    (-8, "result.-8"),
    (-9, "result.-9"),
    (-10, "result.-10"),
    (-11, "result.-11"),
    (-12, "result.-12"),
    (-13, "result.-13"),
    (-14, "result.-14"),
    (-16, "result.-16"),
    (-17, "result.-17"),
    (-18, "result.-18"),
    (-19, "result.-19"),
    (-20, "result.-20"),
    (-21, "result.-21"),
    (-22, "result.-22"),
    (-23, "result.-23"),
    (-30, "result.-30"),
    *((code, f"result.{code}") for code in range(-35, -30)),
    (-77, "result.other"),
    (7, "result.other"),
]
EVERY_CODE = [code for code, _ in REFUSALS] + [-1, -2, -15, -100]


def answered(scene: Scene, code: int, seconds: float = HOUR) -> int:
    """Answer every call with `code` for this time; return the number of calls."""
    end, count = scene.now + round(seconds * 1000), 0
    while scene.now < end:
        if scene.state.outstanding is None:
            scene.later(1)
            continue
        count += 1
        assert count < 300, "calls in a circle"
        assert not isinstance(scene.state.outstanding.what, Upload)
        scene.reply(code)
    return count


@pytest.mark.parametrize(("code", "key"), REFUSALS)
def test_a_request_for_an_agent_is_refused(code: int, key: str) -> None:
    """101 is sent once and its failure reported once; the text is kept for the next request."""
    scene = Scene()
    event = scene.text("one")
    assert answered(scene, code) == 1
    assert scene.frames == [ASK]
    assert scene.card[:2] == [key, "queue.kept"]
    assert isinstance(scene.state.phase, Idle)
    assert [piece.event_id for piece in scene.state.held] == [event]
    scene.text("two")
    assert scene.last == ASK, "the next word asks anew"


def test_a_request_that_breaks_the_server_is_made_three_times() -> None:
    """-100 may be temporary: the request is retried with pauses, then reported."""
    scene = Scene()
    scene.text("one")
    assert answered(scene, -100) == scene.policy.max_tries == 3
    assert scene.card == ["result.-100", "queue.kept"]


@pytest.mark.parametrize("code", EVERY_CODE)
def test_a_message_is_refused(code: int) -> None:
    """110: the text is reported after at most 3 tries (-15: 60 in an hour); the next succeeds."""
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    tries = answered(scene, code, HOUR)
    if code == -11:  # the request for a new chat is refused too: the text is kept
        assert (tries, scene.card) == (2, ["result.-11", "queue.kept"])
        assert [piece.event_id for piece in scene.state.held] == [event]
        return
    assert tries <= (60 if code == -15 else 3)
    assert scene.reported.keys() == {event}
    assert event not in scene.delivered
    later = scene.text("two")
    scene.reply()
    assert scene.delivered == [later]


def _cancel(scene: Scene) -> None:
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.cancel()


def _close(scene: Scene) -> None:
    scene.begin()
    scene.close()


def _rate(scene: Scene) -> None:
    scene.begin()
    scene.rate(0)


def _pre_message(scene: Scene) -> None:
    scene.text("one")
    scene.reply(requestId=REQUEST)


def _ask_for_person(scene: Scene) -> None:
    scene.start()
    scene.reply(sessionId=SESSION, agentId="BOT007", agentName="Helper", robotType=3)
    scene.happen(Human())


@pytest.mark.parametrize("code", EVERY_CODE)
@pytest.mark.parametrize("begin", [_cancel, _close, _rate, _pre_message, _ask_for_person])
def test_any_other_command_is_refused(begin: Callable[[Scene], None], code: int) -> None:
    """102, 103, 104, 111 and 302: no endless retries, a notice, and the room remains usable."""
    scene = Scene()
    begin(scene)
    scene.forget()
    calls = answered(scene, code)
    assert calls <= (70 if code == -15 else 20)
    assert [*scene.notices, *scene.cards, *scene.reported], "never in silence"
    scene.push(202, sessionId=SESSION + 1, agents=[MEI])
    scene.text("goes on")
    end = scene.now + 120_000
    while scene.now < end:
        if scene.state.outstanding is None:
            scene.later(1)
        elif scene.last["type"] == 101:
            scene.reply(requestId=REQUEST + 1)
            scene.push(202, sessionId=SESSION + 2, agents=[MEI])
        else:
            scene.reply()
    assert "goes on" in scene.texts


@pytest.mark.parametrize("status", [*RequestStatus, 42])
def test_every_end_of_a_request_has_its_own_sentence(status: int) -> None:
    """201: each status has its sentence, which is shown once even if the push is repeated."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST)
    for _ in range(3):
        scene.push(201, requestId=REQUEST, requestStatus=status)
    scene.later(10)
    own = f"status.{status}" if status in set(RequestStatus) else "status.other"
    on_the_card = {
        RequestStatus.WAITING: "queue.asking",
        RequestStatus.ACCEPTED: "queue.accepted",
        RequestStatus.ENTERPRISE_WECHAT_ACCEPTED: "queue.accepted",
        RequestStatus.CANCELED_BY_CLIENT: "queue.cancelled",
    }
    if status in on_the_card:
        assert (scene.notices, scene.cards[-1]) == ([], on_the_card[RequestStatus(status)])
    else:
        assert (scene.notices, scene.cards[-1]) == ([], own)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("family", ["result.", "status."])
def test_each_result_code_and_status_has_its_own_sentence(family: str, language: str) -> None:
    """In each language, no two codes share a sentence."""
    said: dict[str, list[str]] = {}
    for key, sentence in CATALOGUE.items():
        if key.startswith(family) and not key.endswith(("_command", "_paused")):
            said.setdefault(sentence[language], []).append(key)
    assert [keys for keys in said.values() if len(keys) > 1] == []
