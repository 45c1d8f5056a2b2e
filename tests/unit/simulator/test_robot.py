"""robotSearch: the seed's vector, and canned answers."""

import pytest

from bridge.simulator.options import SimulatorOptions
from bridge.simulator.tpi import search, search_sign

FORM = {"epid": "E00001", "action": "search", "question": "测试"}
SIGN = "78f2252ff6452a870574b1a51f85a08f"


def test_the_sign_of_the_guide() -> None:
    assert search_sign(FORM, "123456") == SIGN
    second = {"epid": "", "action": "search", "question": "退货 & 换货?"}
    assert search_sign(second, "K1") == "c870101cf9a138db4c1d97954a9afbfc"


def test_a_known_question_has_one_result_and_an_unknown_none() -> None:
    options = SimulatorOptions(robot_key="123456", robot_answers={"测试": "<b>yes</b>"})
    found = search(options, FORM | {"sign": SIGN})
    assert found["result"] == 1
    answer = found["searchResult"]
    assert isinstance(answer, dict)
    assert [hit["preview"] for hit in answer["srs"]] == ["<b>yes</b>"]
    empty = search(SimulatorOptions(), FORM | {"sign": ""})
    assert empty["searchResult"] == {"question": "测试", "srs": []}


@pytest.mark.parametrize(
    ("form", "code"),
    [
        (FORM, -14),
        (FORM | {"sign": "wrong"}, -30),
        (FORM | {"sign": SIGN, "action": "ask"}, -14),
        ({"epid": "", "action": "search", "question": " ", "sign": ""}, -30),
    ],
)
def test_a_wrong_question_gets_its_code(form: dict[str, str], code: int) -> None:
    assert search(SimulatorOptions(robot_key="123456"), form)["result"] == code


def test_a_blank_question_is_an_empty_message() -> None:
    assert search(SimulatorOptions(), FORM | {"question": " ", "sign": ""})["result"] == -17
