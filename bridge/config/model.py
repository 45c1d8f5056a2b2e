"""config.yaml as frozen values: every key, its type, its default and what it is for.

The docstrings under the keys are the comments of config.example.yaml and the descriptions of the
JSON Schema. Rules that span several keys are in `loading`.

Of the permissions the most specific rule wins: user id, pattern over user ids, server, pattern over
servers, `*`, nobody; of two patterns the one with more literal characters. So a user, or all bots,
can be shut out of a server that is let in.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from bridge.config.fields import (
    EVER,
    ONE_OR_MANY,
    Age,
    Bytes,
    CommandPrefix,
    DatabaseUrl,
    Domain,
    GhostTemplate,
    HttpUrl,
    Localpart,
    Milliseconds,
    MxcUri,
    OptionalUrl,
    Port,
    QueueTemplate,
    Section,
    TimeZone,
    Token,
    matching,
    parse_rate,
    parsed_by,
    template,
)
from bridge.config.hours import OpeningHours
from bridge.conversation.policy import RobotUse
from bridge.webchat.codes import LoginType, Source, UploadMode

# --- permissions ---------------------------------------------------------------------------------


class Permission(StrEnum):
    """What a Matrix user may do."""

    NONE = "none"
    CUSTOMER = "customer"
    """Be served."""
    ADMIN = "admin"
    """Configure any room, whatever the power level in it."""
    IGNORED = "ignore"
    """Not be served, nor told so: for bots. Listed last, for the error that lists them."""


def is_pattern(rule: str) -> bool:
    return "*" in rule or "?" in rule


def rule_matches(rule: str, user_id: str) -> bool:
    """True if it covers the user: one that begins with `@` by user id, any other by server."""
    target = user_id if rule.startswith("@") else user_id.partition(":")[2]
    if not is_pattern(rule):
        return rule == target
    # Not fnmatch: its [] would swallow the brackets of IPv6 server names.
    regex = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in rule)
    return re.fullmatch(regex, target, re.DOTALL) is not None


def _weight(rule: str) -> tuple[bool, bool, int, bool]:
    letters = sum(char not in "*?" for char in rule)
    return (rule.startswith("@"), not is_pattern(rule), letters, rule != "*")


SERVED = frozenset({Permission.CUSTOMER, Permission.ADMIN})
_STRANGER = "\ue000"
"""A letter that no rule names: of Unicode's private use."""


def permission_of(rules: Mapping[str, Permission], user_id: str) -> Permission:
    """The permission of the most specific rule that covers the user, NONE if there is none."""
    covering = [rule for rule in rules if rule_matches(rule, user_id)]
    return rules[max(covering, key=_weight)] if covering else Permission.NONE


def serves_somebody_of(rules: Mapping[str, Permission], domain: str) -> bool:
    """True if the rules let somebody of this server be served.

    Tried on names made of the rules themselves: what a pattern leaves open is filled with letters
    that no rule names, so that only other patterns can cover the name as well.
    """
    parts = {rule[1:].partition(":")[0] for rule in rules if rule.startswith("@")}
    return any(
        permission_of(rules, f"@{name.replace('?', _STRANGER)}:{domain}") in SERVED
        for part in (*parts, "*")
        for name in {part.replace("*", _STRANGER * count) for count in (0, 1, 9)}
    )


# --- section webchat: one WebChat server (an enterprise on it) -----------------------------------

_KNOWN = frozenset({"room_key", "room_id", "displayname"})


_host = matching(
    r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?",
    "must be host, host:port or a network such as 10.0.0.0/8",
)


def _media_host(value: str) -> str:
    if "/" in value:
        with suppress(ValueError):
            ipaddress.ip_network(value)
            return value
    _ = urlsplit(f"//{_host(value)}").port  # raises for one that is too high
    return value


