"""Policy of a room: the settings of operator and room admin that a step needs."""

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
    """Messages outside a chat go to it before they go to a person."""
    WHEN_NO_AGENT = "when_no_agent"
    """Kept messages go to it once the call centre said that no agent is available."""


class Opening(Protocol):
    """Opening hours of a queue; times are ms since the epoch."""

    def is_open(self, now: int) -> bool: ...

    def opens(self, now: int) -> int:
        """Return the first time from `now` on at which the queue is open."""


class Policy(msgspec.Struct, frozen=True):
    """Settings of operator and room admin; durations are ms."""

    queue_id: QueueId = QueueId(1)
    source: str = "APP"
    to_agent: str = ""
    brand: str = ""
    tracks: str = ""
    map: str = "baidu"
    """Map whose datum the desk expects for coordinates: `baidu`, or `gaode` (AMap)."""
    emoji_codes: bool = False
    """Whether emoji are sent as WeChat's codes."""
    escape_html: bool = False
    """Whether texts are escaped because desks render them as HTML (trap T35)."""
    guard_json: bool = False
    """Whether texts like JSON are guarded because the server would parse them (trap T24)."""
    videos: bool = False
    """Whether videos go as messages of type 6; one refused as such is sent again as a file."""
    start_on_message: bool = True
    max_text_bytes: int = 7000
    """Maximum length of the text in one frame, in bytes of escaped JSON."""
    max_held: int = 200
    """Maximum number of waiting pieces of content in a room."""
    hold: int = 30 * 60_000
    """How long content waits while the service cannot be reached."""
    hold_idle: int = 24 * 3_600_000
    """How long content waits outside a chat for the customer to act again."""
    start_wait: int = 10_000
    """How long to wait for the 202 of a session that the 101 reply named (row 12)."""
    unknown_chat_wait: int = 5_000
    """How long to wait for the 202 after "already chatting" (row 14)."""
    queue_silence: int = 10 * 60_000
    """Time without news of a queue request after which 101 is sent again."""
    accepted_wait: int = 20_000
    """The same for a request reported as accepted (trap T14)."""
    cancel_wait: int = 20_000
    """Time after a cancel until the customer leaves the queue even without WebChat's answer."""
    linger: int = 60_000
    """How long the link stays open after a refusal, as an agent may still accept."""
    ping_wait: int = 10_000
    """How long to wait for an agent's first message before notifying the customer."""
    rating_change: int = 5 * 60_000
    show_comments: bool = False
    """Whether customers see the call centre's notes on its agents (trap T39)."""
    robot: RobotUse = RobotUse.OFF
    longest_question: int = 1000
    """Maximum length of a question to the knowledge base, in characters."""
    robot_wait: int = 60_000
    """Time-out of a question to the knowledge base, after which a person is requested."""
    max_repeats: int = 3
    """Maximum repeats of content after an unknown outcome or a lost session."""
    max_tries: int = 3
    """Maximum attempts of a call that fails with -100; other failures in a row count as well."""
    upload_tries: int = 5
    """Maximum uploads of a file when failures look transient; with back-off a minute and a half."""
    card_every: int = 60_000
    """Interval at which the queue card is refreshed without news, for the first ten minutes."""
    card_later: int = 5 * 60_000
    """The same after ten minutes of waiting."""
    hours: Mapping[QueueId, Opening] = {}
    """Known opening hours, for callbacks and the card: they block no request of the customer."""
    paused: bool = False
    """True while the room is not served: the bridge requests no chat by itself."""
    callback: bool = True
    callback_first: int = 5 * 60_000
    """First interval between callback attempts, after "closed" or "no agent"."""
    callback_last: int = 60 * 60_000
    """Longest interval between callback attempts."""
    callback_spread: int = 60_000
    """Spread of callbacks after a queue opens, so that they do not all come in one second."""
    callback_limit: int = 3 * 86_400_000
    """Lifetime of a callback if opening hours are unknown: longer than a weekend."""
    callback_limit_hours: int = 14 * 86_400_000
    """Minimum lifetime of a callback if they are known: they do not list holidays."""
    quiet_wait: int = 10_000
    """How long the bridge's own request must be queued before the customer sees it."""
    backoff_first: int = 1_000
    backoff_last: int = 60_000
