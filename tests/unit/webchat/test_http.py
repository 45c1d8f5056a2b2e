"""Bodies, addresses and signatures of the HTTP endpoints."""

import contextlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.ids import AgentId
from bridge.webchat.codes import Dialect, LoginType
from bridge.webchat.http import (
    Endpoints,
    HistoryEntry,
    Login,
    LoginReply,
    RobotAnswer,
    dump_history,
    dump_login,
    login_sign,
    parse_history_reply,
    parse_login_reply,
    parse_robot_reply,
    parse_upload_reply,
    robot_form,
    robot_sign,
)
from bridge.webchat.protocol import LocalProtocolError
from tests.unit.webchat.test_read import ANY_JSON

TOKEN = "9D1E6A70-0000-4000-8000-00000000A001"
GUID = "3f2a9d4e-1b7c-4e55-8c0e-9a6b7d1f2e33"
HTML = b"<html><body>503 Service Unavailable</body></html>"


@pytest.mark.parametrize(
    ("login", "body"),
    [
        (
            Login(LoginType.PASSWORD, "room-42", ""),
            '{"type":1,"loginName":"room-42","password":"","epid":""}',
        ),
        (
            Login(LoginType.PASSWORD, "a", "b", "E1"),
            '{"type":1,"loginName":"a","password":"b","epid":"E1"}',
        ),
        (
            Login(LoginType.REGISTER, "room-42", display_name="小林"),
            '{"type":3,"loginName":"room-42","name":"小林","epid":""}',
        ),
        (Login(LoginType.REGISTER, "room-42"), '{"type":3,"loginName":"room-42","epid":""}'),
        (Login(LoginType.VISITOR, GUID), '{"type":4,"visitorId":"' + GUID + '","epid":""}'),
    ],
)
def test_login_body(login: Login, body: str) -> None:
    assert dump_login(login) == body.encode()


@pytest.mark.parametrize(
    ("login", "dialect", "body"),
    [
        (Login(LoginType.VISITOR, "g"), Dialect.Y2019, '{"type":4,"visitorId":"g"}'),
        (
            Login(LoginType.VISITOR, "g", enterprise_id="E"),
            Dialect.Y2019,
            '{"type":4,"visitorId":"g","epid":"E"}',
        ),
        (Login(LoginType.VISITOR, "g"), Dialect.DUAL, '{"type":4,"visitorId":"g","epid":""}'),
    ],
)
def test_login_body_of_other_dialects(login: Login, dialect: Dialect, body: str) -> None:
    assert dump_login(login, dialect) == body.encode()


def test_a_login_body_may_have_portrait_and_ip_address() -> None:
    ada = Login(LoginType.REGISTER, "a", display_name="Ada", portrait="https://h/a.png")
    assert json.loads(dump_login(ada, Dialect.Y2019, "203.0.113.9")) == {
        "type": 3,
        "loginName": "a",
        "name": "Ada",
        "portraitUri": "https://h/a.png",
        "ip": "203.0.113.9",
    }
    told = json.loads(dump_login(Login(LoginType.VISITOR, "g"), Dialect.DUAL, "203.0.113.9"))
    assert told["ip"] == told["ipAddr"] == "203.0.113.9"


def test_a_written_login_body_has_the_signature_of_the_vector() -> None:
    body = dump_login(Login(LoginType.REGISTER, "room-42", display_name="小林"))
    assert login_sign(body, "DEMO_KEY_0001") == "89453c6fbca4de09197944045a55b56f"


@pytest.mark.parametrize(
    "login",
    [
        Login(LoginType.PASSWORD, " ", "x"),
        Login(LoginType.REGISTER, ""),
        Login(LoginType.VISITOR, "\t"),
    ],
)
def test_a_login_without_a_name_is_refused(login: Login) -> None:
    with pytest.raises(LocalProtocolError):
        dump_login(login)


def test_secrets_do_not_show() -> None:
    assert "hunter2" not in repr(Login(LoginType.PASSWORD, "room-42", "hunter2"))
    reply = parse_login_reply(b'{"result":1,"token":"hunter2"}')
    assert reply is not None
    assert reply.token == "hunter2"
    assert "hunter2" not in repr(reply)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            '{"result":1,"message":"","token":"' + TOKEN + '","config":{}}',
            LoginReply(1, TOKEN),
        ),
        (
            '{"result":"1","token":"' + TOKEN + '","clientId":"c1"}',
            LoginReply(1, TOKEN, "c1"),
        ),
        ('{"result":true,"token":"t"}', LoginReply(1, "t")),
        (
            '{"result":1,"message":"","data":{"token":"t","clientId":"c"}}',
            LoginReply(1, "t", "c"),
        ),
        ('{"data":"{\\"result\\":1,\\"token\\":\\"t\\"}"}', LoginReply(1, "t")),
        ('{"result":1,"token":"t","data":null}', LoginReply(1, "t")),
        ('{"result":1,"token":"t","data":{"token":null}}', LoginReply(1, "t")),
        ('{"result":-20,"message":"bad login"}', LoginReply(-20)),
        ('{"result":0,"message":null}', LoginReply(0)),
        ('{"result":1,"token":""}', None),
        ('{"status":404,"error":"Not Found"}', None),
        ("[]", None),
        ("", None),
    ],
)
def test_login_reply(body: str, expected: LoginReply | None) -> None:
    assert parse_login_reply(body.encode()) == expected


