"""Options: wrong values are refused by name."""

import re
from pathlib import Path

import pytest

from bridge.simulator.options import SimulatorOptions


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"resend_seconds": 0}, "Expected `float` > 0.0 - at `$.resend_seconds`"),
        ({"login_limit": -1}, "Expected `int` >= 0 - at `$.login_limit`"),
        ({"history_behind": -1}, "Expected `int` >= 0 - at `$.history_behind`"),
        ({"agents": [{"id": "a"}, {"id": "a"}]}, "different ids"),
        ({"agents": [{"id": ""}]}, "must have an id"),
        ({"public_origin": "x"}, "public_origin cannot change"),
        ({"login_limit": "10"}, "Expected `int`"),
        ({"wrong_upload": 1}, "wrong_upload must be"),
        ({"wrong_upload": 600}, "wrong_upload must be"),
        ({"frame_limits": 1}, "there is no switch frame_limits: did you mean frame_limit?"),
        ({"people": "dialect"}, "`$.people`: it may be agents, users, both"),
        ({"wrong_keys": -7}, "`$.wrong_keys`: it may be -14, -8, -17, -100, blank, shown"),
        ({"queues": "1,2"}, "`$.queues`: it is written as JSON"),
        ({"robot": "Helper"}, "`$.robot`: it is written as JSON"),
        ({"session_grace": float("nan")}, "Expected `float` >= 0.0 - at `$.session_grace`"),
        (
            {"queue_timeout": float("inf")},
            "Expected `float` <= 1000000000.0",
        ),
    ],
)
def test_a_wrong_value_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        SimulatorOptions().changed(changes)


@pytest.mark.parametrize(
    "origin", ["sim.example.org", "http://x/", "http://x/path", "ftp://x", "http://"]
)
def test_an_origin_has_a_scheme_and_no_path(origin: str) -> None:
    with pytest.raises(ValueError, match="public_origin must"):
        SimulatorOptions(public_origin=origin)
    assert SimulatorOptions(public_origin="https://x:8980").public_origin


@pytest.mark.parametrize("context", ["webchat", "/webchat/", "/"])
def test_a_context_has_its_slash_in_front_only(context: str) -> None:
    with pytest.raises(ValueError, match="context must"):
        SimulatorOptions(context=context)


def test_other_options_stay() -> None:
    before = SimulatorOptions(script="echo")
    after = before.changed({"agents": [{"id": "x"}]})
    assert (after.script, [agent.id for agent in after.agents]) == ("echo", ["x"])
    assert SimulatorOptions(context="").context == ""


@pytest.mark.parametrize(("dialect", "later"), [("2016", False), ("2019", True)])
def test_defaults_of_a_dialect(dialect: str, later: bool) -> None:
    options = SimulatorOptions().changed({"dialect": dialect})
    assert options.later is later
    assert options.pulse == ("ok" if later else "refuse")
    assert (options.has("receipts"), options.has("init_config")) == (later, later)
    assert (options.has("history"), options.has("client_id_in_login")) == (later, later)


@pytest.mark.parametrize("dialect", ["2016", "2019"])
def test_switches_override_the_dialect(dialect: str) -> None:
    for on in (True, False):
        switched = dict.fromkeys(("receipts", "init_config", "history", "client_id_in_login"), on)
        options = SimulatorOptions().changed({"dialect": dialect, **switched})
        assert (options.has("receipts"), options.has("init_config")) == (on, on)
        assert (options.has("history"), options.has("client_id_in_login")) == (on, on)
    assert SimulatorOptions().changed({"dialect": dialect, "heartbeat": "silent"}).pulse == "silent"


def test_the_documentation_names_every_switch() -> None:
    text = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", text))
    assert set(SimulatorOptions.__struct_fields__) - named == set()
