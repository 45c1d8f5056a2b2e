"""Model of config.yaml: every key with its type, default and description.

The docstrings under the keys are the comments of config.example.yaml and the descriptions of the
JSON Schema. Rules that span several keys are in `loading`.

The most specific permission wins: user id, pattern over user ids, server, pattern over servers,
`*`; of two patterns the one with more literal characters. Without a match: NONE. So a user, or all
bots, can be excluded from a server that is otherwise served.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr

from bridge.config import fields
from bridge.config.fields import AlwaysLive, Live, Section
from bridge.config.hours import OpeningHours
from bridge.ids import localpart_of, server_of
from bridge.webchat.codes import LoginType, RobotUse, Source, UploadMode

# --- permissions ---------------------------------------------------------------------------------


class Permission(StrEnum):
    """Permission of a Matrix user."""

    NONE = "none"
    CUSTOMER = "customer"
    """May talk to the call centre."""
    ADMIN = "admin"
    """Customer who may also configure any room, whatever their power level."""
    IGNORED = "ignore"
    """Not served and not told so: for bots. Last, because error messages keep this order."""


def is_pattern(rule: str) -> bool:
    return "*" in rule or "?" in rule


def rule_matches(rule: str, user_id: str) -> bool:
    """Return True if a rule matches: the user id if the rule begins with `@`, else the server."""
    target = user_id if rule.startswith("@") else server_of(user_id)
    if not is_pattern(rule):
        return rule == target
    # Not fnmatch: it would treat the brackets of IPv6 server names as character sets.
    regex = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in rule)
    return re.fullmatch(regex, target, re.DOTALL) is not None


def _weight(rule: str) -> tuple[bool, bool, int, bool]:
    letters = sum(char not in "*?" for char in rule)
    return (rule.startswith("@"), not is_pattern(rule), letters, rule != "*")


SERVED = frozenset({Permission.CUSTOMER, Permission.ADMIN})
_STRANGER = "\ue000"
"""A character that occurs in no rule (Unicode private use)."""


def permission_of(rules: Mapping[str, Permission], user_id: str) -> Permission:
    """Return the permission of the most specific matching rule, NONE if there is none."""
    covering = [rule for rule in rules if rule_matches(rule, user_id)]
    return rules[max(covering, key=_weight)] if covering else Permission.NONE


def serves_somebody_of(rules: Mapping[str, Permission], domain: str) -> bool:
    """Return True if the rules serve at least one possible user of this server.

    Tests localparts made from the rules: wildcards are replaced by a character that no rule
    contains, so that besides the rule itself only other wildcards can match.
    """
    parts = {localpart_of(rule) for rule in rules if rule.startswith("@")}
    return any(
        permission_of(rules, f"@{name.replace('?', _STRANGER)}:{domain}") in SERVED
        for part in (*parts, "*")
        for name in {part.replace("*", _STRANGER * count) for count in (0, 1, 9)}
    )


# --- section webchat: one WebChat server (an enterprise on it) -----------------------------------

_KNOWN = frozenset({"room_key", "room_id", "displayname"})


_host = fields.matching(
    r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?",
    "must be host, host:port or a network such as 10.0.0.0/8",
)


def _media_host(value: str) -> str:
    if "/" in value:
        with suppress(ValueError):
            ipaddress.ip_network(value)
            return value
    _ = urlsplit(f"//{_host(value)}").port  # raises ValueError if too high
    return value


class Login(Section):
    """How each room logs in to WebChat."""

    type: LoginType = LoginType.REGISTER
    """password (wire type 1) | register (3) | visitor (4)."""
    name: Annotated[str, fields.template(known=_KNOWN, needed={"room_key", "room_id"})] = (
        "mx-{room_key}"
    )
    """Login name; with `register` it is also the password. {room_key}: a secret id of the room."""
    display_name: Annotated[str, fields.template(known=_KNOWN)] = "{displayname}"
    """Customer's name as agents see it; {displayname} is the display name in Matrix."""
    portrait: Annotated[str, fields.template(known=_KNOWN - {"displayname"})] = ""
    """For type register: URL of the customer's picture; may use {room_key} and {room_id}."""
    ip: fields.IpAddress = ""
    """IP address (wire `ip`) by which the server counts logins; Matrix does not tell customers'."""
    password: fields.Secret = SecretStr("")
    """For type password: password of every account that is not in `accounts`."""
    own_accounts: bool = True
    """Let customers log in with their own account (commands `login` and `logout`)."""


