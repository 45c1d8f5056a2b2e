"""Signatures, against the vectors of reference 3.2 and 3.5."""

import pytest

from bridge.webchat.signing import login_sign, robot_sign

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
