"""config.yaml as frozen values: every key, its type, its default and what it is for.

The docstrings under the keys are the comments of config.example.yaml and the descriptions of the
JSON Schema. Rules that span several keys are in `rules`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from bridge.config.fields import (
    ONE_OR_MANY,
    CommandPrefix,
    DatabaseUrl,
    Domain,
    GhostTemplate,
    HttpUrl,
    Localpart,
    MxcUri,
    Port,
    Section,
    TimeZone,
    template,
)
from bridge.config.hours import OpeningHours
from bridge.config.permissions import Permission
from bridge.config.units import Bytes, Milliseconds
from bridge.config.webchat import Source, WebChat

Language = Literal["zh-CN", "zh-TW", "en", "ja"]


class Homeserver(Section):
    """The Matrix homeserver."""

    address: Annotated[HttpUrl, Field(examples=["http://localhost:8008"])]
    """Where the bridge reaches the homeserver."""
    domain: Annotated[Domain, Field(examples=["example.org"])]
    """Its server name: the part of user ids after the colon."""
    verify_ssl: bool = True
    """Check the certificate of an https address."""


class Bot(Section):
    """The bridge's own user."""

    username: Localpart = "webchatbot"
    """Customers invite @<username>:<domain>."""
    displayname: str = "WebChat"
    """Its name in rooms."""
    avatar: MxcUri = ""
    """An mxc:// URI, or empty."""


class AppService(Section):
    """The bridge as the homeserver sees it."""

    address: HttpUrl = "http://localhost:29340"
    """Where the homeserver reaches the bridge."""
    hostname: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 29340
    """Port to listen on."""
    id: Annotated[str, Field(min_length=1)] = "webchat"
    """Name of the application service on the homeserver."""
    bot: Bot = Bot()
    as_token: SecretStr = SecretStr("")
    """Filled by `matrix-webchat register`."""
    hs_token: SecretStr = SecretStr("")
    """Filled by `matrix-webchat register`."""
    max_body_size: Annotated[Bytes, Field(ge=65_536)] = 64 * 1024 * 1024
    """Largest transaction taken from the homeserver."""


class Database(Section):
    """Where messages under way are kept."""

    url: DatabaseUrl = SecretStr("sqlite:///bridge.db")
    """sqlite:///beside-this-file.db | sqlite:////absolute.db | postgres://user:pass@host/name."""


class Queue(Section):
    """A queue of the call centre that customers can be sent to."""

    id: Annotated[int, Field(ge=0, examples=[1])]
    """Wire `queueId`."""
    name: Annotated[str, Field(min_length=1, examples=["Sales"])]
    """Shown to customers; also the name of @webchat_queue_<id>."""
    aliases: Annotated[tuple[str, ...], Field(examples=[["sales"]])] = ()
    """Other words for it in `start <queue>` and `queue set <queue>`."""
    source: Annotated[Source | None, Field(alias="from", examples=["APP"])] = None
    """PC | MOBILE | WECHAT | APP; without it, webchat.from."""
    to_agent: str = ""
    """Ask for this agent (wire `toUserId`)."""
    hours: OpeningHours = ""
    """For "we call you back": Mon-Fri 09:00-18:00; Sat 10:00-14:00 Asia/Shanghai, or empty."""


class Encryption(Section):
    """End-to-end encryption between customers and the bridge (docs/encryption.md)."""

    allow: bool = True
    """Take part in encrypted rooms. false: publish no keys, and tell encrypted rooms so."""
    pickle_key: SecretStr = SecretStr("")
    """Seals all keys in the database; filled by `matrix-webchat register`. Empty: as_token does."""
    default: bool = False
    """Turn encryption on in every room that invites the bridge, if it may and none is on yet."""
    require: bool = False
    """Carry nothing in clear: unencrypted messages are answered with what to do."""


class Limits(Section):
    """What one customer can cost."""

    file: Annotated[Bytes, Field(ge=1024)] = 50 * 1024 * 1024
    """Largest file carried, either way."""
    messages_per_minute: Annotated[int, Field(ge=1)] = 60
    """Per room."""
    rooms_per_user: Annotated[int, Field(ge=1)] = 5
    """Rooms that one customer may have served at a time."""
    new_rooms_per_hour: Annotated[int, Field(ge=1)] = 10
    """Rooms that one customer may begin within an hour; leaving one gives nothing back."""