class AccountEntry(Section):
    """An existing account on the server."""

    name: Annotated[str, Field(min_length=1), fields.template(known=_KNOWN)]
    """Login name; may use the placeholders of login.name."""
    password: fields.Secret = SecretStr("")
    """Password."""


# YAML reads an unquoted off as false.
_RobotUse = Annotated[RobotUse, BeforeValidator(lambda value: "off" if value is False else value)]


class Robot(Section):
    """The knowledge-base robot."""

    enabled: Live[bool] = False
    """Use the robot."""
    public_key: fields.Secret = SecretStr("")
    """Key that signs questions to the robot (guide part four)."""
    mode: Live[_RobotUse] = RobotUse.OFF
    """off | command (`ask`) | first (before a person) | when_no_agent (if no agent is there)."""
    km_base_url: Live[Annotated[str, Field(pattern=r"^(https?://.+)?$")]] = ""
    """Base URL of its articles; empty: answers carry no links."""


class Rate(Section):
    """A rate limit, also written as 8/60s."""

    count: fields.Count = 8
    """Maximum number within the window."""
    per_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60
    """Length of the window in seconds."""


_Dialect = Literal["auto", "2016-11", "2016", "2019", "dual"]


class WebChat(Section):
    """The call centre's server."""

    base_url: Annotated[fields.HttpUrl, Field(examples=["https://crm.example.org/webchat"])]
    """URL of the WebChat application, without /tpi, /tpiu, /robotSearch or /cws."""
    ca_file: fields.File = ""
    """PEM file of certificates to trust besides the system's, for a private authority."""
    verify_ssl: bool = True
    """false: do not check its certificate; attackers on the network can read and change all."""
    enterprise_id: str = ""
    """Id of the enterprise on the server (wire `epid`); empty if there is only one."""
    # YAML reads an unquoted 2016 as a number.
    dialect: Annotated[_Dialect, fields.parsed_by(str, int)] = "auto"
    """auto (detect) | 2016-11 (if desks show braces) | 2016 | 2019 | dual (the keys of both)."""
    source: Live[Annotated[Source, Field(alias="from")]] = Source.APP
    """PC | MOBILE | WECHAT | APP: decides the customer's icon at the agent's desk."""
    brand: Live[str] = ""
    """Second source (wire `brand`) shown at the desk, for servers of 2019; empty: none."""
    tracks: Live[fields.JsonText] = ""
    """JSON text on where customers come from (wire `tracks`), in the server project's format."""
    login: Login = Login()
    accounts: dict[str, AccountEntry] = {}
    """For type password: room id, user id or pattern -> {name, password}; most specific wins."""
    sign_key: fields.Secret = SecretStr("")
    """Key of the `sign` header of logins, if the server requires it."""
    robot: Robot = Robot()
    upload_mode: UploadMode = UploadMode.AUTO
    """raw (guide of 2016) | multipart | auto (try raw, remember what the server accepts)."""
    max_frame_bytes: Annotated[int, Field(ge=1024, le=1_048_576)] = 8000
    """Maximum size of a frame to the server; longer texts are split. Tomcat's default is 8192."""
    map: Live[Literal["baidu", "gaode"]] = "baidu"
    """baidu (BD-09) | gaode (AMap, GCJ-02): the map and its coordinates used at agents' desks."""
    emoji_mode: Live[Literal["unicode", "qq"]] = "unicode"
    """unicode | qq: send emoji as WeChat codes like `/::)`, for desks that show no others."""
    escape_outgoing: Live[bool] = False
    """Escape customers' texts as HTML, for desks that show `1 < 2` cut off."""
    jsonlib_guard: Live[bool] = False
    """Put an invisible space before texts like `[1]`, for servers that put them in quotes."""
    long_voices: Live[bool] = True
    """Upload long voice messages as AMR and send their URL to servers of 2019; false: as files."""
    videos: Live[bool] = False
    """Send videos as content type 6, which no guide promises to show; false: as files."""
    login_rate: Annotated[Rate, fields.parsed_by(fields.parse_rate)] = Rate()
    """Limit of logins of all rooms; the server blacklists an address above 10 in 60 s."""
    show_comments: Live[bool] = False
    """Show customers the call centre's notes on an agent (wire `comments`) who joins."""
    allowed_media_hosts: tuple[Annotated[str, AfterValidator(_media_host)], ...] = ()
    """Further hosts, host:port or networks from which agents' files may be fetched."""


