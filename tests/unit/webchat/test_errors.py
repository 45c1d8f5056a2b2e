"""Errors of ours carry no content."""

import pytest

from bridge.ids import CallId, RequestId
from bridge.webchat.codec import dump_command
from bridge.webchat.errors import LocalProtocolError
from bridge.webchat.frames import CancelRequest


def test_message_names_the_field_and_nothing_else() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        dump_command(CancelRequest(RequestId(2**63)), call_id=CallId(1), token="SECRET", time_ms=0)
    assert str(caught.value) == "requestId does not fit into 64 bits"
    assert isinstance(caught.value, ValueError)
