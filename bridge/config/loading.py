"""Load a `Config` from file and environment, or report every problem with its line; live reload.

Each value is validated first, then the rules that span keys, as far as they do not need an invalid
value. A setting without effect is an error, because its operator would rely on it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from copy import deepcopy
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bridge.config.document import (
    ConfigInvalid,
    Document,
    KeyPath,
    Problem,
    insert,
    parsed,
    read_document,
    render_path,
)
from bridge.config.fields import Context, Reload, Section, Written
from bridge.config.known_keys import Key, Shape, advice, known_paths
from bridge.config.model import (
    SERVED,
    SHORT_FORM,
    Config,
    Permission,
    is_pattern,
    serves_somebody_of,
)
from bridge.webchat.codes import LoginType, RobotUse

Check = Callable[[Config], Iterable[Problem]]
"""Further check of a valid configuration; yields problems with paths, to which lines are added."""

_SENTENCES = {
    "missing": "must be given",
    "string_type": "must be text: put the value in quotes",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("model_type", "dict_type"), "must be a mapping of keys to values"),
    "tuple_type": "must be a list",
    "string_pattern_mismatch": "must be a URL such as https://host/path",
    **dict.fromkeys(("too_short", "string_too_short"), "must not be empty"),
}


def load_config(path: Path, environment: Mapping[str, str], checks: Sequence[Check] = ()) -> Config:
    """Read config.yaml, apply the environment, and validate the result.

    `checks` come from outer rings (override keys of texts, …). Raises ConfigUnreadable (no such
    file, not a YAML mapping) or ConfigInvalid.
    """
    document = read_document(path)
    origins = overlay(document.data, environment)
    config, problems = _validated(document.data, path.absolute().parent)
    # A rule that needs an invalid value raises one of these (`FAULTY`).
    unusable = suppress(TypeError, AttributeError) if problems else nullcontext()
    reported = {problem.path for problem in problems}
    with unusable:
        config = config.resolved()
        for check in (*RULES, *checks):
            with unusable:
                problems.extend(found for found in check(config) if found.path not in reported)
    if problems:
        raise ConfigInvalid(_placed(problems, document, origins))
    return config


def _validated(data: dict[str, object], folder: Path) -> tuple[Config, list[Problem]]:
    """Return the configuration, with `FAULTY` in place of what is invalid, and what that is."""
    problems = list(_form(data))
    try:
        config = Config.model_validate(data, context=Context(folder))
        if not problems:
            return config, problems
    except ValidationError as error:
        problems = [*_problems(error.errors(include_url=False)), *problems]
    data = deepcopy(data)
    for fault in problems:
        insert(data, fault.path, None)  # so that a missing key is `FAULTY` too
    faulty = Context(folder, faulty=True)
    return Config.model_validate(data, context=faulty, extra="ignore"), problems


def _form(data: Mapping[str, object]) -> Iterator[Problem]:
    """Check the form: either one call centre at the top level, or `enterprises`."""
    bridge, server = data.get("bridge"), data.get("webchat")
    if isinstance(server, list) and len(server) > 1:
        yield Problem(
            ("webchat", 1),
            "only one server is possible here: give each call centre an entry of `enterprises`"
            " instead (docs/operators.md, Several call centres in one process)",
        )
    if data.get("enterprises"):
        beside = "cannot be used together with enterprises: move it into each of their entries"
        yield from (Problem((key,), beside) for key in SHORT_FORM if key in data)
        return
    yield from (Problem((key,), "must be given") for key in SHORT_FORM if key not in data)
    if "bridge" not in data:
        yield Problem(("bridge",), "must be given")
    elif isinstance(bridge, Mapping) and "permissions" not in bridge:
        yield Problem(("bridge", "permissions"), "must be given")


def within(config: Config, enterprise: str, path: KeyPath) -> KeyPath:
    """Return the path in the file of a key of one call centre (`Config.parts`)."""
    ids = [enterprise.id for enterprise in config.enterprises]
    if not ids:
        return path
    return ("enterprises", ids.index(enterprise), *path)


def _placed(
    problems: Iterable[Problem], document: Document, origins: Mapping[KeyPath, str]
) -> list[Problem]:
    """Add line or variable to the problems; sort them by line, the environment's last."""
    listed = isinstance(document.data.get("webchat"), list)
    placed = []
    for problem in problems:
        path = problem.path
        above = (path[:length] for length in range(len(path), 0, -1))
        variable = next((origins[prefix] for prefix in above if prefix in origins), "")
        if listed and path[:1] == ("webchat",) and isinstance((*path, 0)[1], str):
            path = ("webchat", 0, *path[1:])
        line = 0 if variable else document.line_of(path)
        origin = f"environment {variable}" if variable else document.name
        placed.append(
            Problem(path, problem.message, f"{origin} line {line}" if line else origin, line)
        )
    return sorted(placed, key=lambda problem: (problem.line == 0, problem.line))


