"""Reading envelopes, and lenient reading of single values."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.ids import AgentId, CallId, QueueId, RequestId, SessionId
from bridge.webchat import read
from bridge.webchat.frames import (
    BROKEN,
    Agent,
    AgentsUpdated,
    AgentText,
    ChatStarted,
    Ignored,
    InitConfig,
    MessageReceived,
    Push,
    QueueStatus,
    RatingPushed,
    Received,
    Reply,
    RobotMessage,
    SessionClosed,
    UnknownContent,
)
from bridge.webchat.read import parse_frame

GUID = "7b0c2c58-6f0e-4d0e-9d51-0d7b3a3f5a10"
SESSION = SessionId(5150)
MEI = Agent(AgentId("K00017"), "Mei", "headimg/mei.png", "tier 1")
MEI_ENTRY = {"id": "K00017", "name": "Mei", "icon": "headimg/mei.png", "comments": "tier 1"}
CUSTOMER_ENTRY = {"id": GUID, "name": "room-42", "icon": ""}


def reply(**told: object) -> Reply:
    found = parse_frame(json.dumps(told))
    assert isinstance(found, Reply)
    return found


def push(**told: object) -> Push:
    return push_to("", told)


def push_to(client_id: str, told: dict[str, object]) -> Push:
    found = parse_frame(json.dumps(told), client_id=client_id)
    assert isinstance(found, Received)
    return found.push


def ignored(frame: str) -> str:
    found = parse_frame(frame)
    assert isinstance(found, Ignored)
    return found.kind


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ("", "not JSON"),
        ("type: 202", "not JSON"),
        ("{'type': 202}", BROKEN),
        ('\ufeff {"type":210,"msg":{"type":1,"content":"wo', BROKEN),
        ('[{"type":210', BROKEN),
        ('][{"type":210}]', BROKEN),
        ('rd"}}', "not JSON"),
        ("[1,2]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("{}", "frame without type"),
        ('{"type":"x"}', "frame without type"),
        ('{"type":true}', "frame without type"),
        ('{"messageId":6,"message":"no"}', "frame without type"),
        ('{"type":299}', "unknown type 299"),
        ('{"type":110,"messageId":9}', "reply 110 without result"),
        ('{"type":202,"agents":[]}', "push 202 without sessionId"),
        ('{"type":202,"sessionId":0,"agents":[]}', "push 202 without sessionId"),
        ('{"type":201,"requestId":9001}', "push 201 without requestStatus"),
        ('{"type":301,"sessionId":5150}', "push 301 without content"),
        ('{"type":302,"sessionId":5150}', "push 302 without message"),
    ],
)
def test_an_unreadable_or_incomplete_frame_is_ignored(frame: str, kind: str) -> None:
    assert ignored(frame) == kind


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("您好 🙂".encode(), "您好 🙂"),
        ('{"content":"您好"}'.encode("gb18030"), '{"content":"您好"}'),
        (b"\xe6\x82\xa8\xe5\xa5 hi", "您\ufffd hi"),
    ],
)
def test_text_that_is_not_utf_8_is_read_all_the_same(data: bytes, text: str) -> None:
    assert read.decoded(data) == read.decoded(bytearray(data)) == text


@pytest.mark.parametrize("nothing", [0, "0", -1, None, ""])
def test_an_id_of_0_is_none(nothing: object) -> None:
    """A Java server writes its missing numbers so."""
    ids: dict[str, object] = {"requestId": nothing, "sessionId": nothing}
    assert reply(type=101, result=1, **ids) == Reply(101, 1)
    assert reply(type=110, result=1, messageId=0, **ids) == Reply(110, 1, call_id=CallId(0))
    told = {"type": 110, "result": 1, "messageId": 9, "message": "", "sessionId": nothing}
    assert reply(**told) == Reply(110, 1, call_id=CallId(9))
    assert push(type=201, requestStatus=0, queueLength=2, **ids) == QueueStatus(None, 0, 2)
    told = {"type": 204, "sessionId": nothing, "queueId": nothing}
    assert push(**told) == AgentsUpdated(SessionId(0))


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        *[(1, 1), ("1", 1), (True, 1), (1.0, 1), (0, 0), (False, 0), (-11, -11), ("-11", -11)],
        *[(None, 0), ("", 0), ("success", 0), ([1], 0)],
    ],
)
def test_result(result: object, expected: int) -> None:
    assert reply(type=110, messageId=9, result=result).result == expected


def test_reply_minimal_and_full() -> None:
    assert reply(type=101, result=1) == Reply(101, 1)
    assert reply(
        type="101",
        messageId="3",
        result="1",
        message="queued",
        requestId="9001",
        queueLength="3",
        sessionId=5150.0,
        continueLastSession=1,
        positionInQueueMessage="third",
    ) == Reply(
        101,
        1,
        "queued",
        CallId(3),
        RequestId(9001),
        3,
        SESSION,
        place="third",
        continued=True,
    )


@pytest.mark.parametrize(
    ("told", "robot_type"),
    [({"robotType": 3}, 3), ({"robotMode": True}, 0), ({"robotMode": False}, None), ({}, None)],
)
def test_robot_in_a_reply(told: dict[str, object], robot_type: int | None) -> None:
    assert reply(type=101, result=1, sessionId=1, **told).robot_type == robot_type


@pytest.mark.parametrize("perm", [1, 0, None, ""])
def test_perm_of_any_value_counts(perm: object) -> None:
    assert reply(type=101, result=1, perm=perm).permanent
    assert not reply(type=101, result=1).permanent


@pytest.mark.parametrize(
    "told",
    [
        {"agents": [{"id": "K00017", "name": "Mei"}]},
        {"agents": [{"agentId": "K00017", "agentName": "Mei"}]},
        {"agentId": "K00017", "agentName": "Mei", "id": 12},
    ],
)
def test_agents_in_a_reply(told: dict[str, object]) -> None:
    assert reply(type=110, result=1, **told).agents == (Agent(AgentId("K00017"), "Mei"),)


def test_values_inside_data_are_read_in_every_frame() -> None:
    told = {"sessionId": 5150, "agentId": "K00017", "msg": {"type": 1, "content": "hello"}}
    assert push(type=210, data=told) == push(type=210, **told)
    assert reply(type=110, messageId=9, data={"result": 1}) == Reply(110, 1, call_id=CallId(9))


def test_a_refused_reply_may_have_a_request_id() -> None:
    assert reply(type=101, result=-1, requestId=9001).request_id == 9001


def test_301_and_302_with_result_are_replies() -> None:
    assert reply(type=302, messageId=15, result=1, queueLength=2).queue_length == 2
    assert reply(type=301, messageId=15, result=1).type == 301
    assert isinstance(push(type=301, result=1, content="hello"), RobotMessage)


def test_302_without_result_is_a_push() -> None:
    assert push(type=302, sessionId=5150, queueLength=2) == QueueStatus(None, 0, 2, SESSION)
    assert push(type=302, sessionId=5150, queueLength=0, message="no one there") == RobotMessage(
        SESSION, None, "no one there", transfer=True
    )
    assert push(type=302, content="moment") == RobotMessage(None, None, "moment", transfer=True)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            {"requestId": 9001, "requestStatus": 0, "queueLength": 2},
            QueueStatus(RequestId(9001), 0, 2),
        ),
        (
            {"data": {"requestId": "9001", "requestStatus": "0", "queueLength": 2.0}},
            QueueStatus(RequestId(9001), 0, 2),
        ),
        (
            {"data": '{"requestStatus":3}', "requestId": 9001},
            QueueStatus(RequestId(9001), 3),
        ),
        ({"requestId": 9001, "result": 2}, QueueStatus(RequestId(9001), 2)),  # trap T32
        ({"requestStatus": 42}, QueueStatus(None, 42)),
        ({"queueLength": 4}, QueueStatus(None, 0, 4)),
        ({"requestStatus": 0, "sessionId": 5150}, QueueStatus(None, 0, None, SESSION)),
        ({"requestStatus": 11, "data": None}, QueueStatus(None, 11)),
        (
            {"requestStatus": 0, "queueLength": 7, "data": {"requestStatus": 2, "type": 9}},
            QueueStatus(None, 2, 7),  # reference 1.4: `data` if present
        ),
        ({"requestStatus": 2, "data": {"requestStatus": None}}, QueueStatus(None, 2)),
    ],
)
def test_queue_status(told: dict[str, object], expected: QueueStatus) -> None:
    assert push(type=201, **told) == expected


def test_chat_started() -> None:
    assert push(type=202, sessionId=5150, agents=[MEI_ENTRY]) == ChatStarted(SESSION, (MEI,))
    assert push(
        type=202, sessionId="5150", agents=[], continueLastSession=True, robotMode="true"
    ) == ChatStarted(SESSION, (), robot=True, continued=True)


def test_the_customer_is_removed_from_users() -> None:
    people = [CUSTOMER_ENTRY, MEI_ENTRY]
    expected = ChatStarted(SESSION, (MEI,))
    assert push(type=202, sessionId=5150, users=people) == expected
    assert push_to(GUID, {"type": 202, "sessionId": 5150, "users": people}) == expected
    short = {**CUSTOMER_ENTRY, "id": "c-1", "comments": ""}
    told = {"type": 202, "sessionId": 5150, "users": [short, MEI_ENTRY]}
    assert push_to("c-1", told) == expected


def test_users_with_only_the_customer_give_no_agents() -> None:
    assert push(type=202, sessionId=5150, users=[CUSTOMER_ENTRY]) == ChatStarted(SESSION)


def test_guessing_the_customer_never_empties_a_list_of_agents() -> None:
    started = push(type=202, sessionId=5150, agents=[CUSTOMER_ENTRY])
    assert isinstance(started, ChatStarted)
    assert [agent.id for agent in started.agents] == [GUID]
    both = push(type=202, sessionId=5150, agents=[CUSTOMER_ENTRY, MEI_ENTRY])
    assert both == ChatStarted(SESSION, (MEI,))


def test_odd_entries_of_a_people_list() -> None:
    entries = ["x", None, {}, {"name": "nobody"}, {"id": " "}, MEI_ENTRY, {"id": "K00017"}]
    assert push(type=204, sessionId=5150, agents=entries) == AgentsUpdated(SESSION, (MEI,))
    assert push(type=204, sessionId=5150, agents="none") == AgentsUpdated(SESSION)
    listed = json.dumps([{"id": 7, "commonts": "lead"}])
    assert push(type=204, sessionId=5150, agents=listed) == AgentsUpdated(
        SESSION, (Agent(AgentId("7"), comments="lead"),)
    )


def test_agents_updated_with_queue() -> None:
    told = push(type=204, sessionId=5150, users=[MEI_ENTRY], queueId="8", queueName="Returns")
    assert told == AgentsUpdated(SESSION, (MEI,), QueueId(8))


def test_overlong_values_of_an_agent_are_cut_or_dropped() -> None:
    entries = [{"id": "B", "icon": "x" * 70_000, "comments": "x" * 5000}, {"id": "x" * 5000}]
    told = push(type=204, sessionId=5150, agents=entries)
    assert told == AgentsUpdated(SESSION, (Agent(AgentId("B"), comments="x" * 2000),))


def test_of_a_list_of_people_the_first_five_hundred_entries_are_read() -> None:
    told = push(type=204, sessionId=5150, agents=["{"] * 499 + [{"id": "A"}, {"id": "B"}])
    assert told == AgentsUpdated(SESSION, (Agent(AgentId("A")),))


def test_portrait_uri_is_read_as_an_agents_icon() -> None:
    entry = {"id": "K00017", "portraitUri": "head/mei.png"}
    started = push(type=202, sessionId=5150, agents=[entry])
    assert started == ChatStarted(SESSION, (Agent(AgentId("K00017"), icon="head/mei.png"),))


def test_an_agents_name_is_one_line() -> None:
    people = [{"id": "A00001", "name": "\u202eMei\n \u200bLin", "comments": ""}]
    told = push(type=204, sessionId=1, users=people)
    assert isinstance(told, AgentsUpdated)
    assert [agent.name for agent in told.agents] == ["Mei Lin"]


def test_rating_and_end() -> None:
    agent = AgentId("K00017")
    assert push(type=203, sessionId=5150, agentId="K00017") == RatingPushed(SESSION, agent)
    assert push(type=205, sessionId=5150, agentId="K00017") == SessionClosed(SESSION, agent)
    assert push(type=205, sessionId=5150) == SessionClosed(SESSION, AgentId(""))


def test_message() -> None:
    msg = {"type": 1, "content": "hello"}
    assert push(type=210, sessionId=5150, agentId=17, msg=msg) == MessageReceived(
        SESSION, AgentId("17"), AgentText("hello")
    )


def test_a_message_without_session_is_delivered_all_the_same() -> None:
    assert push(type=210, msg={"type": 1, "content": "hi"}) == MessageReceived(
        SessionId(0), AgentId(""), AgentText("hi")
    )
    assert push(type=210) == MessageReceived(SessionId(0), AgentId(""), UnknownContent(None))


@pytest.mark.parametrize("kind", [{}, {"type": None}, {"type": 211}])
def test_a_frame_of_another_type_with_an_agents_message_is_read(kind: dict[str, object]) -> None:
    words = {"sessionId": 5150, "agentId": "K1", "msg": {"type": 1, "content": "hi"}}
    assert push(**kind, **words) == MessageReceived(SESSION, AgentId("K1"), AgentText("hi"))
    assert isinstance(parse_frame(json.dumps(kind | words | {"agentId": ""})), Ignored)
    for other in (None, "success", {}, {"typing": True}):  # a status or a typing notification
        assert isinstance(parse_frame(json.dumps(kind | words | {"msg": other})), Ignored)


@pytest.mark.parametrize(("rs_id", "expected"), [("r-1", "r-1"), (17, "17"), (None, ""), (" ", "")])
def test_receipt_id(rs_id: object, expected: str) -> None:
    found = parse_frame(json.dumps({"type": 205, "sessionId": 1, "rsId": rs_id}))
    assert isinstance(found, Received)
    assert found.rs_id == expected


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("zip,jpg, .PNG ,", ("zip", "jpg", "png")),
        (["zip", "*.Jpg", "zip", None], ("zip", "jpg")),
        ('["doc"]', ("doc",)),
        ("a；b，c d", ("a", "b", "c", "d")),
        ("", ()),
        (None, ()),
    ],
)
def test_extensions(listed: object, expected: tuple[str, ...]) -> None:
    assert push(type=200, fileAcceptExtensionsArr=listed) == InitConfig(expected)


def test_ratings() -> None:
    ratings = [
        {"id": 1, "name": "good"},
        {"ratingId": "0", "ratingComments": "bad"},
        {"id": 3},
        {"name": "no id"},
        "odd",
    ]
    assert push(type=200, ratings=ratings) == InitConfig(ratings=((1, "good"), (0, "bad")))


@pytest.mark.parametrize("key", ["name", "label", "text", "title", "comments", "ratingComments"])
@pytest.mark.parametrize("number", ["id", "ratingId", "value"])
def test_a_ratings_label_may_have_any_of_these_names(number: str, key: str) -> None:
    assert push(type=200, ratings=[{number: 4, key: "good"}]) == InitConfig(ratings=((4, "good"),))
    assert push(type=200, ratings=[{number: 4, key: ""}, {key: "good"}]) == InitConfig()


@pytest.mark.parametrize("listed", [",".join(map(str, range(2000))), [*map(str, range(2000))]])
def test_number_and_length_of_options_in_a_push_are_limited(listed: object) -> None:
    rated = [{"id": number, "name": "x" * 5000} for number in range(2000)]
    told = push(type=200, fileAcceptExtensionsArr=listed, ratings=rated)
    assert isinstance(told, InitConfig)
    assert told.extensions == tuple(map(str, range(500)))
    assert told.ratings == tuple((number, "x" * 100) for number in range(500))
    suggested: list[object] = [{"relates": [{"name": "x" * 5000} for _ in range(2000)]}]
    suggested += [{"title": "more"}] * 2000
    answer = {"type": "text", "content": "", "relatedQuestions": suggested}
    robot = push(type=301, content=answer)
    assert isinstance(robot, RobotMessage)
    assert robot.suggestions == ("x" * 2000,) * 500


def test_an_ignored_push_keeps_its_receipt_id() -> None:
    assert parse_frame('{"type":299,"rsId":"r-9"}') == Ignored("unknown type 299", "r-9")
    assert parse_frame('{"type":202,"rsId":"r-9"}') == Ignored("push 202 without sessionId", "r-9")


@pytest.mark.parametrize(
    ("frame", "later"),
    [
        ('{"type":200}', True),
        ('{"type":203,"sessionId":1,"rsId":"r-1"}', True),
        ('{"type":202,"sessionId":1,"users":[]}', True),
        ('{"type":202,"data":{"sessionId":1,"users":[]}}', True),
        ('{"type":202,"sessionId":1,"agents":[],"users":null}', False),
        ('{"type":203,"sessionId":1,"rsId":""}', False),
        ('{"type":202,"sessionId":1,"agents":[],"continueLastSession":true}', False),
    ],
)
def test_frames_that_prove_a_later_server(frame: str, later: bool) -> None:
    found = parse_frame(frame)
    assert isinstance(found, Received)
    assert found.later is later


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (9001, 9001),
        (5150.0, 5150),
        ("9001", 9001),
        (" 9001 ", 9001),
        ("5150.0", 5150),
        ("-11", -11),
        ("+1", 1),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, None),
        (-(2**63) - 1, None),
        ("9223372036854775808", None),
        (1e300, None),
        (5150.5, None),
        (math.inf, None),
        (math.nan, None),
        ("٣", None),
        ("12a", None),
        ("", None),
        (True, None),
        (None, None),
        ([1], None),
        ({}, None),
    ],
)
def test_integer(value: object, expected: int | None) -> None:
    assert read.integer(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(True, 1), (False, 0), (1, 1), ("1", 1), (-15, -15), ("yes", None)]
)
def test_result_code(value: object, expected: int | None) -> None:
    assert read.result_code(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("121.5", 121.5),
        (31, 31.0),
        (31.2, 31.2),
        ("north", None),
        ("nan", None),
        (math.inf, None),
        (10**400, None),
        (True, None),
        (None, None),
    ],
)
def test_number(value: object, expected: float | None) -> None:
    assert read.number(value) == expected


@pytest.mark.parametrize("value", [True, 1, 1.0, "true", "TRUE", " 1 "])
def test_flag_true(value: object) -> None:
    assert read.flag(value)


@pytest.mark.parametrize("value", [False, 0, 2, "false", "", None, [True], {"a": 1}])
def test_flag_false(value: object) -> None:
    assert not read.flag(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", "x"),
        (None, ""),
        (5, "5"),
        (True, "true"),
        ({"a": [1, "小"]}, '{"a":[1,"小"]}'),
        ("half \ud83d pair", "half \ufffd pair"),
        ("\ud83d\ude00", "😀"),
        ("nul\0", "nul\ufffd"),
    ],
)
def test_string(value: object, expected: str) -> None:
    assert read.string(value) == expected


def test_compact_is_bounded_in_length_and_depth() -> None:
    assert len(read.compact("x" * 10_000)) == 2000
    deep: list[object] = []
    for _ in range(200_000):
        deep = [deep]
    assert read.compact(deep) == "…"


def test_objects_and_arrays_may_come_as_text() -> None:
    assert read.mapping('{"a":1}') == {"a": 1}
    assert read.mapping(" {broken") is None
    assert read.mapping("[1]") is None
    assert read.sequence("[1,2]") == [1, 2]
    assert read.sequence("zip,jpg") == []
    assert read.unwrap("plain") == "plain"


def test_first_skips_empty_values() -> None:
    assert read.first({"a": None, "b": "", "c": 0}, "x", "a", "b", "c") == 0
    assert read.first({}, "a") is None


@pytest.mark.parametrize("nested", ['{"type":210,"msg":', '{"msg":'])
def test_deep_nesting_is_ignored_whether_the_type_precedes_it_or_not(nested: str) -> None:
    assert parse_frame(nested + "[" * 100_000) == Ignored(BROKEN)


UNENDED = '{"a":"' + '\\",' * 300_000
"""A text that does not end, with commas between escaped quotation marks: it once took hours."""


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000, "undefined", "{} x", UNENDED])
def test_decode_refuses(text: str) -> None:
    with pytest.raises(read.NotJson):
        read.decode(text)


def test_decode_accepts_a_bom_nan_infinity_and_raw_line_breaks() -> None:
    assert read.decode('\ufeff{"a":NaN,"b":"line\nline","b2":-Infinity,"a2":1}') == {
        "a": None,
        "b": "line\nline",
        "b2": None,
        "a2": 1,
    }


@given(ANY_JSON)
def test_reading_any_value_never_raises(value: object) -> None:
    read.integer(value)
    read.result_code(value)
    read.number(value)
    read.flag(value)
    read.mapping(value)
    read.sequence(value)
    read.string(value).encode()
    read.compact(value).encode()


# --- several frames in one text ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        (
            '[{"type":203,"sessionId":1},{"type":299}]',
            ['{"type":203,"sessionId":1}', '{"type":299}'],
        ),
        ('{"type":1}{"type":2}', ['{"type":1}', '{"type":2}']),
        ('\ufeff {"type":1}\r\n {"type":2}\n', ['{"type":1}', '{"type":2}']),
        ('[null, {"a": 1}]', ["null", '{"a": 1}']),
        ('{"a":1} 2', ['{"a":1}', "2"]),
        # Deviations that are accepted in a single frame too.
        ('[{"a":NaN},{"b":"x\ny"}]', ['{"a":NaN}', '{"b":"x\ny"}']),
        ('{"type":1}', []),
        ('{"type":1}{"type":', ['{"type":1}', '{"type":']),
        ('[{"type":1},{"type":}]', ['{"type":1}', '{"type":}]']),
        ('{"type":', []),
        ("[" * 100_000, []),
        ("{}" * 1001, ["{}"] * 1001),
        ("{}" * 600_000, []),
        *[(nothing, []) for nothing in ("", "[]", "null", '[{"a":1}', "\ufffd\0")],
        ("[1][2]", ["1", "][2]"]),
    ],
)
def test_several_frames_in_one_text(text: str, frames: list[str]) -> None:
    assert read.divided(text) == tuple(frames)


def test_a_text_of_too_many_frames_is_not_divided() -> None:
    assert len(read.divided("[" + "1," * 10_000 + "]")) == 10_000
    assert read.divided("[" + "1," * 10_001 + "]") == ()


@given(st.lists(ANY_JSON, max_size=4), st.text('{}[],:1"', max_size=20))
def test_dividing_never_raises(values: list[object], tail: str) -> None:
    whole = "".join(json.dumps(one) for one in values)
    for text in (whole + tail, f"[{whole}]", tail):
        for part in read.divided(text)[:-1]:
            json.loads(part)


# --- the fast way -------------------------------------------------------------------------------

PLAIN = [
    '{"messageId":9,"type":110,"result":1,"message":""}',
    '{"type":110,"result":-11,"message":"no such session"}',
    ' {"messageId":null, "type":110, "result":0, "sessionId":5150}\n',
    '{"messageId":9,"type":110,"result":1,"message":"a\\u0000b \\ud83d\\ude00"}',
    '{"type":210,"sessionId":5150,"agentId":"K1","msg":{"type":1,"content":"Hello /::)"}}',
    '{"type":210,"agentId":" K1 ","msg":{"content":"\'[1]\'","type":1},"rsId":"r-1"}',
    '{"type":210,"sessionId":null,"msg":{"content":"a\\u0000b","type":1},"rsId":" "}',
]


@pytest.mark.parametrize("frame", PLAIN)
def test_plain_frames_go_the_fast_way(frame: str) -> None:
    assert read.read_plain(frame) is not None


@pytest.mark.parametrize(
    "frame",
    [
        '{"messageId":"9","type":110,"result":1}',
        '{"messageId":9,"type":"110","result":1}',
        '{"messageId":9,"type":110,"result":true}',
        '{"messageId":9,"type":110,"result":1.0}',
        '{"messageId":9,"type":110,"result":1,"message":null}',
        '{"messageId":9,"type":110,"result":1,"agents":[]}',
        '{"messageId":9,"type":110,"Result":1}',
        '{"messageId":9223372036854775808,"type":110,"result":1}',
        '{"messageId":9,"type":101,"result":1}',
        '{"messageId":9,"type":110}',
        '{"type":210,"msg":{"content":"a"}}',
        '{"type":210,"msg":{"type":1,"content":null}}',
        '{"type":210,"msg":{"type":1,"content":"a","noticeType":0}}',
        '{"type":210,"msg":"{}"}',
        '\ufeff{"messageId":9,"type":110,"result":1}',
        '{"messageId":9,"type":110,"result":1,"message":"\\ud83d"}',
        '{"messageId":-1,"type":110,"result":1,"message":""}',
        '{"messageId":9,"type":110,"result":1,"message":"\ud83d"}',
        '{"messageId":9,"type":110,"result":1,"message":"a\tb"}',
        "",
    ],
)
def test_any_other_spelling_goes_the_lenient_way(frame: str) -> None:
    assert read.read_plain(frame) is None


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([0, 1, -1, 110, 210, 2**63 - 1, 2**63, "1", "110", "", " ", "a\0", "[1]"])
)
_KEYS = st.sampled_from(
    """
    messageId type result message sessionId requestId agents agentId msg content rsId users Type
    robotMode perm time
    """.split()  # noqa: SIM905 -- a column of strings would hide the list
)


@st.composite
def nearly_plain(draw: st.DrawFn) -> str:
    """A frame like those of `PLAIN` as text, with keys changed, added, written twice or cut off."""
    told: list[tuple[str, object]] = list(json.loads(draw(st.sampled_from(PLAIN))).items())
    for _ in range(draw(st.integers(0, 3))):
        value = draw(_SCALARS | st.lists(_SCALARS, max_size=2))
        if draw(st.booleans()):
            value = {"type": draw(_SCALARS), "content": value}
        place = draw(st.integers(0, len(told)))
        told[place : place + draw(st.integers(0, 1))] = [(draw(_KEYS), value)]
    escaped = draw(st.booleans())
    parts = (f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=escaped)}" for key, value in told)
    text = "{" + draw(st.sampled_from([",", ", ", ",,"])).join(parts) + "}"
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.text(max_size=2)) + text[at + draw(st.integers(0, 2)) :]
    return text


@settings(max_examples=400)
@given(nearly_plain() | st.sampled_from(PLAIN), st.sampled_from(["", "K1"]))
def test_the_fast_way_reads_what_the_lenient_way_does(text: str, client_id: str) -> None:
    fast = read.read_plain(text)
    if fast is not None:
        slow = read.read_any(text, client_id)
        assert (fast, repr(fast)) == (slow, repr(slow))
        assert parse_frame(text, client_id=client_id) == fast
