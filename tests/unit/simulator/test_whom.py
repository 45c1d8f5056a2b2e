"""Whom an operation is about; the sentences of `test_scripts` cover who is not there."""

import pytest

from bridge.ids import AgentId, RequestId, SessionId
from bridge.simulator import ops, whom
from bridge.simulator.ops import BadOpError
from tests.unit.simulator.centres import Phone, chatting, make_centre


def test_by_name_by_number_or_the_only_one() -> None:
    centre = make_centre()
    chatting(centre, "ada")
    Phone(centre, "bob").queue()
    Phone(centre, "eve").queue()
    assert whom.customer(centre, "ada").login == "ada"
    assert whom.agent(centre, AgentId("A00002")).name == "Jun"
    assert whom.request(centre, ops.Accept()).login == "bob"
    assert whom.request(centre, ops.Accept(login="eve")).login == "eve"
    assert whom.request(centre, ops.Accept(request=RequestId(9003))).login == "eve"
    assert whom.session(centre, ops.Close()).login == "ada"
    assert whom.session(centre, ops.Close(session=SessionId(5001))).login == "ada"
    with pytest.raises(BadOpError, match="bob has no open session"):
        whom.session(centre, ops.Close(login="bob"))