def _problems(errors: Sequence[ErrorDetails]) -> list[Problem]:
    found = [(tuple(part for part in one["loc"] if part != "[key]"), one) for one in errors]
    return [
        Problem(path, _sentence(details, path))
        for path, details in found
        # pydantic also calls a list empty whose entries are all invalid: drop that error.
        if not any(len(other) > len(path) and other[: len(path)] == path for other, _ in found)
    ]


def _sentence(details: ErrorDetails, path: KeyPath) -> str:
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    if kind == "extra_forbidden":
        return advice(path)
    if value is None and kind != "missing":
        return "is empty: give it a value, or remove the key"
    if kind == "value_error":
        return str(context["error"])
    if kind in {"enum", "literal_error"}:
        return f"must be {context['expected']}"
    message = details["msg"].removeprefix("Input should be ").removeprefix("Value ")
    return _SENTENCES.get(kind, f"must be {message}" if message != details["msg"] else message)


# --- environment variables -----------------------------------------------------------------------
# `MATRIX_WEBCHAT_` + a key's path in capitals, joined by `__`, overrides config.yaml. With the
# suffix `_FILE` it names a file that holds the value (Docker and systemd secrets). List positions
# are numbers; a whole list or mapping is YAML or JSON. An unknown variable is an error; an empty
# one counts as unset, because compose files pass unset variables on as empty.

PICKLE_KEY = ("bridge", "encryption", "pickle_key")
API_SECRET = ("provisioning", "secret")
PREFIX = "MATRIX_WEBCHAT_"
_FILE = "_FILE"
_POSITION = r"(?<=__)\d+(?=__)"
MIGRATE_TO = f"{PREFIX}MIGRATE_TO"
"""Target database URL of `migrate-db`, not a configuration key; `_FILE` works too."""
# Kubernetes sets the SERVICE and PORT variables in every pod beside a Service matrix-webchat.
_NO_KEYS = re.compile(
    r"MIGRATE_TO(_FILE)?|SERVICE_(HOST|PORT)(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?"
)


def variable_of(path: KeyPath) -> str:
    return PREFIX + "__".join(str(part) for part in path).upper()


def overlay(data: dict[str, object], environment: Mapping[str, str]) -> dict[KeyPath, str]:
    """Apply the environment to a file's data; return path -> the variable that set it.

    Raises ConfigInvalid for an unknown variable, or a value that cannot be read or placed.
    """
    keys = {variable_of(path): (path, key) for path, key in known_paths(entry=(0,)).items()}
    origins: dict[KeyPath, str] = {}
    problems: list[Problem] = []
    # A whole list comes before its entries, and entry 2 before entry 10.
    in_order = partial(re.sub, r"\d+", lambda number: number[0].zfill(9))
    for variable in sorted(environment, key=in_order):
        rest = variable.removeprefix(PREFIX)
        if not variable.startswith(PREFIX) or _NO_KEYS.fullmatch(rest):
            continue
        path: KeyPath = ()
        found, wrong = _find(variable, keys), ""
        from_file = found is None and variable.endswith(_FILE)
        if from_file:
            found = _find(variable.removesuffix(_FILE), keys)
        if found is None:
            near = difflib.get_close_matches(rest, [key.removeprefix(PREFIX) for key in keys], n=1)
            wrong = "is not the variable of any key"
            if near:
                wrong += f"; the nearest is {PREFIX}{near[0]}"
        elif environment[variable]:
            path, key = found
            if path in origins:
                wrong = f"is also set by {origins[path]}; unset one of them"
            else:
                origins[path] = variable
                wrong = _set(data, path, key, environment[variable], from_file=from_file)
        if wrong:
            problems.append(Problem(path, wrong, variable))
    if problems:
        raise ConfigInvalid(problems)
    return origins


