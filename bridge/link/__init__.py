"""The WebChat side: login, socket, upload and fetch, for as many rooms as there are.

`Links` is the `LinkPort` of one server. Beside it stand what it is built from: `LinkSettings`, and
the small ports `TokenStore`, `Facts` and `LinkMetrics` that the composition root adapts. May import
the rings within (`rooms`, `conversation`, `webchat`, `ids`), `websockets` and `aiohttp`.
"""

from bridge.link.http_client import Health
from bridge.link.link import LinkState
from bridge.link.links import Links
from bridge.link.settings import (
    AccountRule,
    Facts,
    LinkMetrics,
    LinkSettings,
    Timing,
    Token,
    TokenStore,
)
from bridge.webchat.codes import LoginType, UploadMode

__all__ = [
    "AccountRule",
    "Facts",
    "Health",
    "LinkMetrics",
    "LinkSettings",
    "LinkState",
    "Links",
    "LoginType",
    "Timing",
    "Token",
    "TokenStore",
    "UploadMode",
]