# --- the other sections --------------------------------------------------------------------------

Language = Literal["zh-CN", "zh-TW", "en", "ja"]


class Homeserver(Section):
    """The Matrix homeserver."""

    address: Annotated[fields.HttpUrl, Field(examples=["http://localhost:8008"])]
    """URL at which the bridge reaches the homeserver."""
    domain: Annotated[fields.Domain, Field(examples=["example.org"])]
    """Server name: the part of user ids after the colon."""
    verify_ssl: bool = True
    """Check the certificate of an https address."""
    status_endpoint: fields.OptionalUrl = ""
    """URL to report the bridge's state to, as mautrix bridges do, with the as_token; or empty."""


class Bot(Section):
    """The bot's Matrix user, which customers invite."""

    username: fields.Localpart = "webchatbot"
    """Localpart of its user id, @<username>:<domain>."""
    displayname: str = "WebChat"
    """Display name."""
    avatar: fields.MxcUri = ""
    """Avatar, an mxc:// URI; empty: the built-in picture."""


class AppService(Section):
    """The application service: how the homeserver reaches and knows the bridge."""

    address: fields.HttpUrl = "http://localhost:29340"
    """URL at which the homeserver reaches the bridge."""
    hostname: str = "127.0.0.1"
    """Address to listen on; empty: every address of this machine."""
    port: fields.Port = 29340
    """Port to listen on."""
    id: Annotated[str, Field(min_length=1)] = "webchat"
    """Id of the application service on the homeserver."""
    bot: Bot = Bot()
    as_token: fields.Token = SecretStr("")
    """Filled by `matrix-webchat register`. Token of requests to the homeserver."""
    hs_token: fields.Token = SecretStr("")
    """Filled by `matrix-webchat register`. Token of requests from the homeserver."""
    max_body_size: Annotated[fields.Bytes, Field(ge=65_536)] = 64 * 1024 * 1024
    """Maximum size of a transaction from the homeserver."""


class Database(Section):
    """The database of rooms, chats, keys and undelivered messages."""

    model_config = ConfigDict(revalidate_instances="always")  # to resolve the default's file name

    url: fields.DatabaseUrl = SecretStr("sqlite:///bridge.db")
    """sqlite:///beside-this-file.db | sqlite:////absolute.db | postgres://user:pass@host/name."""


class Queue(Section):
    """A queue of the call centre that customers can be sent to."""

    id: Annotated[fields.Number, Field(examples=[1])]
    """Number of the queue in the call centre (wire `queueId`)."""
    name: Annotated[fields.Name, Field(examples=["Sales"])]
    """Name shown to customers, also of its Matrix user @webchat_queue_<id>."""
    avatar: fields.MxcUri = ""
    """Avatar, an mxc:// URI; empty: the built-in picture in a colour of the queue."""
    aliases: Annotated[tuple[fields.Name, ...], Field(examples=[["sales"]])] = ()
    """Other names for it in the commands `start <queue>` and `queue set <queue>`."""
    source: Annotated[Source | None, Field(alias="from", examples=["APP"])] = None
    """PC | MOBILE | WECHAT | APP; default: webchat.from."""
    to_agent: str = ""
    """Id of the agent to ask for (wire `toUserId`); empty: any agent."""
    hours: OpeningHours = ""
    """Opening hours for callbacks: Mon-Fri 09:00-18:00; Sat 10:00-14:00 Asia/Shanghai; or empty."""


class Encryption(Section):
    """End-to-end encryption between customers and the bridge (docs/encryption.md)."""

    allow: bool = True
    """Support encrypted rooms. false: publish no keys, and say so in encrypted rooms."""
    pickle_key: SecretStr = SecretStr("")
    """Encrypts secrets in the database; set by `matrix-webchat register`. Empty: as_token does."""
    default: AlwaysLive[bool] = False
    """Turn on encryption in every room that the bridge is invited to, if it is allowed to."""
    require: AlwaysLive[bool] = False
    """Carry no unencrypted messages; their sender is told what to do."""