def _set(data: dict[str, object], path: KeyPath, key: Key, value: str, *, from_file: bool) -> str:
    """Set a key to a variable's value; return an error message, or "" on success."""
    given: object = value
    try:
        if from_file:
            given = Path(value).read_text(encoding="utf-8").strip()
        if key.shape is not Shape.VALUE:
            given = parsed(YAML(typ="safe", pure=True), str(given))
    except OSError as error:
        return f"cannot read {value}: {error.strerror}"
    except UnicodeDecodeError:
        return f"cannot read {value}: is not UTF-8 text"
    except YAMLError:
        return "must be YAML or JSON"
    if insert(data, path, given):
        return ""
    return "cannot be set: a key above it is no section, or an earlier list position is missing"


def _find(variable: str, keys: Mapping[str, tuple[KeyPath, Key]]) -> tuple[KeyPath, Key] | None:
    """Return the path and key of a variable, from those with list positions 0; None if unknown."""
    name = variable.upper().replace(f"{PREFIX}WEBCHAT__0__", f"{PREFIX}WEBCHAT__")
    if (known := keys.get(re.sub(_POSITION, "0", name))) is None:
        return None
    positions = map(int, re.findall(_POSITION, name))
    return tuple(next(positions) if part == 0 else part for part in known[0]), known[1]


def set_by(path: KeyPath, environment: Mapping[str, str]) -> list[str]:
    """Return the environment variables that set a key; such a secret is not written to the file."""
    variable = variable_of(path)
    return [name for name in (variable, variable + _FILE) if environment.get(name)]


# --- rules that span keys ------------------------------------------------------------------------


def _in_parts(rule: Check) -> Check:
    """Make a rule of each call centre, which sees the short form, one of the whole file."""

    def check(config: Config) -> Iterator[Problem]:
        for enterprise, part in config.parts().items():
            for problem in rule(part):
                yield Problem(within(config, enterprise, problem.path), problem.message)

    return check


def _addresses(config: Config) -> Iterator[Problem]:
    if "/_matrix" in config.homeserver.address:
        yield Problem(
            ("homeserver", "address"), "must end before /_matrix, which the bridge appends"
        )


def _tokens(config: Config) -> Iterator[Problem]:
    appservice = config.appservice
    if appservice.as_token and appservice.as_token == appservice.hs_token:
        yield Problem(("appservice", "hs_token"), "must differ from as_token")


def _tracing(config: Config) -> Iterator[Problem]:
    if config.tracing.enabled:
        with suppress(ModuleNotFoundError):
            if find_spec("opentelemetry.exporter.otlp.proto.http") is not None:
                return
        extra = 'pip install "matrix-webchat-bridge[tracing]"'
        yield Problem(("tracing", "enabled"), f"needs packages that are not installed: {extra}")


def _encryption(config: Config) -> Iterator[Problem]:
    encryption = config.bridge.encryption
    for name in ("default", "require"):
        if getattr(encryption, name) and not encryption.allow:
            yield Problem(("bridge", "encryption", name), "needs bridge.encryption.allow: true")


def _retention(config: Config) -> Iterator[Problem]:
    if config.retention.rows < config.retention.bodies:
        yield Problem(("retention", "rows"), "must not be shorter than retention.bodies")


def _ports(config: Config) -> Iterator[Problem]:
    owners = {config.appservice.port: "appservice"}
    for name, section in (("metrics", config.metrics), ("console", config.console)):
        if section.enabled and (owner := owners.setdefault(section.port, name)) != name:
            yield Problem((name, "port"), f"must differ from {owner}.port")


def _ratings(config: Config) -> Iterator[Problem]:
    ratings = [option.id for option in config.rating.options]
    for index, rating in enumerate(ratings):
        if rating in ratings[:index]:
            yield Problem(("rating", "options", index, "id"), "must be unique")


def _callback(config: Config) -> Iterator[Problem]:
    callback = config.bridge.callback
    if callback.retry_last < callback.retry_first:
        yield Problem(("bridge", "callback", "retry_last"), "must not be shorter than retry_first")


