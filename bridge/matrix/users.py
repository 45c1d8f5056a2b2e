"""Bridge users (the bot, one user per queue, one ghost per agent), and the registration of them.

Each enterprise has its own templates, so that a user id tells its enterprise.

Agent ids are escaped as in the Matrix specification's appendix "Mapping from other character sets":
UTF-8; `_` becomes `__`; an upper-case letter `_` and its lower-case form; `=` and any other byte
not allowed in a localpart `=` and two hex digits. The mapping is collision-free, and as a single
`_` is never followed by a digit, no agent id becomes `queue_1`. The ghosts' namespace has the same
grammar, so that with the default templates it does not overlap with the queue users'.

The registration is a file that the homeserver loads: it assigns the users to the bridge. Three
choices follow measurements (reference matrix.md §2, §3.1, and the integration test):

- `sender_localpart` is random: Synapse answers /sync of the sender user with 500, and the bot needs
  /sync to receive keys. So the bot is in the namespaces instead.
- The namespaces of bots and queue users are not exclusive: Synapse hides users of an exclusive one
  from the user directory, where customers find them. Others can take only unused names (`ghosts`).
- Both keys that request ephemeral events are written, as one Synapse release broke the older.
"""

from __future__ import annotations

import hashlib
import io
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bridge.config.document import parsed, replace_secret
from bridge.ids import AgentId, QueueId, UserId, server_of

ESCAPED = r"(?:[a-z0-9.\-/]|=[0-9a-f]{2}|=h[0-9a-f]{40}|_[a-z_])*"
"""Pattern of an escaped agent id; also valid for RE2 and Rust's regex."""

_MAX_USER_ID = 255
"""Maximum bytes (Matrix specification, appendix "User identifiers")."""
_MAX_CACHED = 10_000
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-/")