FOUND = 1, (RobotAnswer("密码错误", ""),)


def test_a_reply_in_gbk_is_read() -> None:
    told = '{"srs":[{"title":"密码错误"}]}'
    assert parse_robot_reply(told.encode("gbk")) == FOUND
    assert parse_robot_reply(told.encode()) == FOUND
    assert parse_login_reply(b'{"result":1,"token":"\xff"}') == LoginReply(1, "\ufffd")


@pytest.mark.parametrize("cut", [b"\xe5", b"\xe5\xaf", b"\xff"])
def test_a_truncated_character_does_not_spoil_the_others(cut: bytes) -> None:
    """Databases cut what is too long for a column, be it within a character."""
    told = '{"srs":[{"title":"您好，密码错?"}]}'.encode().replace(b"?", cut)
    reply = parse_robot_reply(told)
    assert reply is not None
    assert reply[1][0].title == "您好，密码错\ufffd"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            '{"result":1,"message":"","url":"/webchat/upload/2024/cat.jpg","fileName":"cat.jpg"}',
            (1, "/webchat/upload/2024/cat.jpg"),
        ),
        ('{"result":1,"data":{"fileUrl":"/a.png"}}', (1, "/a.png")),
        ('{"result":-16,"message":"no"}', (-16, "")),
        ('{"result":1,"url":" "}', None),
        ('{"url":"/a"}', None),
    ],
)
def test_upload_reply(body: str, expected: tuple[int, str] | None) -> None:
    assert parse_upload_reply(body.encode()) == expected


def test_robot_form() -> None:
    form = robot_form("E00001", "测试", "123456")
    assert form == {
        "epid": "E00001",
        "action": "search",
        "question": "测试",
        "sign": "78f2252ff6452a870574b1a51f85a08f",
    }
    assert robot_form("", "a\ud83d", "K")["question"] == "a\ufffd"
    with pytest.raises(LocalProtocolError):
        robot_form("", "  ", "K")


def test_robot_reply_of_the_guide() -> None:
    """Trap T37: the slash of `<\\/span>` is JSON's way to write one."""
    body = (
        r'{"searchResult":{"question":"测试","srs":[{"preview":"<span id=\"k\">测试<\/span>1.1",'
        r'"question":"","ra":{"articleAId":"3baf","path":"/oldkm/3baf.htm","title":"测试标题"},'
        r'"title":"测试标题"},{"ra":{"title":"only there"}},"noise",{"preview":""}]},'
        r'"result":1,"message":""}'
    )
    assert parse_robot_reply(body.encode()) == (
        1,
        (
            RobotAnswer("测试标题", '<span id="k">测试</span>1.1', "", "/oldkm/3baf.htm"),
            RobotAnswer("only there", ""),
        ),
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"result":1,"searchResult":{"question":"x"}}', (1, ())),
        ('{"result":1}', (1, ())),
        ('{"result":-30,"message":"sign"}', (-30, ())),
        ('{"srs":[{"title":"t"}]}', (1, (RobotAnswer("t", ""),))),
        ('{"question":"x"}', None),
    ],
)
def test_robot_reply(body: str, expected: tuple[int, tuple[RobotAnswer, ...]] | None) -> None:
    assert parse_robot_reply(body.encode()) == expected


def test_history_request_body() -> None:
    assert dump_history("T", 20) == (
        b'{"type":5003,"token":"T","fromSessionId":0,"fromMessageId":0,"maxCount":20,"permFlag":0,'
        b'"continueLastSession":true}'
    )


