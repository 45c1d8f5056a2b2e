"""The application service's registration file, which the homeserver loads.

Three choices follow measurements (reference matrix.md §2, §3.1, and the integration test):

- `sender_localpart` is random: Synapse answers /sync of the sender user with 500, and the bot needs
  /sync to receive keys. So the bot is in the namespaces instead.
- The namespaces of bots and queue users are not exclusive: Synapse hides users of an exclusive one
  from the user directory, where customers find them. Others can take only unused names (`ghosts`).
- Both keys that request ephemeral events are written, as one Synapse release broke the older.
"""

from __future__ import annotations

import io
import secrets
from pathlib import Path

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bridge.config.document import parsed, replace_secret
from bridge.matrix.users import OurUsers

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
        namespaces=Namespaces(users=tuple(Namespace(*one) for one in users.namespaces)),
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
