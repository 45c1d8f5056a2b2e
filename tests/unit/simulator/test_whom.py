"""Whom an operation is about; the sentences of `test_scripts` cover who is not there."""

import pytest

from bridge.ids import AgentId, RequestId, SessionId
from bridge.simulator import operations
from bridge.simulator.operations import BadOpError
from tests.unit.simulator.centres import Phone, chatting, make_centre


def test_by_name_by_number_or_the_only_one() -> None:
    centre = make_centre()
    chatting(centre, "ada")
    Phone(centre, "bob").queue()
    Phone(centre, "eve").queue()
    assert operations.customer_named(centre, "ada").login == "ada"
    assert operations.agent_online(centre, AgentId("A00002")).name == "Jun"
    assert operations.request_meant(centre, operations.Accept()).login == "bob"
    assert operations.request_meant(centre, operations.Accept(login="eve")).login == "eve"
    assert (
        operations.request_meant(centre, operations.Accept(request=RequestId(9003))).login == "eve"
    )
    assert operations.session_meant(centre, operations.Close()).login == "ada"
    assert (
        operations.session_meant(centre, operations.Close(session=SessionId(5001))).login == "ada"
    )
    with pytest.raises(BadOpError, match="bob has no open session"):
        operations.session_meant(centre, operations.Close(login="bob"))