def _enterprises(config: Config) -> Iterator[Problem]:
    """Check for duplicate ids, and for own bots that have the shared bot's username."""
    ids = [part.id for part in config.enterprises]
    for index, part in enumerate(config.enterprises):
        if part.id in ids[:index]:
            yield Problem(("enterprises", index, "id"), "must be unique")
        shared = config.appservice.bot
        if part.bridge.bot != shared and part.bridge.bot.username == shared.username:
            yield Problem(
                ("enterprises", index, "bridge", "bot", "username"),
                "must differ from appservice.bot.username, the bot of all enterprises that do not"
                " have their own",
            )


LEAST_SECRET = 32
"""Minimum characters of `provisioning.secret`, against guessing."""


def _provisioning(config: Config) -> Iterator[Problem]:
    here, secret = ("provisioning", "secret"), config.provisioning.secret
    if secret and len(secret) < LEAST_SECRET:
        yield Problem(here, f"must have {LEAST_SECRET} characters or more: `openssl rand -hex 32`")
    if secret and secret in {config.appservice.as_token, config.appservice.hs_token}:
        yield Problem(here, "must differ from the tokens of section appservice")


def _permissions(config: Config) -> Iterator[Problem]:
    """Check for rules that match no id, or serve nobody, or nobody of homeserver.domain.

    The last is usually a mistake; a rule `none` or `ignore` for the domain itself permits it.
    """
    here = ("bridge", "permissions")
    rules, domain = config.bridge.permissions, config.homeserver.domain
    for who in rules:
        if who.startswith("@") and ":" not in who and not is_pattern(who):
            yield Problem(
                (*here, who), "is not a user id: the server is missing, as in @name:example.org"
            )
        elif not who.startswith("@") and not re.fullmatch(r"[^:]*(:[\d*?]+)?|\[.*\].*", who):
            yield Problem(
                (*here, who), f"is not a server name; a user id begins with @, as in @{who}"
            )
    if not SERVED.intersection(rules.values()):
        yield Problem(here, "lets nobody use the bridge")
    elif rules.get(domain, Permission.CUSTOMER) in SERVED and not serves_somebody_of(rules, domain):
        yield Problem(
            here,
            f"serves no user of homeserver.domain ({domain}): add a rule such as"
            f' "{domain}": customer, or, to serve only users of other servers, "{domain}": none',
        )


def _server(config: Config) -> Iterator[Problem]:
    if path := re.search(r"/(tpiu?|cws|robotSearch)$", config.webchat.base_url):
        yield Problem(
            ("webchat", "base_url"), f"must end before {path[0]}, which the bridge appends"
        )


def _robot_and_accounts(config: Config) -> Iterator[Problem]:
    server = config.webchat
    if server.robot.enabled != (server.robot.mode != RobotUse.OFF):
        yield Problem(
            ("webchat", "robot", "mode"),
            "must be command, first or when_no_agent if robot.enabled is true, else off",
        )
    if server.accounts and server.login.type != LoginType.PASSWORD:
        yield Problem(("webchat", "accounts"), "needs webchat.login.type: password")


def _queues(config: Config) -> Iterator[Problem]:
    numbers: dict[int, int] = {}
    for index, queue in enumerate(config.queues):
        if (owner := numbers.setdefault(queue.id, index)) != index:
            yield Problem(("queues", index, "id"), f"is also the id of queues[{owner}]")
    if config.default_queue not in numbers:
        known = ", ".join(str(number) for number in numbers)
        yield Problem(("default_queue",), f"must be the id of a queue ({known})")


def _queue_names(config: Config) -> Iterator[Problem]:
    words: dict[str, int] = {}
    for index, queue in enumerate(config.queues):
        here: KeyPath = ("queues", index)
        for word in (queue.name, *queue.aliases):
            if (owner := words.setdefault(word.casefold(), index)) != index:
                yield Problem(here, f'the name or alias "{word}" is also that of queues[{owner}]')
            if word.isdecimal() and int(word) != queue.id:
                yield Problem(
                    here, f'the name or alias "{word}" would be read as a queue id; choose another'
                )


_PART_RULES: tuple[Check, ...] = (
    *(_server, _robot_and_accounts, _queues, _queue_names, _ratings, _permissions, _callback),
)
RULES: tuple[Check, ...] = (
    *map(_in_parts, _PART_RULES),
    *(_enterprises, _addresses, _tokens, _provisioning, _tracing, _encryption, _retention, _ports),
)
"""The rules, each apart: one that needs an invalid value does not hold up the others."""