class Login(Section):
    """How rooms log in."""

    type: LoginType = LoginType.REGISTER
    """password (wire type 1) | register (3) | visitor (4)."""
    name: Annotated[str, template(known=_KNOWN, needed={"room_key", "room_id"})] = "mx-{room_key}"
    """Login name, with `register` the password too; {room_key} is each room's own, and secret."""
    display_name: Annotated[str, template(known=_KNOWN)] = "{displayname}"
    """What agents see; {displayname} is the customer's name in Matrix."""
    portrait: Annotated[str, template(known=_KNOWN - {"displayname"})] = ""
    """For type register: address of the picture that agents see; {room_key}, {room_id}."""
    ip: str = ""
    """Wire `ip`: the address that the server is to count visits by; Matrix tells nobody's."""
    password: SecretStr = SecretStr("")
    """For type password: of every account that `accounts` does not name."""
    own_accounts: bool = True
    """Customers may log in with an account of their own (commands `login` and `logout`)."""


class AccountEntry(Section):
    """An account that exists on the server."""

    name: Annotated[str, Field(min_length=1), template(known=_KNOWN)]
    """Its login name; the same placeholders as in login.name."""
    password: SecretStr = SecretStr("")
    """Its password."""


class Robot(Section):
    """The knowledge-base robot."""

    enabled: bool = False
    """The knowledge base may be asked."""
    public_key: SecretStr = SecretStr("")
    """Signs questions to the robot (guide part four)."""
    mode: Annotated[RobotUse, BeforeValidator(lambda value: "off" if value is False else value)] = (
        RobotUse.OFF
    )
    """off | command (`ask`) | first (before a person) | when_no_agent (if no agent is there)."""
    km_base_url: Annotated[str, Field(pattern=r"^(https?://.+)?$")] = ""
    """Where its articles can be read; empty: answers carry no links."""


class Rate(Section):
    """So many in so long."""

    count: Annotated[int, Field(ge=1)] = 8
    """How many."""
    per_seconds: Annotated[float, Field(gt=0)] = 60
    """In how many seconds."""


_Dialect = Literal["auto", "2016-11", "2016", "2019", "dual"]


class WebChat(Section):
    """The call centre's server."""

    base_url: Annotated[HttpUrl, Field(examples=["https://crm.example.org/webchat"])]
    """The WebChat application; /tpi, /tpiu, /robotSearch and /cws lie below it."""
    ca_file: str = ""
    """Certificates (PEM) to trust beside the system's, for an authority of the server's own."""
    verify_ssl: bool = True
    """false: check no certificate of its; whoever is on the way can then read and change all."""
    enterprise_id: str = ""
    """Wire `epid`; empty if the server has one enterprise."""
    # YAML reads an unquoted 2016 as a number.
    dialect: Annotated[_Dialect, parsed_by(str, int)] = "auto"
    """auto (finds out) | 2016-11 (if desks show braces) | 2016 | 2019 | dual (the keys of both)."""
    source: Annotated[Source, Field(alias="from")] = Source.APP
    """PC | MOBILE | WECHAT | APP: the picture of the customer at the agent's desk."""
    brand: str = ""
    """A second source for the desk, which servers of 2019 know; empty: none."""
    tracks: str = ""
    """JSON text about where a customer comes from, as the server's project defines it."""
    login: Login = Login()
    accounts: dict[str, AccountEntry] = {}
    """For type password: room id, user id or pattern -> {name, password}; most specific wins."""
    sign_key: SecretStr = SecretStr("")
    """Key of the `sign` header of logins, when the server wants one."""
    robot: Robot = Robot()
    upload_mode: UploadMode = UploadMode.AUTO
    """raw (the 2016 guide) | multipart | auto (try raw, remember what the server takes)."""
    max_frame_bytes: Annotated[int, Field(ge=1024, le=1_048_576)] = 8000
    """Longest frame we write; longer texts are split. Tomcat's default limit is 8192."""
    map: Literal["baidu", "gaode"] = "baidu"
    """baidu (BD-09) | gaode (AMap, GCJ-02): whose coordinates agents' desks show."""
    emoji_mode: Literal["unicode", "qq"] = "unicode"
    """unicode | qq: faces go as WeChat codes like `/::)`, for desks that draw nothing else."""
    escape_outgoing: bool = False
    """Escape customers' texts as HTML, for desks that show `1 < 2` cut off; else as typed."""
    jsonlib_guard: bool = False
    """Put an invisible space before texts like `[1]`, for servers that put quotes around them."""
    long_voices: bool = True
    """Long voices go as AMR by their address, to servers of 2019; false: as files, as recorded."""
    videos: bool = False
    """Send films as messages of type 6, which no guide promises to show; false: as files."""
    login_rate: Annotated[Rate, parsed_by(parse_rate)] = Rate()
    """Logins of all rooms together; the server blacklists an address above 10 in 60 s."""
    show_comments: bool = False
    """Tell customers the call centre's notes on its agents (wire `comments`) as they join."""
    allowed_media_hosts: tuple[Annotated[str, AfterValidator(_media_host)], ...] = ()
    """Hosts, host:port or networks beside base_url's own from which agents' files are fetched."""


