"""Links that open an event in any client (specification, appendix "matrix.to navigation")."""

from __future__ import annotations

import pytest

from bridge.ids import EventId, RoomId, UserId
from bridge.rooms.record import Person, RoomRecord, permalink, via

ROOM = RoomId("!abc/d:example.org")


@pytest.mark.parametrize(
    ("event_id", "servers", "link"),
    [
        (
            "$x-_1",
            ("example.org", "b.example:8448"),
            "https://matrix.to/#/!abc%2Fd:example.org/$x-_1?via=example.org&via=b.example:8448",
        ),
        ("$old:example.org", (), "https://matrix.to/#/!abc%2Fd:example.org/$old:example.org"),
        ("$a/b+c?", ("x",), "https://matrix.to/#/!abc%2Fd:example.org/$a%2Fb%2Bc%3F?via=x"),
    ],
)
def test_permalinks_are_escaped(event_id: str, servers: tuple[str, ...], link: str) -> None:
    assert permalink(ROOM, EventId(event_id), servers) == link


def record(*people: str, customer: str = "@ada:far.example") -> RoomRecord:
    return RoomRecord(
        ROOM,
        host=UserId("@webchatbot:example.org"),
        customer=UserId(customer),
        people=tuple(Person(UserId(user)) for user in people),
    )


def test_the_servers_through_which_a_room_is_found() -> None:
    assert via(record()) == ("far.example", "example.org")
    crowded = record("@a:big.example", "@b:small.example", "@c:big.example")
    assert via(crowded) == ("far.example", "example.org", "big.example")
    assert via(record(customer="@ada:example.org")) == ("example.org",)


@pytest.mark.parametrize("server", ["192.0.2.1", "192.0.2.1:8448", "[2001:db8::1]:8448", ""])
def test_a_server_without_a_name_is_left_out(server: str) -> None:
    assert via(record(customer=f"@ada:{server}")) == ("example.org",)