class Limits(Section):
    """Limits per customer and room."""

    file: Annotated[fields.Bytes, Field(ge=1024)] = 50 * 1024 * 1024
    """Maximum size of a file, in both directions."""
    messages_per_minute: fields.Count = 60
    """Maximum messages, commands and reactions per room and minute. Those of an outage count in
    the minute in which they were written, if by users of the bridge's own homeserver."""
    rooms_per_user: fields.Count = 5
    """Maximum rooms that one customer may have at a time."""
    new_rooms_per_hour: fields.Count = 10
    """Maximum rooms that one customer may begin within an hour, including those left since."""


class Callback(Section):
    """Callbacks offered to customers who found the call centre closed or no agent there."""

    enabled: bool = True
    """Offer callbacks, and accept the command `callback`."""
    retry_first: Annotated[fields.Milliseconds, Field(ge=1000)] = 300_000
    """First delay before asking again, if a queue has no hours or is closed within them."""
    retry_last: Annotated[fields.Milliseconds, Field(ge=1000)] = 3_600_000
    """Maximum delay; each delay is twice the one before."""
    give_up: Annotated[fields.Milliseconds, Field(ge=3_600_000)] = 259_200_000
    """Time after which to stop asking; at least 14d for a queue with hours."""


class TellAgents(Section):
    """Events besides messages that agents are told of, in words."""

    language: Literal[Language, "room"] = "room"
    """Language of these words: zh-CN | zh-TW | en | ja | room (the one chosen for the room)."""
    reactions: bool = True
    """Reactions (emoji) of customers."""
    withdrawals: bool = True
    """Messages that customers deleted after they were sent."""
    members: bool = False
    """Customers who join or leave a shared room during a chat."""


Permissions = Annotated[
    dict[str, Permission],
    Field(min_length=1, examples=[{"example.org": "customer", "@admin:example.org": "admin"}]),
]


class Served(Section):
    """Settings that each call centre may set for its own rooms."""

    username_template: fields.GhostTemplate = "webchat_{agent}"
    """Localpart of the Matrix user of each agent."""
    queue_username_template: fields.QueueTemplate = "webchat_queue_{queue}"
    """Localpart of the Matrix user of each queue; must differ between bridges on a homeserver."""
    displayname_template: Annotated[str, fields.template(known={"name", "id"}, needed={"name"})] = (
        "{name}"
    )
    """Display names of agents; {name} and {id} are the agent's."""
    command_prefix: Live[fields.CommandPrefix] = "!wc"
    """Prefix of commands in rooms."""
    permissions: Live[Permissions] = {}
    """User id, server, pattern or "*" -> none | customer | admin | ignore; most specific wins."""
    language: Live[Language] = "zh-CN"
    """zh-CN | zh-TW | en | ja: first language of rooms; a customer's words may change it."""
    timezone: Live[fields.TimeZone] = ""
    """Customers' zone for times in rooms, such as Asia/Shanghai; empty: UTC."""
    start: Live[Literal["on_message", "on_command"]] = "on_message"
    """Ask for an agent at the first message, or only at the command `start`."""
    callback: Live[Callback] = Callback()
    tell_agents: Live[TellAgents] = TellAgents()
    limits: Live[Limits] = Limits()


class Bridge(Served):
    """How rooms are served."""

    encryption: Encryption = Encryption()
    message_status_events: AlwaysLive[bool] = False
    """Send com.beeper.message_send_status once a customer's message is delivered or has failed."""
    replica: str = ""
    """Name of this process among several (docs/scaling.md); empty: host name and process id."""


class RatingOption(Section):
    """A rating that customers may give."""

    id: fields.Number
    """Number of the rating in the server's table (wire `ratingId`)."""
    labels: Annotated[dict[Language, fields.Name], Field(min_length=1)]
    """Language -> label."""