class Callback(Section):
    """Calling back those who found the call centre closed, or nobody there, if they wish it."""

    enabled: bool = True
    """Offer it, and take the command `callback`."""
    retry_first: Annotated[Milliseconds, Field(ge=1000)] = 300_000
    """Where a queue has no hours, or should be open and is not: when to ask again, at first."""
    retry_last: Annotated[Milliseconds, Field(ge=1000)] = 3_600_000
    """The same, at most; in between it doubles."""
    give_up: Annotated[Milliseconds, Field(ge=3_600_000)] = 259_200_000
    """When to stop asking; 14d or this, whichever is longer, where a queue has hours."""


class TellAgents(Section):
    """What agents are told of that is no message, in words."""

    language: Language | Literal["room"] = "room"
    """Of those words: zh-CN | zh-TW | en | ja; room: each room's own."""
    reactions: bool = True
    """Emoji that customers put to messages."""
    withdrawals: bool = True
    """Messages that customers took back after they were sent."""
    members: bool = False
    """Customers who come into a shared room or leave it during a chat."""


class Bridge(Section):
    """How rooms are served."""

    username_template: GhostTemplate = "webchat_{agent}"
    """Matrix users of agents; queue users are webchat_queue_<id>."""
    displayname_template: Annotated[
        str, AfterValidator(template(known={"name", "id"}, needed={"name"}))
    ] = "{name}"
    """Their names; {name} and {id} are the agent's."""
    command_prefix: CommandPrefix = "!wc"
    """Begins a command in any room."""
    permissions: Annotated[
        dict[str, Permission],
        Field(
            min_length=1,
            examples=[{"example.org": "customer", "@admin:example.org": "admin"}],
        ),
    ]
    """User id, server, pattern or "*" -> none | customer | admin | ignore; most specific wins."""
    language: Language = "zh-CN"
    """zh-CN | zh-TW | en | ja; each room can choose its own."""
    timezone: TimeZone = ""
    """Of your customers, such as Asia/Shanghai: times in rooms are told in it. Empty: UTC."""
    start: Literal["on_message", "on_command"] = "on_message"
    """Ask for an agent at the first message, or only at the command `start`."""
    encryption: Encryption = Encryption()
    callback: Callback = Callback()
    tell_agents: TellAgents = TellAgents()
    limits: Limits = Limits()


class RatingOption(Section):
    """A rating that customers may give."""

    id: Annotated[int, Field(ge=0)]
    """Wire `ratingId`, from the server's own table."""
    labels: Annotated[dict[Language, str], Field(min_length=1)]
    """Language -> what it is called."""


class RatingSection(Section):
    """How customers rate a chat, where the server does not say it itself."""

    options: tuple[RatingOption, ...] = ()
    """The best first: {id: 5, labels: {zh-CN: ..., en: ...}}. Empty: ids 1 to 5, 5 the best."""


class Retention(Section):
    """How long the delivery ledger is kept. Dead letters stay until someone deals with them."""

    bodies: Annotated[Milliseconds, Field(ge=0)] = 86_400_000
    """Contents of messages, once they are settled."""
    rows: Annotated[Milliseconds, Field(ge=0)] = 604_800_000
    """The lines themselves, without content; `trace` reads them."""


class Metrics(Section):
    """Prometheus metrics, on a port of their own."""

    enabled: bool = True
    """Serve /metrics."""
    hostname: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8000
    """Port to listen on."""


class Logging(Section):
    """Logs, on the standard output."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """DEBUG | INFO | WARNING | ERROR."""
    format: Literal["text", "json"] = "text"
    """text | json."""


class Config(Section):
    """The whole of config.yaml."""

    homeserver: Homeserver
    appservice: AppService = AppService()
    database: Database = Database()
    webchat: Annotated[tuple[WebChat, ...], Field(min_length=1), ONE_OR_MANY]
    """The call centre's server."""
    queues: Annotated[tuple[Queue, ...], Field(min_length=1)]
    """The queues that customers can be sent to."""
    default_queue: Annotated[int, Field(examples=[1])]
    """The queue of a room for which nobody has chosen one."""
    bridge: Bridge
    rating: RatingSection = RatingSection()
    texts: dict[str, dict[str, str]] = {}
    """Replaced sentences: key -> {zh-CN: ..., en: ...}. All of them: `example-config --texts`."""
    retention: Retention = Retention()
    metrics: Metrics = Metrics()
    logging: Logging = Logging()

    @property
    def server(self) -> WebChat:
        """The one WebChat server; `rules` lets no second through yet."""
        return self.webchat[0]
