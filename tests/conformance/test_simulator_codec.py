"""The simulator and the codec agree, each written independently from the guide."""

import pytest

from bridge.ids import AgentId, CallId, QueueId, RequestId, SessionId
from bridge.simulator.checks import check
from bridge.simulator.simulator import SimulatorOptions
from bridge.webchat import frames
from bridge.webchat.codes import Dialect
from bridge.webchat.frames import Received
from bridge.webchat.protocol import dump_command
from bridge.webchat.read import parse_frame
from tests.conformance.simulator_client import site

COMMANDS = (
    frames.Logout(),
    frames.RequestChat(QueueId(7)),
    frames.CancelRequest(RequestId(9001)),
    frames.CloseSession(SessionId(5150)),
    frames.RateSession(SessionId(5150), 0, "好"),
    frames.SendPreMessage(RequestId(9001), "order"),
    frames.SendMessage(SessionId(5150), frames.Text("你好")),
    frames.SendMessage(SessionId(5150), frames.Image("a.png", "http://h/a.png")),
    frames.SendMessage(SessionId(5150), frames.File("a.zip", "http://h/a.zip", 3, "zip")),
    frames.SendMessage(SessionId(5150), frames.Location(1.5, 2.5, "here")),
    frames.SendMessage(SessionId(5150), frames.Voice(2, "IyFBTVI=")),
)
LATER_COMMANDS = (
    *COMMANDS,
    frames.Heartbeat(),
    frames.RequestChat(QueueId(7), to_agent="A00001"),
    frames.Preview(SessionId(5150), "hel"),
    frames.Typing(SessionId(5150)),
    frames.Receipt("rs-1"),
    frames.TransferFromRobot(SessionId(5150)),
)


@pytest.mark.parametrize(
    ("dialect", "command"),
    [
        *((Dialect.Y2016, command) for command in COMMANDS),
        *((Dialect.Y2019, command) for command in LATER_COMMANDS),
    ],
)
def test_strict_simulator_accepts_every_command(dialect: Dialect, command: frames.Command) -> None:
    text = dump_command(command, call_id=CallId(3), token="T", time_ms=1, dialect=dialect)
    options: dict[str, object] = {"dialect": dialect.value, "foreign_keys": "refuse"}
    assert check(text, SimulatorOptions(strict=True).changed(options)).command == command


@pytest.mark.parametrize("dialect", ["2016", "2019"])
@pytest.mark.parametrize("command", COMMANDS)
def test_strict_simulator_accepts_commands_of_the_dual_dialect(
    dialect: str, command: frames.Command
) -> None:
    text = dump_command(command, call_id=CallId(3), token="T", time_ms=1, dialect=Dialect.DUAL)
    strict = SimulatorOptions(strict=True).changed({"dialect": dialect})
    assert check(text, strict).command == command


@pytest.mark.asyncio
async def test_codec_reads_every_push_of_the_simulator() -> None:
    async with site() as here:
        phone, session = await here.chat()
        for op in (
            {"op": "say", "text": "hi"},
            {"op": "image"},
            {"op": "file", "name": "a.txt", "text": "x"},
            {"op": "voice"},
            {"op": "location", "latitude": 1.5, "longitude": 2.5},
            {"op": "notice", "text": "n"},
            {"op": "recall"},
            {"op": "conference", "to": "A00002"},
            {"op": "push_rating"},
            {"op": "close"},
        ):
            await here.simulator.do(op)
        read = [parse_frame(str(await phone.socket.recv())) for _ in range(10)]
        pushes = [item.push for item in read if isinstance(item, Received)]
        said = [push.content for push in pushes if isinstance(push, frames.MessageReceived)]
        assert [type(content).__name__ for content in said] == [
            "AgentText",
            "AgentMedia",
            "AgentMedia",
            "AgentMedia",
            "AgentLocation",
            "AgentNotice",
            "AgentNotice",
        ]
        updated, rating, closed = pushes[7:]
        assert isinstance(updated, frames.AgentsUpdated)
        assert [agent.id for agent in updated.agents] == ["A00001", "A00002"]
        named = (SessionId(session), AgentId("A00001"))
        assert (rating, closed) == (frames.RatingPushed(*named), frames.SessionClosed(*named))