class RatingSection(Section):
    """Ratings that customers can give, if the server does not send its own."""

    options: tuple[RatingOption, ...] = ()
    """Best first: {id: 5, labels: {zh-CN: ..., en: ...}}. Empty: ids 1 to 5, 5 the best."""


class Retention(Section):
    """How long data is kept (docs/privacy.md). Dead letters stay until retried or discarded."""

    bodies: Annotated[fields.Milliseconds, Field(ge=0)] = 86_400_000
    """Contents of messages, after they were delivered or have failed."""
    rows: Annotated[fields.Milliseconds, Field(ge=0)] = 604_800_000
    """Rows of the ledger, without contents; `trace` reads them."""
    chats: fields.Age = fields.EVER
    """Chats that have ended, as listed by `history`; ever | 365d."""
    accounts: fields.Age = fields.EVER
    """WebChat accounts and tokens of rooms without a chat, since their login; ever | 365d."""
    ghosts: fields.Age = fields.EVER
    """Names and pictures of agents, since their last use; ever | 365d."""
    audit: fields.Age = fields.EVER
    """Audit trail: who changed what, and when; ever | 365d."""


class Metrics(Section):
    """Prometheus metrics, served on their own port."""

    enabled: bool = True
    """Serve /metrics."""
    hostname: str = "127.0.0.1"
    """Address to listen on; empty: every address of this machine."""
    port: fields.Port = 8000
    """Port to listen on."""


class RequestRate(Rate):
    """Rate limit of requests, also written as 300/60s."""

    count: fields.Count = 300
    """Maximum requests of one address within the window; four times as many of all together."""


class Provisioning(Section):
    """The provisioning API, for your own programs (docs/api.md)."""

    enabled: bool = False
    """Serve /_matrix/provision/v1 on the port of section appservice."""
    secret: fields.Token = SecretStr("")
    """Token for full access, 32 characters or more; filled by `matrix-webchat register`."""
    rate: Annotated[RequestRate, fields.parsed_by(fields.parse_rate)] = RequestRate()


class Tracing(Section):
    """OpenTelemetry traces; needs the extra: pip install "matrix-webchat-bridge[tracing]"."""

    enabled: bool = False
    """Send a trace of every message, once it was delivered or has failed."""
    endpoint: fields.OptionalUrl = ""
    """The collector's OTLP/HTTP URL; empty: OTEL_EXPORTER_OTLP_ENDPOINT, or localhost:4318."""


class Console(Section):
    """Web console for operators (/admin) and page for room admins, on their own port."""

    enabled: bool = False
    """Serve both; `matrix-webchat console-link` prints a link to sign in."""
    hostname: str = "127.0.0.1"
    """Address to listen on; empty: every address of this machine."""
    port: fields.Port = 29341
    """Port to listen on."""
    public_url: fields.OptionalUrl = ""
    """URL at which browsers reach it (a TLS proxy); empty: only locally, and no room page."""


class Logging(Section):
    """Logging to standard output."""

    level: AlwaysLive[Literal["DEBUG", "INFO", "WARNING", "ERROR"]] = "INFO"
    """DEBUG | INFO | WARNING | ERROR: lowest level that is logged."""
    format: Literal["text", "json"] = "text"
    """text | json."""


Queues = Annotated[tuple[Queue, ...], Field(min_length=1)]
Overrides = dict[str, dict[str, str]]


class EnterpriseBridge(Served):
    """How its rooms are served; keys that are not given here are taken from `bridge` above."""

    username_template: Annotated[fields.GhostTemplate, Field(examples=["acme_{agent}"])] = (
        "webchat_{agent}"
    )
    """Localpart of its agents' users; prefix or suffix must differ from other enterprises'."""
    queue_username_template: Annotated[
        fields.QueueTemplate, Field(examples=["acme_queue_{queue}"])
    ] = "webchat_queue_{queue}"
    """Localpart of its queues' users."""
    bot: Annotated[Bot, Field(examples=[{"username": "acmebot", "displayname": "Acme"}])] = Bot()
    """Its own bot; default: the bot of `appservice`, which several can share."""


