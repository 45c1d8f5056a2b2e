"""One whole chat on a real Synapse under each known server behaviour.

Reference 8: every switch that a customer could notice. The chat is the same each time: texts from
before and after the agent came arrive once and in order, as do the agent's, the rating counts, and
no error is reported.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import aiohttp
import msgspec
import pytest

from bridge.simulator.options import SimulatorOptions
from bridge.texts import Texts
from tests.support.matrix_user import membership
from tests.support.sounds import codec_of, tone
from tests.support.stage import Stage
from tests.support.staging import UNLIMITED
from tests.support.talk import MEI, Talk, chatting, reply_to, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

LATER: dict[str, object] = {"dialect": "2019"}
"""The dialect of 2019. One bridge meets all these servers; each wants its guide's keys (-14)."""
SWITCHES: dict[str, dict[str, object]] = {
    "as of 2016": {},
    "ids as strings": {"ids_as_strings": True, "request_id_in_reply": True},
    "its own words": {"request_id_in_reply": True, "place_words": "No. {place} in line"},
    "nested status, no call ids": {"nested_status": True, "omit_call_ids": True},
    "no types": {"omit_types": True},
    "zeros for nothing": {"zeros": True},
    "late replies": {"reply_delay_ms": 80},
    "more is told": {"close_echoed": True, "change_notices": True},
    "session in the reply": {"session_in_reply": True, "script": "accept"},
    "permanent": {"permanent": True, "script": "accept"},
    "multipart uploads": {"upload_mode": "multipart", "wrong_upload": 500},
    "a balancer": {"sticky_cookie": True},
    "later": LATER,
    "later, R2": LATER | {"revision": "R2", "nested_status": True, "ids_as_strings": True},
    "receipts answered": LATER | {"receipt_reply": True, "init_config": False},
    "impatient receipts": LATER | {"resend_seconds": 0.05, "max_resends": 20},
    "silent heartbeats": LATER | {"heartbeat": "silent", "awkward_tokens": True},
    "unknown heartbeats": LATER | {"heartbeat": "refuse", "unknown_type": -19},
    "sessions in replies": LATER | {"session_in_message_reply": True, "original_in_refusal": True},
    "as the phone clients of 2020 need it": LATER | {"people": "both", "strict": False},
    "as of 2016 once more": {},
    "strict keys": LATER | {"foreign_keys": "refuse", "wrong_keys": -17},
}


async def switch_to(stage: Stage, options: dict[str, object]) -> None:
    """Switch the simulator to these options; all others get their defaults."""
    usual = msgspec.to_builtins(UNLIMITED)
    fixed = {"context", "keep_frames", "keep_entries", "public_origin"}
    changes = {key: value for key, value in usual.items() if key not in fixed} | options
    await stage.simulator.do({"op": "set", "options": changes, "faults": []})


@pytest.mark.parametrize("name", SWITCHES)
async def test_the_same_chat_whatever_the_server_is_like(stage: Stage, name: str) -> None:
    options = SWITCHES[name]
    await switch_to(stage, options)
    number = list(SWITCHES).index(name)
    talk = await Talk.open(stage, await stage.customer(f"switch{number}"), "one")
    if options.get("script") == "accept":
        await talk.at_desk(lambda person: person.session is not None)
        await talk.heard("one")
    else:
        await talk.queued()
        await talk.say("two")
        await talk.heard("two")
        await talk.desk("accept", agent="A00001")
        await talk.sees(membership(MEI, "join"))
    await talk.say("three")
    await talk.heard("three")
    if options.get("script") == "accept":
        agent = str((await talk.at_desk(lambda one: one.session is not None)).session)
        assert "A0000" in agent
    await talk.desk("say", text="hello /::)")
    await talk.reads("hello 🙂")
    await talk.desk("kick", code=1006)
    await talk.say("four")
    await talk.heard("four")
    await talk.customer.send_file(talk.room, b"%PDF-1.4 terms", "terms.pdf", "application/pdf")
    await talk.got("file")
    await talk.say("!wc close")
    await talk.reads("You have ended the chat")
    await talk.say("!wc rate 1")
    person = await talk.at_desk(lambda one: bool(one.ratings))
    await talk.reads("Thank you for your rating")
    assert [rating.rating for rating in person.ratings] == [1]
    expected = (
        ["one", "three", "four", ""]
        if "script" in options
        else [
            "one",
            "two",
            "three",
            "four",
            "",
        ]
    )
    assert [message.text for message in person.messages if not message.repeat] == expected
    spoken = [wording(event) for event in talk.messages() if "hello 🙂" in wording(event)]
    assert len(spoken) == 1
    told = [wording(event) for event in talk.messages(stage.bot)]
    assert not [line for line in told if "code" in line or "trouble" in line.lower()], told