def test_history_newest_last() -> None:
    rows = [
        {
            "id": 12,
            "userId": "K00017",
            "userName": "Mei\u202e\n",
            "userType": 2,
            "text": "<b>hello</b>",
            "messageType": 0,
            "postTime": 1733011200500,
            "revokeFlag": 0,
            "icon": "headimg/mei.png",
        },
        {"id": "11", "userId": "c", "userType": "1", "text": "hi", "postTime": "1733011200400"},
        {"id": 10, "text": "", "messageType": 1, "postTime": 1733011200300, "revokeFlag": True},
    ]
    reply = parse_history_reply(json.dumps({"result": 1, "hisMessages": rows}).encode())
    assert reply is not None
    result, entries = reply
    assert result == 1
    assert entries == (
        HistoryEntry("10", AgentId(""), "", 0, "", 1733011200300, revoked=True, notice=True),
        HistoryEntry("11", AgentId("c"), "", 1, "hi", 1733011200400),
        HistoryEntry("12", AgentId("K00017"), "Mei", 2, "<b>hello</b>", 1733011200500),
    )
    assert [entry.by_customer for entry in entries] == [False, True, False]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        # Raw rows of an older server: `message`, no names, json-lib's expanded date.
        ([{"id": 1, "message": "old", "postTime": {"time": 5, "year": 114}}], [("old", 5)]),
        # Oldest first, against the guide: the times decide.
        ([{"text": "a", "postTime": 1}, {"text": "b", "postTime": 2}], [("a", 1), ("b", 2)]),
        # A time that cannot be read: the order of the server stays.
        ([{"text": "b", "postTime": "noon"}, {"text": "a", "postTime": 9}], [("a", 9), ("b", 0)]),
        ([{"text": "a", "postTime": -5}], [("a", 0)]),
        ([{"text": "a", "postTime": 10**18}], [("a", 0)]),
        ([None, 7, {}, {"id": None}], []),
        ("no rows", []),
    ],
)
def test_history_rows(rows: object, said: list[tuple[str, int]]) -> None:
    reply = parse_history_reply(json.dumps({"result": 1, "hisMessages": rows}).encode())
    assert reply is not None
    assert [(entry.html, entry.posted) for entry in reply[1]] == said


def test_of_many_rows_the_newest_two_thousand_are_read() -> None:
    rows = [{"id": str(number)} for number in range(3_000, 0, -1)]
    reply = parse_history_reply(json.dumps({"result": 1, "hisMessages": rows}).encode())
    assert reply is not None
    assert [entry.id for entry in reply[1]] == [str(number) for number in range(1_001, 3_001)]
    hits = parse_robot_reply(json.dumps({"srs": ["{"] * 2_000 + [{"title": "late"}]}).encode())
    assert hits == (1, ())


def test_history_refused() -> None:
    assert parse_history_reply(b'{"result":-12,"message":"no"}') == (-12, ())
    assert parse_history_reply(b'{"hisMessages":[]}') is None


def test_a_page_of_html_is_no_reply() -> None:
    assert parse_history_reply(HTML) is None
    assert parse_login_reply(HTML) is None
    assert parse_upload_reply(HTML) is None
    assert parse_robot_reply(HTML) is None


@given(st.binary() | ANY_JSON.map(lambda value: json.dumps({"result": 1, "x": value}).encode()))
def test_parsing_any_reply_never_raises(body: bytes) -> None:
    parse_history_reply(body)
    parse_login_reply(body)
    parse_upload_reply(body)
    parse_robot_reply(body)


@given(ANY_JSON, ANY_JSON)
def test_parsing_a_reply_with_odd_values_never_raises(one: object, two: object) -> None:
    odd = {"result": one, "token": two, "url": two, "message": two, "searchResult": two, "srs": one}
    row = dict.fromkeys(("id", "text", "userId", "userType", "postTime", "revokeFlag"), two)
    body = json.dumps({"result": 1, "hisMessages": [one, row, {**row, "id": one}]}).encode()
    parse_history_reply(body)
    body = json.dumps(odd).encode()
    parse_login_reply(body)
    parse_upload_reply(body)
    parse_robot_reply(body)


SERVER = Endpoints("https://crm.example.org/webchat")


def test_endpoints() -> None:
    assert SERVER.login == "https://crm.example.org/webchat/tpi"
    assert SERVER.robot == "https://crm.example.org/webchat/robotSearch"
    assert SERVER.origin == "https://crm.example.org"
    assert SERVER.socket("A+B/=") == "wss://crm.example.org/webchat/cws?token=A%2BB%2F%3D"
    assert SERVER.upload("A+B/=") == "https://crm.example.org/webchat/tpiu?token=A%2BB%2F%3D"


@pytest.mark.parametrize(
    ("base", "socket"),
    [
        ("http://127.0.0.1:8980/webchat/", "ws://127.0.0.1:8980/webchat/cws?token=T"),
        ("HTTPS://h", "wss://h/cws?token=T"),
        ("http://[::1]:8980/EliteWebChat", "ws://[::1]:8980/EliteWebChat/cws?token=T"),
    ],
)
def test_the_scheme_of_the_socket_follows_the_base_url(base: str, socket: str) -> None:
    assert Endpoints(base).socket("T") == socket


