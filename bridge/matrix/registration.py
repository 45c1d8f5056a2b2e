"""The registration file: what the homeserver must know to let us in.

Three choices that were measured (reference matrix.md §2, §3.1, and our integration test):

- `sender_localpart` is a random name: Synapse answers /sync of the sender user with 500, and the
  bot reads its keys by /sync. The bot is among the namespaces instead.
- The namespaces of bot and queue users are not exclusive: Synapse leaves every user of an exclusive
  one out of its directory, and customers must find these. Once the bridge has made them nobody else
  can take their names; for those who were first see `ghosts`.
- Both keys that ask for ephemeral events are written, since one Synapse release broke the older.
"""

from __future__ import annotations

import io
import secrets
from pathlib import Path

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bridge.config.document import parsed
from bridge.config.environment import replace_secret
from bridge.matrix.users import OurUsers

NOT_LOADED = (
    "the homeserver does not count this user among ours: it has loaded another registration"
)
"""What the two refusals below mean."""
LOAD_IT = (
    "copy registration.yaml to the homeserver, name it in app_service_config_files, and restart"
    " the homeserver"
)


def not_loaded(refusal: str) -> bool:
    """True if this is how a homeserver refuses us a user outside our namespaces.

    `refusal` is its error code and, if known, its text. Synapse has a code of its own where a user
    is made; where we act as one, only the text tells it from a user who does not exist.
    """
    masquerade = refusal.startswith("M_FORBIDDEN") and "cannot masquerade" in refusal
    return refusal.startswith("M_EXCLUSIVE") or masquerade


class RegistrationError(Exception):
    """The registration file cannot be read or written; the message says why."""


class RegistrationMissing(RegistrationError):
    """There is no registration file."""


class Namespace(msgspec.Struct, frozen=True):
    regex: str
    exclusive: bool = True


class Namespaces(msgspec.Struct, frozen=True):
    users: tuple[Namespace, ...] = ()
    aliases: tuple[Namespace, ...] = ()
    rooms: tuple[Namespace, ...] = ()


class Registration(msgspec.Struct, frozen=True):
    """The file's content (Matrix application service API, "Registration"). Tokens are secrets."""

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
    """Compose a registration; tokens that are not given are drawn at random."""
    return Registration(
        id=appservice_id,
        url=url,
        as_token=as_token or secrets.token_hex(32),
        hs_token=hs_token or secrets.token_hex(32),
        sender_localpart=f"webchat-sender-{secrets.token_hex(8)}",
        namespaces=Namespaces(users=tuple(Namespace(*one) for one in users.namespaces)),
    )


def save_registration(registration: Registration, path: Path) -> None:
    """Write the file, readable by its owner only, whole or not at all. Raises RegistrationError."""
    out = io.StringIO()
    YAML(typ="safe", pure=True).dump(msgspec.to_builtins(registration), out)
    try:
        replace_secret(path, out.getvalue())
    except OSError as error:
        raise RegistrationError(f"cannot write {path}: {error.strerror}") from error


def load_registration(path: Path) -> Registration:
    """Read a registration file; keys that we do not know are left. Raises RegistrationError."""
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
        # The message names the key and the type that is wanted, never the value.
        raise RegistrationError(f"{path}: {error}") from error
