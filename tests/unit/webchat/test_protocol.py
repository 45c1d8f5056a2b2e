"""Pairing of commands and replies: which calls wait, and which reply belongs to which."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.ids import CallId, QueueId, RequestId, SessionId
from bridge.webchat.codes import Dialect
from bridge.webchat.frames import (
    Agent,
    CancelRequest,
    ChatStarted,
    Command,
    Heartbeat,
    Ignored,
    Receipt,
    Received,
    Reply,
    RequestChat,
    SendMessage,
    Text,
)
from bridge.webchat.protocol import Answered, LocalProtocolError, Protocol

HELLO = SendMessage(SessionId(5150), Text("hello"))
ASK = RequestChat(QueueId(7))


def reply(kind: int | None, call_id: int | None = None, result: int = 1) -> str:
    told = {"result": result} if kind is None else {"type": kind, "result": result}
    return json.dumps(told if call_id is None else {**told, "messageId": call_id})


def send(protocol: Protocol, command: Command, *call_ids: int) -> None:
    for call_id in call_ids:
        protocol.send(command, CallId(call_id), 1733011200000)


def answered(outcome: Answered | Received | Ignored) -> int | None:
    return outcome.call_id if isinstance(outcome, Answered) else None


def test_a_reply_finds_its_command() -> None:
    protocol = Protocol("T")
    send(protocol, ASK, 1)
    send(protocol, HELLO, 2, 3)
    assert list(protocol.waiting) == [1, 2, 3]
    outcome = protocol.receive(reply(110, 3, -11))
    assert outcome == Answered(CallId(3), HELLO, Reply(110, -11, call_id=CallId(3)))
    assert list(protocol.waiting) == [1, 2]


def test_the_token_is_in_the_frame_but_not_in_the_repr() -> None:
    protocol = Protocol("hunter2")
    assert '"token":"hunter2"' in protocol.send(HELLO, CallId(1), 0)
    assert "hunter2" not in repr(protocol)


def test_each_frame_may_be_written_in_another_dialect() -> None:
    protocol = Protocol("T")
    assert '{"text":"hello"}' in protocol.send(HELLO, CallId(1), 0, Dialect.Y2019)
    dual = protocol.send(HELLO, CallId(2), 0, Dialect.DUAL)
    assert '"content":"hello","extra":"","text":"hello"' in dual


def test_a_reply_without_or_with_a_foreign_id_goes_to_the_oldest_of_its_type() -> None:
    protocol = Protocol("T")
    send(protocol, ASK, 1)
    send(protocol, HELLO, 2, 3)
    assert answered(protocol.receive(reply(110))) == 2
    assert answered(protocol.receive(reply(110, 777))) == 3
    assert answered(protocol.receive(reply(101, 2))) == 1
    assert not protocol.waiting


def test_a_reply_that_names_a_call_of_another_type_goes_to_one_of_its_own() -> None:
    protocol = Protocol("T")
    send(protocol, ASK, 1)
    send(protocol, HELLO, 2)
    assert answered(protocol.receive(reply(110, 1))) == 2
    assert [*protocol.waiting] == [1]


def test_a_reply_that_nobody_awaits_is_ignored() -> None:
    protocol = Protocol("T")
    send(protocol, ASK, 1)
    assert protocol.receive(reply(110, 9)) == Ignored("unexpected reply 110")
    assert protocol.receive("nonsense") == Ignored("not JSON")
    assert [*protocol.waiting] == [1]
    assert not protocol.token_refused


def test_a_repeated_reply_settles_no_other_call() -> None:
    protocol = Protocol("T")
    send(protocol, HELLO, 1, 2)
    assert answered(protocol.receive(reply(110, 1))) == 1
    assert protocol.receive(reply(110, 1)) == Ignored("unexpected reply 110")
    assert [*protocol.waiting] == [2]


def test_a_call_sent_again_waits_for_one_reply() -> None:
    protocol = Protocol("T")
    send(protocol, HELLO, 1)
    protocol.receive(reply(110, 1, -15))
    send(protocol, HELLO, 1, 1)
    assert [*protocol.waiting] == [1]
    assert answered(protocol.receive(reply(110, 1))) == 1


def test_a_reply_without_type_answers_the_call_that_it_names() -> None:
    """A server that could not read a command has no type to repeat."""
    protocol = Protocol("T")
    send(protocol, ASK, 5)
    send(protocol, HELLO, 6)
    outcome = protocol.receive('{"messageId":6,"result":-8}')
    assert outcome == Answered(CallId(6), HELLO, Reply(0, -8, call_id=CallId(6)))
    nobody = Ignored("unexpected reply 0")
    for late in ('{"messageId":6,"result":1}', '{"messageId":99,"result":1}'):
        assert protocol.receive(late) == nobody
    assert [*protocol.waiting] == [5]
    assert answered(protocol.receive('{"messageId":"5","type":null,"result":"1"}')) == 5


def test_a_reply_without_type_and_id_answers_the_only_call() -> None:
    protocol = Protocol("T")
    bare = '{"result":-8,"message":""}'
    nobody = Ignored("unexpected reply 0")
    assert protocol.receive(bare) == nobody
    send(protocol, ASK, 1)
    assert answered(protocol.receive(bare)) == 1
    send(protocol, HELLO, 2, 3)
    assert protocol.receive(bare) == nobody, "it may be about either"
    assert answered(protocol.receive(reply(110, 2))) == 2
    assert answered(protocol.receive(bare)) == 3


@pytest.mark.parametrize("stray", ["given up", "receipt"])
def test_a_reply_without_type_and_id_that_may_be_late_is_ignored(stray: str) -> None:
    protocol = Protocol("T")
    if stray == "given up":
        send(protocol, HELLO, 1)
        protocol.forget(CallId(1))
    else:
        send(protocol, Receipt("r-1"), 1)
    send(protocol, HELLO, 2)
    assert protocol.receive('{"result":1}') == Ignored("unexpected reply 0")
    assert [*protocol.waiting] == [2]
    assert answered(protocol.receive('{"result":1,"messageId":2}')) == 2


def test_a_token_refused_without_type_is_noticed() -> None:
    protocol = Protocol("T")
    send(protocol, HELLO, 1, 2)
    assert answered(protocol.receive('{"messageId":1,"result":-15}')) == 1
    protocol.receive('{"messageId":1,"result":-15}')
    assert not protocol.token_refused  # both were about call 1
    assert answered(protocol.receive('{"result":-15}')) == 2
    assert not protocol.token_refused
    protocol.receive('{"result":-15}')
    assert protocol.token_refused, "nobody waits, so it is about the token"


def test_a_receipt_has_no_reply() -> None:
    protocol = Protocol("T")
    assert '"rsId":"r-1"' in protocol.send(Receipt("r-1"), CallId(5), 0)
    assert not protocol.waiting
    assert protocol.receive(reply(120, 5)) == Ignored("unexpected reply 120")


def test_a_heartbeat_has_a_reply() -> None:
    protocol = Protocol("T")
    send(protocol, Heartbeat(), 2)
    assert answered(protocol.receive('{"messageId":2,"type":10,"result":1}')) == 2


def test_a_command_that_cannot_be_written_does_not_wait_for_a_reply() -> None:
    protocol = Protocol("T")
    with pytest.raises(LocalProtocolError):
        send(protocol, CancelRequest(RequestId(2**63)), 1)
    assert not protocol.waiting


def test_the_late_reply_to_a_forgotten_call_is_ignored() -> None:
    protocol = Protocol("T")
    send(protocol, HELLO, 1, 2)
    protocol.forget(CallId(1))
    protocol.forget(CallId(1))
    assert protocol.receive(reply(110, 1)) == Ignored("unexpected reply 110")
    assert [*protocol.waiting] == [2]


def test_the_late_reply_to_a_forgotten_command_counts_for_its_repetition() -> None:
    """A server that takes 25 s for each answer would otherwise never answer in time."""
    protocol = Protocol("T")
    send(protocol, ASK, 1)
    protocol.forget(CallId(1))
    protocol.send(RequestChat(QueueId(8)), CallId(2), 0)
    send(protocol, ASK, 3)
    assert answered(protocol.receive(reply(101, 1))) == 3
    assert protocol.receive(reply(101, 1)) == Ignored("unexpected reply 101")
    assert protocol.receive(reply(101, 3)) == Ignored("unexpected reply 101")
    assert [*protocol.waiting] == [2]


def test_a_token_refused_outside_any_reply_is_noticed() -> None:
    protocol = Protocol("T")
    send(protocol, HELLO, 1)
    protocol.receive(reply(110, 1, -15))
    protocol.receive(reply(110, 1, -15))
    assert not protocol.token_refused  # both were about call 1
    assert isinstance(protocol.receive(reply(1, None, -15)), Ignored)
    assert protocol.token_refused


def test_pushes_are_returned_without_the_customer_among_the_agents() -> None:
    frame = (
        '{"type":202,"sessionId":5150,"rsId":"r-1","agents":['
        '{"id":"me","comments":""},{"id":"K00017","comments":""}]}'
    )
    outcome = Protocol("T", client_id="me").receive(frame)
    assert isinstance(outcome, Received)
    assert outcome.rs_id == "r-1"
    assert isinstance(outcome.push, ChatStarted)
    assert [agent.id for agent in outcome.push.agents] == ["K00017"]
    assert isinstance(outcome.push.agents[0], Agent)


ids = st.integers(0, 6)
actions = st.one_of(
    st.tuples(st.just("send"), ids),
    st.tuples(st.just("ask"), ids),
    st.tuples(st.just("reply"), ids | st.none()),
    st.tuples(st.just("answer"), ids | st.none()),
    st.tuples(st.just("untyped"), ids | st.none()),
    st.tuples(st.just("forget"), ids),
)


@given(st.lists(actions, max_size=40))
def test_every_reply_settles_at_most_one_waiting_call_of_its_type(
    steps: list[tuple[str, int | None]],
) -> None:
    protocol = Protocol("T")
    model: dict[int, int] = {}
    effects: dict[str, Callable[[int], object]] = {
        "send": lambda call_id: send(protocol, HELLO, call_id),
        "ask": lambda call_id: send(protocol, ASK, call_id),
        "forget": lambda call_id: protocol.forget(CallId(call_id)),
    }
    for action, call_id in steps:
        if action == "untyped":
            settled = answered(protocol.receive(reply(None, call_id)))
            if call_id is not None:
                assert settled == (call_id if call_id in model else None)
            elif settled is not None:
                assert set(model) == {settled}
            if settled is not None:
                del model[settled]
        elif action in {"reply", "answer"}:
            kind = 110 if action == "reply" else 101
            settled = answered(protocol.receive(reply(kind, call_id)))
            if settled is not None:
                assert model.pop(settled) == kind
            if call_id is not None and settled != call_id:
                assert model.get(call_id) != kind  # the exact match always wins
        else:
            assert call_id is not None
            effects[action](call_id)
            if action == "forget":
                model.pop(call_id, None)
            else:
                model[call_id] = 110 if action == "send" else 101
        assert set(protocol.waiting) == set(model)


def test_the_newest_settled_calls_are_remembered() -> None:
    """The 64 newest; a call id that is used again counts as new."""
    protocol = Protocol("T")

    def beat(number: int) -> Answered | Received | Ignored:
        protocol.send(Heartbeat(), CallId(number), 0)
        return protocol.receive(reply(10, number))

    for number in (*range(1, 67), 3):
        assert answered(beat(number)) == number
    beat(67)
    send(protocol, Heartbeat(), 999)
    for known in (5, 67, 3):
        assert isinstance(protocol.receive(reply(10, known)), Ignored)
    assert answered(protocol.receive(reply(10, 4))) == 999