def escape(text: str) -> str:
    out: list[str] = []
    for char in text:
        if char in _PLAIN:
            out.append(char)
        elif char == "_":
            out.append("__")
        elif "A" <= char <= "Z":
            out.append("_" + char.lower())
        else:
            # `surrogatepass` keeps ids with different lone surrogates distinct.
            out.extend(f"={byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
    return "".join(out)


class NameTaken(ValueError):
    """A template (whose key begins the message) is invalid or could produce a taken user id."""

    def __init__(self, message: str, enterprise: str = "") -> None:
        super().__init__(message)
        self.enterprise = enterprise


class Template:
    """User ids of one kind: a configured template with one field, such as `{agent}`.

    `values`: pattern of the field's values. Raises ValueError, whose message begins with the key.
    """

    def __init__(self, key: str, template: str, field: str, values: str, domain: str) -> None:
        before, found, behind = template.partition(field)
        if not found or set("{}") & set(before + behind):
            raise ValueError(f"{key} must contain {field} once, and no other field")
        if not before + behind:
            why = "without one it would claim every user"
            raise ValueError(f"{key} needs a prefix or suffix beside {field}: {why}")
        if not re.fullmatch(r"[a-z0-9._=/+-]*", before + behind):
            raise ValueError(f"{key} may contain only a-z, 0-9 and . _ = - / +")
        self.ends = f"@{before}", f"{behind}:{domain}"
        self.regex = f"^{values.join(map(re.escape, self.ends))}$"
        """The namespace in the registration."""
        self.matches = re.compile(self.regex).fullmatch

    def user(self, value: str) -> UserId:
        return UserId(value.join(self.ends))

    def overlaps(self, other: Template, between: Callable[[str], bool] = lambda _: True) -> bool:
        """Whether both can produce the same user id.

        `between`: whether the extra text of the longer prefix or suffix may be part of a value.
        """

        def meet(end: str, more: str) -> bool:
            return more.startswith(end) and (end == more or between(more[len(end) :]))

        before = sorted((self.ends[0], other.ends[0]), key=len)
        behind = sorted((self.ends[1][::-1], other.ends[1][::-1]), key=len)
        return meet(*before) and meet(*behind)


class OurUsers:
    """User ids of the bots, queue users and ghosts.

    `bot`, `ghost`, `queue_user` and `queue_of` are for one enterprise, tests of user ids for all
    (`several`). Raises NameTaken if a template lacks its field, has characters that no localpart
    may have, or could produce another bridge user's id.
    """

    def __init__(
        self,
        domain: str,
        bot_localpart: str,
        username_template: str,
        queue_ids: Iterable[QueueId] = (),
        queue_template: str = "webchat_queue_{queue}",
        *,
        enterprise: str = "",
    ) -> None:
        try:
            agents = Template("username_template", username_template, "{agent}", ESCAPED, domain)
            queues = Template(
                "queue_username_template", queue_template, "{queue}", "[0-9]+", domain
            )
        except ValueError as error:
            raise NameTaken(str(error), enterprise) from None
        self.enterprise = enterprise
        self.bot = UserId(f"@{bot_localpart}:{domain}")
        self.ghosts, self.queue_users = agents, queues
        self.queues = {self.queue_user(queue_id): queue_id for queue_id in queue_ids}
        self.know((self,), self.bot)

    @classmethod
    def several(cls, users: Sequence[OurUsers], bot_localpart: str) -> dict[str, OurUsers]:
        """Make several enterprises' users recognise each other; return them by enterprise.

        `bot_localpart`: the bot shared by all enterprises without a bot of their own.
        """
        home = server_of(users[0].bot)
        for ours in users:
            ours.know(users, UserId(f"@{bot_localpart}:{home}"))
        return {ours.enterprise: ours for ours in users}

    def know(self, every: Sequence[OurUsers], main: UserId) -> None:
        self.main = main
        """Bot that receives keys for all enterprises; with one enterprise, its bot."""
        self._every = every
        bots = dict.fromkeys((main, *(ours.bot for ours in every)))
        for place, ours in enumerate(every):
            for other in every:
                ours.check(other, bots)
            for other in every[:place]:
                ours.check_templates(other)
        self._bots = frozenset(bots)
        self.hosts = (*bots, *(name for ours in every for name in ours.queues))
        """All users that customers may invite, the main bot first."""
        # Both are called several times per event.
        self.is_ours: Callable[[str], bool] = lru_cache(_MAX_CACHED)(self._is_ours)
        """True for the bots, queue users (configured or not) and ghosts."""
        self.ghost: Callable[[AgentId], UserId] = lru_cache(_MAX_CACHED)(self._ghost_of)
        """Returns the ghost of an agent of this enterprise; its user id never changes."""

    def of(self, enterprise: str) -> OurUsers:
        """Return the users as that enterprise sees them; as this one does if it is not known."""
        return next((ours for ours in self._every if ours.enterprise == enterprise), self)

    def queue_user(self, queue_id: QueueId) -> UserId:
        return self.queue_users.user(str(queue_id))

    def check(self, other: OurUsers, bots: Iterable[UserId]) -> None:
        """Raise NameTaken if a ghost can match bots or the other's queue users, or a queue bots."""
        some = (other.queue_user(QueueId(number)) for number in (1, 10))
        for name in (*bots, *other.queues, *some):
            if self.ghosts.matches(name):
                raise self._taken("username_template", f"an agent the name {name}")
        for name in bots:
            if self.queue_users.matches(name):
                raise self._taken("queue_username_template", f"a queue the name {name}")

    def check_templates(self, other: OurUsers) -> None:
        """Raise NameTaken if ghosts, or queue users, of both enterprises could get the same id."""
        if self.ghosts.overlaps(other.ghosts):
            names = f"agents names that those of {other.enterprise} could have: use another prefix"
            raise self._taken("username_template", names)
        if self.queue_users.overlaps(other.queue_users, between=str.isdecimal):
            names = f"queues names that those of {other.enterprise} could have"
            raise self._taken("queue_username_template", names)

    def _taken(self, key: str, whom: str) -> NameTaken:
        return NameTaken(f"{key} would give {whom}", self.enterprise)

    @property
    def namespaces(self) -> tuple[tuple[str, bool], ...]:
        """Regular expressions of the registration's namespaces, and whether each is exclusive."""
        ghosts = [(ours.ghosts.regex, True) for ours in self._every]
        queues = [(ours.queue_users.regex, False) for ours in self._every]
        bots = [(f"^{re.escape(host)}$", False) for host in self.hosts if host in self._bots]
        return (*ghosts, *queues, *bots)

    def _is_ours(self, user_id: str) -> bool:
        ghost = any(ours.ghosts.matches(user_id) for ours in self._every)
        return ghost or self.is_open_to_all(user_id)

    def is_host(self, user_id: str) -> bool:
        """Whether customers may invite the user: the bots and users of configured queues."""
        return user_id in self.hosts

    def is_open_to_all(self, user_id: str) -> bool:
        """Whether anybody may register the user id: those of bots and queue users."""
        queue = any(ours.queue_users.matches(user_id) for ours in self._every)
        return queue or user_id in self._bots

    def queue_of(self, user_id: str) -> QueueId | None:
        return self.queues.get(UserId(user_id))

    def enterprises_of(self, user_id: str) -> tuple[str, ...]:
        """Return the enterprises that a bridge user serves, in order of configuration.

        The main bot serves all of them if none has it as its own bot.
        """
        found = tuple(
            ours.enterprise
            for ours in self._every
            if user_id == ours.bot
            or ours.queue_users.matches(user_id)
            or ours.ghosts.matches(user_id)
        )
        everybody = tuple(ours.enterprise for ours in self._every) if user_id == self.main else ()
        return found or everybody

    def _ghost_of(self, agent_id: AgentId) -> UserId:
        user = self.ghosts.user(escape(agent_id))
        if len(user) > _MAX_USER_ID:
            # "h" is not a hex digit, so no escaped id contains "=h".
            digest = hashlib.sha256(agent_id.encode("utf-8", "surrogatepass")).hexdigest()
            user = self.ghosts.user(f"=h{digest[:40]}")
        return user


# --- the registration file ------------------------------------------------------------------------

NOT_LOADED = (
    "the homeserver does not assign this user to the bridge: it has loaded another registration"
)
"""Explanation of the refusals recognised by `not_loaded`."""
LOAD_IT = (
    "copy registration.yaml to the homeserver, name it in app_service_config_files, and restart"
    " the homeserver"
)


def not_loaded(refusal: str) -> bool:
    """Whether a homeserver refused a user for being outside of the namespaces it has loaded.

    `refusal`: error code and, if known, message. Synapse has a code for it when registering a user;
    when acting as one, only the message distinguishes it from a user that does not exist.
    """
    masquerade = refusal.startswith("M_FORBIDDEN") and "cannot masquerade" in refusal
    return refusal.startswith("M_EXCLUSIVE") or masquerade


def not_registered(refusal: str) -> bool:
    """Whether Synapse refused a user of our namespaces because it does not exist."""
    return "has not registered" in refusal


SAMPLE = "CHANGE ME"
"""Part of the tokens in the sample, registration.yaml of the repository."""


class RegistrationError(Exception):
    """The registration file cannot be read or written; the message says why."""


class RegistrationMissing(RegistrationError):
    """The registration file does not exist."""


class Namespace(msgspec.Struct, frozen=True):
    regex: str
    exclusive: bool = True


class Namespaces(msgspec.Struct, frozen=True):
    users: tuple[Namespace, ...] = ()
    aliases: tuple[Namespace, ...] = ()
    rooms: tuple[Namespace, ...] = ()


class Registration(msgspec.Struct, frozen=True):
    """Content of the file (Matrix application service API, "Registration"), including secrets."""

    id: str
    url: str
    as_token: str
    hs_token: str
    sender_localpart: str
    namespaces: Namespaces
    rate_limited: bool = False
    receive_ephemeral: bool = True
    push_ephemeral: bool = msgspec.field(default=True, name="de.sorunome.msc2409.push_ephemeral")
    device_management: bool = msgspec.field(default=True, name="io.element.msc4190")

    def __repr__(self) -> str:  # without the tokens
        return f"Registration(id={self.id!r}, url={self.url!r})"


def make_registration(
    *, appservice_id: str, url: str, users: OurUsers, as_token: str = "", hs_token: str = ""
) -> Registration:
    """Create a registration, with random tokens unless they are given."""
    return Registration(
        id=appservice_id,
        url=url,
        as_token=as_token or secrets.token_hex(32),
        hs_token=hs_token or secrets.token_hex(32),
        sender_localpart=f"webchat-sender-{secrets.token_hex(8)}",
        namespaces=Namespaces(users=tuple(Namespace(*namespace) for namespace in users.namespaces)),
    )


def save_registration(registration: Registration, path: Path) -> None:
    """Write the file atomically, readable only by its owner. Raises RegistrationError."""
    out = io.StringIO()
    YAML(typ="safe", pure=True).dump(msgspec.to_builtins(registration), out)
    try:
        replace_secret(path, out.getvalue())
    except OSError as error:
        raise RegistrationError(f"cannot write {path}: {error.strerror}") from error


def load_registration(path: Path) -> Registration:
    """Read a registration file, ignoring unknown keys. Raises RegistrationError."""
    try:
        data = parsed(YAML(typ="safe", pure=True), path.read_text(encoding="utf-8"))
        return msgspec.convert(data, Registration)
    except FileNotFoundError as error:
        raise RegistrationMissing(f"cannot read {path}: {error.strerror}") from error
    except OSError as error:
        raise RegistrationError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, YAMLError) as error:
        raise RegistrationError(f"{path} is not YAML") from error
    except msgspec.ValidationError as error:
        # The message names the key and its expected type, never the value.
        raise RegistrationError(f"{path}: {error}") from error