# --- the other sections --------------------------------------------------------------------------

Language = Literal["zh-CN", "zh-TW", "en", "ja"]


class Homeserver(Section):
    """The Matrix homeserver."""

    address: Annotated[HttpUrl, Field(examples=["http://localhost:8008"])]
    """Where the bridge reaches the homeserver."""
    domain: Annotated[Domain, Field(examples=["example.org"])]
    """Its server name: the part of user ids after the colon."""
    verify_ssl: bool = True
    """Check the certificate of an https address."""
    status_endpoint: OptionalUrl = ""
    """Where to report the bridge's state, as mautrix bridges do, with the as_token; or empty."""


class Bot(Section):
    """The bridge's own user."""

    username: Localpart = "webchatbot"
    """Customers invite @<username>:<domain>."""
    displayname: str = "WebChat"
    """Its name in rooms."""
    avatar: MxcUri = ""
    """An mxc:// URI; empty: the bridge's own picture."""


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
    as_token: Token = SecretStr("")
    """Filled by `matrix-webchat register`."""
    hs_token: Token = SecretStr("")
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
    """Shown to customers; also the name of its Matrix user, @webchat_queue_<id>."""
    avatar: MxcUri = ""
    """An mxc:// URI; empty: the bridge's own picture, in a colour of the queue's own."""
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
    """Per room; commands and gestures count too."""
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
    """Of those words: zh-CN | zh-TW | en | ja; room: as chosen for each."""
    reactions: bool = True
    """Emoji that customers put to messages."""
    withdrawals: bool = True
    """Messages that customers took back after they were sent."""
    members: bool = False
    """Customers who come into a shared room or leave it during a chat."""


Permissions = Annotated[
    dict[str, Permission],
    Field(min_length=1, examples=[{"example.org": "customer", "@admin:example.org": "admin"}]),
]


class Served(Section):
    """What each of several call centres may say for its own rooms."""

    username_template: GhostTemplate = "webchat_{agent}"
    """Matrix users of agents."""
    queue_username_template: QueueTemplate = "webchat_queue_{queue}"
    """Matrix users of queues; another for each bridge on a homeserver."""
    displayname_template: Annotated[str, template(known={"name", "id"}, needed={"name"})] = "{name}"
    """Their names; {name} and {id} are the agent's."""
    command_prefix: CommandPrefix = "!wc"
    """Begins a command in any room."""
    permissions: Permissions = {}
    """User id, server, pattern or "*" -> none | customer | admin | ignore; most specific wins."""
    language: Language = "zh-CN"
    """zh-CN | zh-TW | en | ja; a room that chose none follows its customer's first words."""
    timezone: TimeZone = ""
    """Of customers, such as Asia/Shanghai, for times told in rooms; empty: UTC."""
    start: Literal["on_message", "on_command"] = "on_message"
    """Ask for an agent at the first message, or only at the command `start`."""
    callback: Callback = Callback()
    tell_agents: TellAgents = TellAgents()
    limits: Limits = Limits()