# --- live reload ---------------------------------------------------------------------------------
# Keys that affect the service of rooms can change. Addresses, tokens, names of users and the
# database cannot: others know them, or running parts were built with them. A key that the model
# does not mark with `Live` or `AlwaysLive` needs a restart, so a new key is safe by default.

LONGEST_SHOWN = 80
_OF_PARTS = frozenset({"enterprises", *SHORT_FORM})
T = TypeVar("T", bound=Section)


def compare(old: Config, new: Config) -> dict[str, bool]:
    """Return each changed key as `path: old -> new` (secrets hidden), and whether it is live."""
    before, after, taken = (dict(leaves(config)) for config in (old, new, take_over(old, new)))
    lists = dict(_other_entries(old, new))
    hidden = {(name,) for name in _OF_PARTS} if ("enterprises",) in lists else set(lists)
    changes = {f"{render_path(path)}: {ids}": False for path, ids in lists.items()}
    for path in dict.fromkeys((*before, *after)):
        was, becomes = before.get(path), after.get(path)
        if (was, becomes) in (((), None), (None, ())):
            continue  # a list that was or is empty: its entries have lines of their own
        if was != becomes and hidden.isdisjoint((path[:1], path[:3])):
            line = f"{render_path(path)}: {_shown(was)} -> {_shown(becomes)}"
            changes[line] = taken.get(path) == becomes
    return changes


def _ids(config: Config) -> tuple[str, ...]:
    return tuple(part.id for part in config.enterprises)


def _other_entries(old: Config, new: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield each list with added or removed entries: lines by place would compare two of them."""
    if _ids(old) != _ids(new):
        yield ("enterprises",), f"{_shown(_ids(old))} -> {_shown(_ids(new))}"
        return
    paths: list[KeyPath] = [("queues",)]
    paths += [("enterprises", number, "queues") for number in range(len(old.enterprises))]
    both = zip((old, *old.enterprises), (new, *new.enterprises), strict=True)
    for path, (was, becomes) in zip(paths, both, strict=True):
        if (former := _queue_ids(was)) != (present := _queue_ids(becomes)):
            yield path, f"{_shown(sorted(former))} -> {_shown(sorted(present))}"


def take_over(old: Config, new: Config) -> Config:
    """Return the running configuration with the live keys of the new one.

    If call centres were added, removed or reordered, only `AlwaysLive` keys are live. Queues are
    not if one was added or removed, because each has a Matrix user.
    """
    if _ids(old) != _ids(new):
        return _taken(old, new, {Reload.ALWAYS})
    live = set(Reload)
    parts = (_taken(*both, live) for both in zip(old.enterprises, new.enterprises, strict=True))
    return _taken(old, new, live).model_copy(update={"enterprises": tuple(parts)})


def _taken(old: T, new: T, live: set[Reload]) -> T:
    """Return `old` with the keys of `new` that are marked so in the model."""
    changed: dict[str, object] = {}
    for name, info in type(old).model_fields.items():
        was, becomes = getattr(old, name), getattr(new, name)
        if any(mark in info.metadata for mark in live):
            changed[name] = becomes
        elif isinstance(was, Section):
            changed[name] = _taken(was, becomes, live)
    if "queues" in changed and _queue_ids(old) != _queue_ids(new):
        del changed["queues"], changed["default_queue"]
    return old.model_copy(update=changed)


def _queue_ids(section: Any) -> set[int]:
    return {queue.id for queue in section.queues}


def leaves(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Yield every leaf value with its path in config.yaml, quantities as they are written there."""
    parts: dict[Any, object]
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        parts = {fields[name].alias or name: _written(inner, fields[name]) for name, inner in value}
    elif isinstance(value, Mapping):
        parts = dict(value)
    elif isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        parts = dict(enumerate(value))
    else:
        yield path, value
        return
    for name, inner in parts.items():
        yield from leaves(inner, (*path, name))


def _written(value: Any, field: FieldInfo) -> object:
    write = next((note for note in field.metadata if isinstance(note, Written)), None)
    return value if write is None else write(value)


def _shown(value: object) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, SecretStr):
        return "(secret)"
    if isinstance(value, Sequence) and not isinstance(value, str):
        text = "[" + ", ".join(str(item) for item in value) + "]"
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value) or '""'
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
