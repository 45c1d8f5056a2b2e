"""Options: wrong values are refused by name."""

import pytest

from bridge.simulator.options import SimulatorOptions


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"resend_seconds": 0}, "resend_seconds must be more than 0"),
        ({"login_limit": -1}, "login_limit must not be negative"),
        ({"agents": [{"id": "a"}, {"id": "a"}]}, "different ids"),
        ({"agents": [{"id": ""}]}, "must have an id"),
        ({"public_origin": "x"}, "public_origin cannot change"),
        ({"login_limit": "10"}, "Expected `int`"),
    ],
)
def test_a_wrong_value_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SimulatorOptions().changed(changes)


@pytest.mark.parametrize("context", ["webchat", "/webchat/", "/"])
def test_a_context_has_its_slash_in_front_only(context: str) -> None:
    with pytest.raises(ValueError, match="context must"):
        SimulatorOptions(context=context)


def test_the_rest_stays() -> None:
    before = SimulatorOptions(script="echo")
    after = before.changed({"agents": [{"id": "x"}]})
    assert (after.script, [agent.id for agent in after.agents]) == ("echo", ["x"])
    assert SimulatorOptions(context="").context == ""
