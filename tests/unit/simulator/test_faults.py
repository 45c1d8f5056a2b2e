"""Faults hit what they name, as often as they say, in the order of the list."""

import msgspec
import pytest

from bridge.simulator.state import Fault, FaultPlan, Send


def send(kind: int, login: str = "ada", mark: int = 0) -> Send:
    return Send(login, {"type": kind, "mark": mark})


def out(plan: FaultPlan, *sends: Send) -> list[object]:
    held: dict[str, list[Send]] = {item.login: [] for item in sends}
    return [real.frame["mark"] for item in sends for real in plan.on_send(item, held[item.login])]


def test_drop_counts_down_and_names_its_type_and_customer() -> None:
    plan = FaultPlan([Fault(fault="drop", type=110, count=2, login="ada")])
    sends = [send(110, "bob", 1), send(101, mark=2), *(send(110, mark=n) for n in (3, 4, 5))]
    assert out(plan, *sends) == [1, 2, 5]
    assert plan.describe() == []


def test_double_repeats_a_frame() -> None:
    assert out(FaultPlan([Fault(fault="double")]), send(202, mark=1), send(210, mark=2)) == [
        1,
        1,
        2,
    ]


def test_reorder_changes_places_with_the_next_to_the_same_customer() -> None:
    plan = FaultPlan([Fault(fault="reorder", type=101)])
    assert out(plan, send(101, mark=1), send(210, "bob", 2), send(202, mark=3)) == [2, 3, 1]


def test_faults_of_commands_apply_by_type_in_order() -> None:
    plan = FaultPlan(
        [
            Fault(fault="answer", type=110, result=-11),
            Fault(fault="ignore", type=110),
            Fault(fault="cut"),
        ]
    )
    hits = [plan.on_command("ada", frame_type) for frame_type in (110, 110, 0, 0)]
    assert [hit.fault if hit else None for hit in hits] == ["answer", "ignore", "cut", None]


def test_http_faults_apply_by_path() -> None:
    plan = FaultPlan([Fault(fault="http", path="tpi"), Fault(fault="hang")])
    assert [hit.fault if hit else None for hit in map(plan.on_http, ["tpiu", "tpi", "tpi"])] == [
        "hang",
        "http",
        None,
    ]


def test_faults_of_one_kind_do_not_affect_others() -> None:
    plan = FaultPlan([Fault(fault="drop"), Fault(fault="http")])
    assert plan.on_command("ada", 110) is None
    assert plan.on_http("tpi") is not None
    assert plan.on_http("tpi") is None


def test_delayed_frame_is_still_sent() -> None:
    plan = FaultPlan([Fault(fault="delay", type=110, delay_ms=250)])
    assert out(plan, send(110, mark=1)) == [1]
    assert [plan.delay(send(kind)) for kind in (202, 110, 110)] == [0, 0.25, 0]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [({"fault": "delay"}, "delay_ms"), ({"fault": "cut", "code": 7}, ">= 1000")],
)
def test_a_fault_without_what_it_needs_is_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=sentence):
        msgspec.convert(fields, Fault)


def test_a_wrong_status_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match=">= 400"):
        msgspec.convert({"fault": "http", "status": 200}, Fault)