class Enterprise(Section):
    """One of several call centres (docs/operators.md, Several call centres in one process)."""

    id: Annotated[
        str,
        AfterValidator(
            fields.matching(r"[a-z0-9][a-z0-9._-]{0,31}", "must be a short word of a-z 0-9 . _ -")
        ),
        Field(examples=["acme"]),
    ]
    """Its id in logs, metrics and commands. Never change it: rooms store it."""
    webchat: Annotated[
        WebChat, Field(examples=[{"base_url": "https://crm.example.com/webchat", "sign_key": ""}])
    ]
    """Its server, with the keys of `webchat` above."""
    queues: Live[Annotated[Queues, Field(examples=[[{"id": 1, "name": "Sales"}]])]]
    """Its queues, with the keys of `queues` above; enterprises may use the same ids."""
    default_queue: Live[Annotated[fields.Number, Field(examples=[1])]]
    """Queue of rooms for which no other was chosen."""
    bridge: EnterpriseBridge = EnterpriseBridge()
    rating: Live[RatingSection] = RatingSection()
    texts: Live[Overrides] = {}
    """Replaced sentences; they add to `texts` above and take precedence."""


SHORT_FORM = ("webchat", "queues", "default_queue")
"""The keys of a single call centre, which `enterprises` replaces."""


class Config(Section):
    """The whole of config.yaml. Required keys depend on `enterprises` (checked by `loading`)."""

    homeserver: Homeserver
    appservice: AppService = AppService()
    database: Annotated[Database, Field(validate_default=True)] = Database()
    webchat: Annotated[WebChat, fields.LISTED] = WebChat.model_construct(base_url="")
    """The call centre's server."""
    queues: Live[Queues] = ()
    """The queues that customers can be sent to."""
    default_queue: Live[Annotated[fields.Number, Field(examples=[1])]] = 0
    """Queue of rooms for which no other was chosen."""
    bridge: Bridge = Bridge()
    rating: Live[RatingSection] = RatingSection()
    texts: Live[Overrides] = {}
    """Replaced sentences: key -> {zh-CN: ..., en: ...}; `example-config --texts` lists all keys."""
    enterprises: tuple[Enterprise, ...] = ()
    """Several call centres, one entry each, instead of webchat, queues and default_queue."""
    retention: AlwaysLive[Retention] = Retention()
    metrics: Metrics = Metrics()
    provisioning: Provisioning = Provisioning()
    console: Console = Console()
    tracing: Tracing = Tracing()
    logging: Logging = Logging()

    def parts(self) -> dict[str, Config]:
        """Return each call centre's configuration in short form, by id ("" for a single one)."""
        return {part.id: self._part(part) for part in self.enterprises} or {"": self}

    def _part(self, part: Enterprise) -> Config:
        own = {name: getattr(part.bridge, name) for name in Served.model_fields}
        return self.model_copy(
            update={
                **{name: getattr(part, name) for name in (*SHORT_FORM, "rating", "texts")},
                "appservice": self.appservice.model_copy(update={"bot": part.bridge.bot}),
                "bridge": self.bridge.model_copy(update=own),
                "enterprises": (),
            }
        )

    def resolved(self) -> Config:
        """Return a copy whose enterprises inherit the keys that they lack from the top level."""
        return self.model_copy(update={"enterprises": tuple(map(self._filled, self.enterprises))})

    def _filled(self, part: Enterprise) -> Enterprise:
        bridge = _over(self.bridge, part.bridge)
        bot = _over(self.appservice.bot, part.bridge.bot)
        rating = part.rating if "rating" in part.model_fields_set else self.rating
        return part.model_copy(
            update={
                "bridge": bridge.model_copy(update={"bot": bot}),
                "rating": rating,
                "texts": self.texts
                | {key: self.texts.get(key, {}) | own for key, own in part.texts.items()},
            }
        )


Given = TypeVar("Given", bound=Section)


def _over(above: Section, own: Given) -> Given:
    """Return `own` with unset keys taken from `above`, which may have fewer keys."""
    changed: dict[str, object] = {}
    inherited = type(above).model_fields
    for name in type(own).model_fields:
        value = getattr(own, name)
        default = getattr(above, name) if name in inherited else None
        if name not in own.model_fields_set:
            changed[name] = value if default is None else default
        elif isinstance(value, Section) and isinstance(default, type(value)):
            changed[name] = _over(default, value)
    return own.model_copy(update=changed)
