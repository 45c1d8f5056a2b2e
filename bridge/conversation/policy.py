"""Policy of a room: the decisions of operator and room admin that a step asks for."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

import msgspec

from bridge.ids import QueueId


class RobotUse(StrEnum):
    """Mode of the knowledge base: when it is asked without a command."""

    OFF = "off"
    COMMAND = "command"
    FIRST = "first"
    """What is written outside a chat goes to it before it goes to a person."""
    WHEN_NO_AGENT = "when_no_agent"
    """What is written goes to it once the call centre said that nobody is there."""


class Opening(Protocol):
    """The opening hours of a queue; moments are ms since the epoch."""

    def is_open(self, now: int) -> bool: ...

    def opens(self, now: int) -> int:
        """The first moment from `now` on at which it is open."""


class Policy(msgspec.Struct, frozen=True):
    """Decisions of operator and room admin; durations are ms."""

    queue_id: QueueId = QueueId(1)
    source: str = "APP"
    to_agent: str = ""
    brand: str = ""
    tracks: str = ""
    map: str = "baidu"
    """Whose coordinates the desk expects: `baidu`, or `gaode` (AMap)."""
    emoji_codes: bool = False
    """Faces go as WeChat's codes."""
    escape_html: bool = False
    """Desks take texts for HTML (trap T35)."""
    guard_json: bool = False
    """The server takes what looks like JSON for JSON (trap T24)."""
    videos: bool = False
    """Films go as messages of type 6; one that is refused as such goes as a file."""
    start_on_message: bool = True
    max_text_bytes: int = 7000
    """Longest text of one frame, in bytes of escaped JSON."""
    max_held: int = 200
    """Pieces of content that a room may have waiting."""
    hold: int = 30 * 60_000
    """How long content waits for a service that cannot be reached."""
    hold_idle: int = 24 * 3_600_000
    """How long content waits for the customer's next word after a queue ended without an agent."""
    start_wait: int = 10_000
    """How long a session that the 101 reply named waits for its 202 (row 12)."""
    unknown_chat_wait: int = 5_000
    """How long "already chatting" waits for the 202 that explains it (row 14)."""
    queue_silence: int = 10 * 60_000
    """After so long without a sign of life a queue request is asked after."""
    accepted_wait: int = 20_000
    """The same, once a request was said to be accepted (trap T14)."""
    cancel_wait: int = 20_000
    """After so long a customer is out of the queue whatever WebChat says."""
    linger: int = 60_000
    """How long the link stays after a request was refused that may still be taken up."""
    ping_wait: int = 10_000
    """How long an agent may be silent at first, until the customer is told of them."""
    rating_change: int = 5 * 60_000
    show_comments: bool = False
    """Customers read the call centre's notes on its agents (trap T39)."""
    robot: RobotUse = RobotUse.OFF
    longest_question: int = 1000
    """Characters that the knowledge base is asked at most."""
    robot_wait: int = 60_000
    """After so long without an answer of the knowledge base a person is asked for."""
    max_repeats: int = 3
    """How often content whose fate is unknown is sent again before the customer is told."""
    max_tries: int = 3
    """How often a call is made again that the server failed to carry out (-100)."""
    upload_tries: int = 5
    """How often a file is uploaded that the server fails to take: for a minute and a half."""
    card_every: int = 60_000
    """How often the queue card is brought up to date though nothing has moved, at first."""
    card_later: int = 5 * 60_000
    """The same, for those who have waited longer than ten minutes."""
    hours: Mapping[QueueId, Opening] = {}
    """Opening hours, as far as the operator gave them; they only say when to call back."""
    paused: bool = False
    """The room is not served at the moment: nothing is asked for on our own."""
    callback: bool = True
    callback_first: int = 5 * 60_000
    """How long after a verdict of "closed" or "nobody there" we ask again, at first."""
    callback_last: int = 60 * 60_000
    """The same, at most."""
    callback_spread: int = 60_000
    """Callers are not all asked for in the second in which a queue opens."""
    callback_limit: int = 3 * 86_400_000
    """How long we go on asking where hours are unknown: a weekend is shorter."""
    callback_limit_hours: int = 14 * 86_400_000
    """The same, at least, where they are known: holidays are not in them."""
    quiet_wait: int = 10_000
    """How long a request of our own has to stand before anything is shown of it."""
    backoff_first: int = 1_000
    backoff_last: int = 60_000