@pytest.mark.parametrize(
    ("base", "complaint"),
    [
        ("", "must start with"),
        ("crm.example.org/webchat", "must start with"),
        ("ftp://h/webchat", "must start with"),
        ("https:///webchat", "has no host"),
        ("https://h:99999/", "check brackets and port"),
        ("https://[::1/webchat", "check brackets and port"),
        ("https://h:0/", "port 0"),
        ("https://user:hunter2@h/webchat", "user name or password"),
        ("https://h/webchat?token=x", "query"),
        ("https://h/webchat#", "fragment"),
        ("https://h/web chat", "spaces"),
        ("https://h/web\tchat", "spaces"),
        ("https://h/\u200b", "control"),
    ],
)
def test_a_bad_base_url_is_refused_with_a_reason(base: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        Endpoints(base)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", ""),
        ("/webchat/a.jpg", "https://crm.example.org/webchat/a.jpg"),
        ("/up/a.jpg", "https://crm.example.org/webchat/up/a.jpg"),
        ("up/a.jpg", "https://crm.example.org/webchat/up/a.jpg"),
        ("webchat/up/a.jpg", "https://crm.example.org/webchat/up/a.jpg"),
        ("/webchats/a.jpg", "https://crm.example.org/webchat/webchats/a.jpg"),
        ("//cdn.example.org/a.jpg", "https://cdn.example.org/a.jpg"),
        ("https://cdn.example.org/a.jpg", "https://cdn.example.org/a.jpg"),
        ("HTTP://cdn.example.org/a.jpg", "HTTP://cdn.example.org/a.jpg"),
        ("data:image/png;base64,AAAA", "data:image/png;base64,AAAA"),
    ],
)
def test_absolute(url: str, expected: str) -> None:
    assert SERVER.absolute(url) == expected


def test_absolute_without_context_path() -> None:
    assert Endpoints("https://h/").absolute("/up/a.jpg") == "https://h/up/a.jpg"
    assert Endpoints("https://h").absolute("a.jpg") == "https://h/a.jpg"


@pytest.mark.parametrize(
    ("icon", "queue_id", "expected"),
    [
        ("", 1, ""),
        ("  ", 1, ""),
        ("https://h/ngs/mei.png", 1, "https://h/ngs/mei.png"),
        (
            "headimg/mei.png",
            7,
            "https://crm.example.org/webchat/ngsIcon.do?path=headimg/mei.png&queue=7",
        ),
        ("小.png", 7, "https://crm.example.org/webchat/ngsIcon.do?path=%E5%B0%8F.png&queue=7"),
        ("%E5%B0%8F.png", None, "https://crm.example.org/webchat/ngsIcon.do?path=%E5%B0%8F.png"),
        ("a&queue=9", 7, "https://crm.example.org/webchat/ngsIcon.do?path=a%26queue%3D9&queue=7"),
    ],
)
def test_icon(icon: str, queue_id: int | None, expected: str) -> None:
    assert SERVER.icon(icon, queue_id) == expected


@given(st.text(st.characters()))
def test_a_bad_base_url_raises_only_value_error(base: str) -> None:
    for attempt in (base, f"http://{base}", f"http://h{base}"):
        with contextlib.suppress(ValueError):
            assert Endpoints(attempt).login.endswith("/tpi")


@example("half a pair \ud83d")
@given(st.text(st.characters()))
def test_addresses_from_the_server_never_raise(path: str) -> None:
    SERVER.absolute(path)
    SERVER.icon(path, 1)


BODY = '{"type":3,"loginName":"room-42","name":"小林","epid":""}'
ESCAPED = '{"type": 3, "loginName": "room-42", "name": "\\u5c0f\\u6797", "epid": ""}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [(BODY, "89453c6fbca4de09197944045a55b56f"), (ESCAPED, "ed3d4d6bfcee31d4d2fc483131a7fb28")],
)
def test_login_sign(body: str, expected: str) -> None:
    assert login_sign(body.encode(), "DEMO_KEY_0001") == expected


def test_robot_sign_of_the_guide() -> None:
    params = {"question": "测试", "epid": "E00001", "action": "search"}
    assert robot_sign(params, "123456") == "78f2252ff6452a870574b1a51f85a08f"
    assert robot_sign({**params, "sign": "old"}, "123456") == "78f2252ff6452a870574b1a51f85a08f"


def test_robot_sign_takes_raw_values() -> None:
    params = {"epid": "", "action": "search", "question": "退货 & 换货?"}
    assert robot_sign(params, "K1") == "c870101cf9a138db4c1d97954a9afbfc"


def test_robot_sign_survives_halves_of_surrogate_pairs() -> None:
    assert len(robot_sign({"question": "\ud83d"}, "K1")) == 32