class Bridge(Served):
    """How rooms are served."""

    encryption: Encryption = Encryption()
    message_status_events: bool = False
    """Send com.beeper.message_send_status, once what became of a customer's message is known."""
    replica: str = ""
    """Name of this process among several (docs/scaling.md); empty: its host and process id."""


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
    """How long what the bridge remembers is kept (docs/privacy.md); dead letters, until you act."""

    bodies: Annotated[Milliseconds, Field(ge=0)] = 86_400_000
    """Contents of messages, once they are settled."""
    rows: Annotated[Milliseconds, Field(ge=0)] = 604_800_000
    """The lines themselves, without content; `trace` reads them."""
    chats: Age = EVER
    """Chats that have ended, as `history` lists them; ever | 365d."""
    accounts: Age = EVER
    """Logins at the call centre, of rooms without a chat, since they were made; ever | 365d."""
    ghosts: Age = EVER
    """Names and pictures of agents, since they were last needed; ever | 365d."""
    audit: Age = EVER
    """Who changed what, and when; ever | 365d."""


class Metrics(Section):
    """Prometheus metrics, on a port of their own."""

    enabled: bool = True
    """Serve /metrics."""
    hostname: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8000
    """Port to listen on."""


class RequestRate(Rate):
    """So many requests in so long."""

    count: Annotated[int, Field(ge=1)] = 300
    """How many of one address; of all together four times as many."""


class Provisioning(Section):
    """The provisioning API, for programs of yours (docs/api.md)."""

    enabled: bool = False
    """Serve /_matrix/provision/v1 on the port of section appservice."""
    secret: SecretStr = SecretStr("")
    """Who has it may do all; 32 characters or more. Filled by `matrix-webchat register`."""
    rate: Annotated[RequestRate, parsed_by(parse_rate)] = RequestRate()


class Tracing(Section):
    """OpenTelemetry traces, with the extra: pip install "matrix-webchat-bridge[tracing]"."""

    enabled: bool = False
    """Send a trace for every message, once it is settled."""
    endpoint: OptionalUrl = ""
    """The collector's OTLP over HTTP; empty: OTEL_EXPORTER_OTLP_ENDPOINT, or localhost:4318."""


class Console(Section):
    """Console for operators (/admin) and page for room admins, on a port of their own."""

    enabled: bool = False
    """Serve them; `matrix-webchat console-link` prints a link to sign in."""
    hostname: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 29341
    """Port to listen on."""
    public_url: OptionalUrl = ""
    """Where browsers reach that port (a proxy with TLS); empty: only here, and no room page."""


class Logging(Section):
    """Logs, on the standard output."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """DEBUG | INFO | WARNING | ERROR."""
    format: Literal["text", "json"] = "text"
    """text | json."""


Queues = Annotated[tuple[Queue, ...], Field(min_length=1)]
Overrides = dict[str, dict[str, str]]


class EnterpriseBridge(Served):
    """How its rooms are served: what is not said here is as in the section `bridge` above."""

    username_template: Annotated[GhostTemplate, Field(examples=["acme_{agent}"])] = (
        "webchat_{agent}"
    )
    """Matrix users of its agents; no other enterprise's may begin so, or end so."""
    queue_username_template: Annotated[QueueTemplate, Field(examples=["acme_queue_{queue}"])] = (
        "webchat_queue_{queue}"
    )
    """Matrix users of its queues."""
    bot: Annotated[Bot, Field(examples=[{"username": "acmebot", "displayname": "Acme"}])] = Bot()
    """A bot of its own; without it, the one of `appservice`, which several can share."""