async def test_a_long_voice_message_is_sent_by_address_or_as_a_file(stage: Stage) -> None:
    """As `voiceUri` to a server of the guide of 2019-10-14; as a file to one that refuses it."""
    data, name = tone(30), "Voice.ogg"
    voice: dict[str, object] = {"org.matrix.msc3245.voice": {}}
    for revision, kind in (("R5", "voice"), ("R4", "file")):
        await switch_to(stage, LATER | {"revision": revision, "strict": True})
        talk = await chatting(stage, f"long-speaker-{revision.lower()}")
        await talk.customer.send_file(talk.room, data, name, "audio/ogg", "m.audio", **voice)
        told: Any = (await talk.got(kind)).content
        if kind == "voice":
            assert (told["voiceLength"], told["voiceType"]) == (30, "amr")
            async with aiohttp.ClientSession() as web, web.get(told["voiceUri"]) as sound:
                assert codec_of(await sound.read()) == "amrnb"
        else:
            assert (told["name"], told["size"]) == (name, len(data))


async def test_a_server_with_a_small_buffer(stage: Stage) -> None:
    """Close 1009 (trap T23) is reported and the limit learnt; a retry arrives in pieces."""
    await switch_to(stage, LATER | {"frame_limit": 2048})
    talk = await Talk.open(stage, await stage.customer("long-winded"), "one")
    await talk.accept()
    long = "客服你好，" * 400

    def delivered() -> bool:
        person = talk.person
        return person is not None and long in "".join(person.texts)

    def reports(event: str) -> list[str]:
        return [wording(one) for one in talk.messages(stage.bot) if reply_to(one) == event]

    def settled(event: str) -> bool:
        return delivered() or bool(reports(event))

    tries = 0
    while not delivered():
        tries += 1
        assert tries <= 3, "halved until it fits"
        event = await talk.say(long)
        await talk.customer.wait_until(partial(settled, event))
        too_big = Texts().render("zh-CN", "undelivered.too_big", {})
        assert delivered() or too_big in reports(event)[0], "in the language of the words"
        await talk.say(f"short {tries}")
        await talk.heard(f"short {tries}")  # later messages are not held up
    assert tries > 1
    person = talk.person
    assert person is not None
    said = "".join(text for text in person.texts if "short" not in text)
    assert said == f"one{long}"
    assert len([text for text in person.texts if "客服" in text]) > 2


async def test_every_simulator_option_is_in_the_list_of_switches() -> None:
    """A new option needs an entry in `SWITCHES`, or below if another test covers it."""
    elsewhere = {
        *("script", "agents", "queues", "queue_names", "queue_timeout", "open_hours", "context"),
        *("public_origin", "missed_pushes", "resume_push", "max_pending", "session_grace"),
        *("accounts", "client_id_in_login", "sign_key", "login_limit", "login_window"),
        *("login_ban", "ban_covers", "token_lifetime", "new_login_kills_old", "frame_limit"),
        *("handshake_refusal", "history", "history_style", "upload_url", "allowed_extensions"),
        *("max_upload", "robot_queues", "robot", "robot_type", "robot_speaks", "robot_started"),
        *("robot_handover", "robot_key", "robot_answers", "keep_frames", "keep_entries"),
        *("robot_mode", "keep_records", "ratings", "receipts", "videos"),
        *("running_history", "history_behind", "content", "continues"),
    }
    here: set[Any] = {key for options in SWITCHES.values() for key in options}
    assert set(SimulatorOptions.__struct_fields__) == here | elsewhere
