"""`/tpi`: who gets a token, and who is shut out."""

import json

import pytest

from bridge.simulator.tpi import Gate, log_in, sign_of
from tests.unit.simulator.centres import make_centre

# The two vectors of protocol reference 3.2.
BODY = '{"type":3,"loginName":"room-42","name":"小林","epid":""}'.encode()
SIGN = "89453c6fbca4de09197944045a55b56f"
SPACED = (
    rb'{"type": 3, "loginName": "room-42", "name": "\u5c0f\u6797", "epid": ""}',
    "ed3d4d6bfcee31d4d2fc483131a7fb28",
)


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"type": 1, "loginName": "room-42", "password": "", "epid": ""},
        {"type": 3, "loginName": "room-42", "name": "Ada"},
        {"type": 4, "visitorId": "room-42"},
    ],
)
def test_each_kind_of_login_gives_a_token(fields: dict[str, object]) -> None:
    centre = make_centre()
    reply = log_in(centre, body(**fields), None, 0)
    assert reply == {"result": 1, "message": "", "token": "T1", "config": {}}
    holder = centre.holder("T1", 0)
    assert holder is not None
    assert holder.login == "room-42"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"loginName=room-42&type=1", -8),
        (b"", -8),
        (b"\xff", -8),
        (b"[]", -14),
        (b'{"loginName":"a"}', -14),
        (body(type=1, loginName="a", epid=""), -14),
        (body(type=1, loginName="a", password="", epid=5), -14),
        (body(type=3, loginName=""), -14),
        (body(type=4), -14),
        (body(type=101), -12),
    ],
)
def test_a_wrong_login_gets_its_code(raw: bytes, code: int) -> None:
    centre = make_centre()
    assert log_in(centre, raw, None, 0)["result"] == code
    assert centre.customers == {}


def test_passwords_are_checked_where_accounts_are_set() -> None:
    centre = make_centre(accounts={"ada": "secret"})
    for name, password, code in (("ada", "secret", 1), ("ada", "", -20), ("eve", "secret", -20)):
        raw = body(type=1, loginName=name, password=password, epid="")
        assert log_in(centre, raw, None, 0)["result"] == code


@pytest.mark.parametrize(("raw", "sign"), [(BODY, SIGN), SPACED])
def test_the_sign_covers_the_exact_bytes(raw: bytes, sign: str) -> None:
    assert sign_of(raw, "DEMO_KEY_0001") == sign
    centre = make_centre(sign_key="DEMO_KEY_0001")
    assert log_in(centre, raw, sign, 0)["result"] == 1
    assert log_in(centre, raw + b" ", sign, 0)["result"] == -30
    assert log_in(centre, raw, None, 0)["result"] == -30


def test_a_new_login_kills_the_old_token_unless_told_otherwise() -> None:
    raw = body(type=3, loginName="ada")
    strict, lax = make_centre(), make_centre(new_login_kills_old=False)
    for centre in (strict, lax):
        log_in(centre, raw, None, 0)
        log_in(centre, raw, None, 0)
        assert centre.holder("T2", 0) is not None
    assert strict.holder("T1", 0) is None
    assert lax.holder("T1", 0) is not None


def test_the_gate_shuts_out_whoever_comes_too_often() -> None:
    gate = Gate()

    def visit(now: float, address: str = "one") -> bool:
        return gate.admits(address, now, limit=3, window=60, ban=3600)

    assert [visit(0), visit(1), visit(2), visit(3)] == [True, True, True, False]
    assert visit(3, "two")
    assert gate.banned() == ["one"]
    assert not visit(3602)
    assert visit(3603)
    assert gate.banned() == []


def test_the_window_slides() -> None:
    gate = Gate()
    times = (0, 30, 61, 91, 122)
    assert all(gate.admits("one", now, limit=2, window=60, ban=1) for now in times)


def test_the_gate_can_forget_and_can_be_open() -> None:
    gate = Gate()
    for _ in range(3):
        gate.admits("one", 0, limit=1, window=60, ban=60)
    gate.forget()
    assert gate.admits("one", 0, limit=1, window=60, ban=60)
    assert all(gate.admits("one", 0, limit=0, window=60, ban=60) for _ in range(50))