class Enterprise(Section):
    """One of several call centres (docs/operators.md, Several call centres in one process)."""

    id: Annotated[
        str,
        AfterValidator(
            matching(r"[a-z0-9][a-z0-9._-]{0,31}", "must be a short word of a-z 0-9 . _ -")
        ),
        Field(examples=["acme"]),
    ]
    """Its name in logs, metrics and commands; it stays, for rooms keep it."""
    webchat: Annotated[
        WebChat, Field(examples=[{"base_url": "https://crm.example.com/webchat", "sign_key": ""}])
    ]
    """Its server, with the keys of `webchat` above."""
    queues: Annotated[Queues, Field(examples=[[{"id": 1, "name": "Sales"}]])]
    """Its queues, with the keys of `queues` above; their ids may be those of others' queues."""
    default_queue: Annotated[int, Field(examples=[1])]
    """The queue of a room for which nobody has chosen one."""
    bridge: EnterpriseBridge = EnterpriseBridge()
    rating: RatingSection = RatingSection()
    texts: Overrides = {}
    """Replaced sentences, beside and before those of `texts` above."""


SHORT_FORM = ("webchat", "queues", "default_queue")
"""The keys of a single call centre, in whose place `enterprises` stands."""


class Config(Section):
    """The whole of config.yaml.

    Which of the keys without a default must be given depends on the form: `loading` says so.
    """

    homeserver: Homeserver
    appservice: AppService = AppService()
    database: Database = Database()
    webchat: Annotated[tuple[WebChat, ...], Field(min_length=1), ONE_OR_MANY] = ()
    """The call centre's server."""
    queues: Queues = ()
    """The queues that customers can be sent to."""
    default_queue: Annotated[int, Field(examples=[1])] = 0
    """The queue of a room for which nobody has chosen one."""
    bridge: Bridge = Bridge()
    rating: RatingSection = RatingSection()
    texts: Overrides = {}
    """Replaced sentences: key -> {zh-CN: ..., en: ...}. All of them: `example-config --texts`."""
    enterprises: tuple[Enterprise, ...] = ()
    """Several call centres: one entry each, in place of webchat, queues and default_queue."""
    retention: Retention = Retention()
    metrics: Metrics = Metrics()
    provisioning: Provisioning = Provisioning()
    console: Console = Console()
    tracing: Tracing = Tracing()
    logging: Logging = Logging()

    @property
    def server(self) -> WebChat:
        """The WebChat server of the short form."""
        return self.webchat[0]

    def parts(self) -> dict[str, Config]:
        """The configuration of each call centre in the short form, by its id ("": the only one)."""
        return {one.id: self._part(one) for one in self.enterprises} or {"": self}

    def _part(self, one: Enterprise) -> Config:
        own = {name: getattr(one.bridge, name) for name in Served.model_fields}
        return self.model_copy(
            update={
                "appservice": self.appservice.model_copy(update={"bot": one.bridge.bot}),
                "webchat": (one.webchat,),
                "queues": one.queues,
                "default_queue": one.default_queue,
                "bridge": self.bridge.model_copy(update=own),
                "rating": one.rating,
                "texts": one.texts,
                "enterprises": (),
            }
        )

    def resolved(self) -> Config:
        """The same with each enterprise's entry filled from the sections above it."""
        return self.model_copy(update={"enterprises": tuple(map(self._filled, self.enterprises))})

    def _filled(self, one: Enterprise) -> Enterprise:
        bridge = _over(self.bridge, one.bridge)
        bot = _over(self.appservice.bot, one.bridge.bot)
        rating = one.rating if "rating" in one.model_fields_set else self.rating
        return one.model_copy(
            update={
                "bridge": bridge.model_copy(update={"bot": bot}),
                "rating": rating,
                "texts": self.texts
                | {key: self.texts.get(key, {}) | own for key, own in one.texts.items()},
            }
        )


Given = TypeVar("Given", bound=Section)


def _over(above: Section, own: Given) -> Given:
    """A section with what it does not say from the one above it, which may have fewer keys."""
    changed: dict[str, object] = {}
    for name in type(own).model_fields:
        default, value = getattr(above, name, None), getattr(own, name)
        if name not in own.model_fields_set:
            changed[name] = value if default is None else default
        elif isinstance(value, Section) and isinstance(default, type(value)):
            changed[name] = _over(default, value)
    return own.model_copy(update=changed)
