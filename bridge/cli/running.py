"""`run`, `check`, `register`, `example-config`, and the start of the container image.

`register` keeps existing tokens: those of the configuration, else those of an earlier registration
file. That file is written before the configuration, so a repeat after a crash finds the tokens.

Each start of the container does the next step that is missing: write config.yaml into the volume;
write the registration (once config.yaml names no example servers); run the bridge.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import msgspec
from ruamel.yaml import YAML

from bridge.cli import console
from bridge.cli.console import ExitCode, Files, stop
from bridge.cli.findings import Finding, Verdict
from bridge.config import Config, KeyPath, Problem, example_config, json_schema
from bridge.config.document import (
    ConfigInvalid,
    ConfigUnreadable,
    fill_secrets,
    filled,
    render_path,
)
from bridge.config.known_keys import API_SECRET, PICKLE_KEY, set_by
from bridge.matrix.registration import (
    RegistrationError,
    RegistrationMissing,
    load_registration,
    save_registration,
)
from bridge.texts import CATALOGUE
from bridge.webchat.codes import LoginType


def lacks_tokens(config: Config) -> bool:
    return not (config.appservice.as_token and config.appservice.hs_token)


def lacks_secret(config: Config) -> bool:
    return config.provisioning.enabled and not config.provisioning.secret


UNFILLED = "provisioning.secret is empty: run `matrix-webchat register` to fill it"


@click.command()
@console.config_option
@console.no_update_option
@click.pass_obj
def run(files: Files) -> None:
    """Run the bridge (the default)."""
    config = files.load()
    if lacks_tokens(config):
        stop(
            ExitCode.HOMESERVER,
            f"{files.config}: appservice.as_token and hs_token are empty; run:"
            f" matrix-webchat register -c {files.config} -r {files.registration}",
        )
    if lacks_secret(config):
        stop(ExitCode.CONFIG_INVALID, f"{files.config}: {UNFILLED}")
    # Imported late: other commands do not need it and start faster without.
    from bridge.app import process
    from bridge.ops.metrics import CannotListen

    try:
        sys.exit(process.run(config, files.load))
    except CannotListen as error:
        stop(ExitCode.FAILED, f"cannot listen: {error}")


@click.command()
@console.config_option
@console.registration_option
@console.json_option
@click.pass_obj
def check(files: Files, *, as_json: bool) -> None:
    """Check the configuration; every error names its key and line."""
    told: dict[str, object] = {"valid": False, "problems": [], "warnings": []}
    try:
        config = files.load()
        warnings = [": ".join(filter(None, (s.detail, s.fix))) for s in slips(files, config)]
        if lacks_tokens(config):
            warnings.insert(0, "no tokens yet: run `matrix-webchat register` to fill them")
        if lacks_secret(config):
            warnings.append(UNFILLED)
        told |= {"valid": True, "warnings": warnings}
    except (ConfigUnreadable, ConfigInvalid) as error:
        known = error.problems if isinstance(error, ConfigInvalid) else [Problem((), str(error))]
        told["problems"] = [
            {"key": render_path(one.path), "where": one.origin, "message": one.message}
            for one in known
        ]
        raise
    finally:
        if as_json:
            click.echo(json.dumps(told, indent=2))
    for line in () if as_json else ("valid", *warnings):
        click.echo(f"{files.config}: {line}")


def slips(files: Files, config: Config) -> Iterator[Finding]:
    """Yield findings on valid settings that are probably mistakes."""
    for enterprise, part in config.parts().items():
        for slip in _slips(part):
            what = f"{enterprise}: {slip.what}" if enterprise else slip.what
            yield replace(slip, what=what)
    if bare := console.exposed(files, config):
        detail = f"any user of this machine can read {bare}"
        yield Finding(Verdict.FAIL, "secrets", detail, f"`chmod o= {bare}`")


def _slips(config: Config) -> Iterator[Finding]:
    """Yield findings on one enterprise, in the short form."""
    # Imported late, as in `run`.
    from bridge.link.login import shared
    from bridge.link.settings import unverified

    server = config.webchat
    login = server.login
    if login.type is LoginType.PASSWORD and not (login.password or server.accounts):
        detail = "webchat.login.type is password, but no password is set"
        fix = "set webchat.login.password, or list accounts in webchat.accounts"
        yield Finding(Verdict.FAIL, "WebChat login", detail, fix)
    for pattern in shared(server.accounts, config.bridge.limits.rooms_per_user):
        yield Finding(
            Verdict.FAIL,
            "WebChat accounts",
            f'webchat.accounts."{pattern}": several rooms could use this account at the same time,'
            " but the server allows one chat per account",
            "put {room_key} into its name, list rooms (!…) instead of people or patterns, or set"
            " bridge.limits.rooms_per_user to 1",
        )
    if warning := unverified(server):
        yield Finding(Verdict.SKIP, "WebChat certificate", warning)


@click.command()
@console.config_option
@console.registration_option
@console.no_update_option
@click.option("--rotate", is_flag=True, help="Replace existing tokens by new ones.")
@click.pass_obj
def register(files: Files, *, rotate: bool) -> None:
    """Write the registration file and fill its tokens into the configuration."""
    # Imported late, as in `console`.
    from bridge.app.settings import registration_of, tokens_of

    config = files.load()
    known = tokens_of(config)
    if rotate and (
        given := [one for name in known for one in set_by(("appservice", name), os.environ)]
    ):
        stop(
            ExitCode.CONFIG_INVALID,
            f"the environment variable {given[0]} sets the token: change it there",
        )
    if rotate and not files.update:
        stop(
            ExitCode.CONFIG_INVALID,
            "--rotate changes the configuration file: it cannot be combined with -n",
        )
    try:
        earlier = load_registration(files.registration)
    except RegistrationMissing:
        earlier = None
    except RegistrationError as error:
        if isinstance(error.__cause__, OSError):
            raise
        kept = "rename it, and run `register` again; tokens in the configuration are kept"
        raise RegistrationError(f"{error}: {kept}") from error
    # registration_of generates the empty ones.
    tokens = {name: "" if rotate else known[name] or getattr(earlier, name, "") for name in known}
    registration = registration_of(config, tokens)
    if earlier is not None:
        # The homeserver has created this user; a new name would orphan it.
        sender = earlier.sender_localpart
        registration = msgspec.structs.replace(registration, sender_localpart=sender)
    save_registration(registration, files.registration)
    values: dict[KeyPath, str] = {
        ("appservice", name): token
        for name in known
        if (token := getattr(registration, name)) != known[name]
    }
    if files.update and (values := values | _further_secrets(config, rotate=rotate)):
        fill_secrets(files.config, values)
    click.echo(f"Wrote {files.registration}.")
    if values and files.update:
        *first, last = (render_path(path if path == API_SECRET else path[-1:]) for path in values)
        names = f"{', '.join(first)} and {last}" if first else last
        click.echo(f"Filled {names} into {files.config}.")
    elif values:
        click.echo(
            f"{files.config} was not changed (-n): copy as_token and hs_token from"
            f" {files.registration} into its section appservice."
        )
    click.echo(
        f"Next: list {files.registration} in the homeserver's app_service_config_files and"
        " restart the homeserver, and the bridge if it is running."
    )


def _further_secrets(config: Config, *, rotate: bool) -> dict[KeyPath, str]:
    """Return the pickle_key and the API secret to fill into the configuration, if any.

    Without a pickle_key the as_token seals the database: on rotation the old as_token becomes the
    pickle_key, so that sealed data stays readable.
    """
    found: dict[KeyPath, str] = {}
    as_token = config.appservice.as_token.get_secret_value()
    sealed = config.bridge.encryption.pickle_key or set_by(PICKLE_KEY, os.environ)
    if not sealed and (rotate or not as_token):
        found[PICKLE_KEY] = as_token or secrets.token_hex(32)
    if lacks_secret(config) and not set_by(API_SECRET, os.environ):
        found[API_SECRET] = secrets.token_hex(32)
    return found


@click.command("example-config")
@click.option("--schema", is_flag=True, help="Print the JSON Schema instead.")
@click.option("--texts", is_flag=True, help="Print the section `texts` with every sentence.")
def example(*, schema: bool, texts: bool) -> None:
    """Print an example configuration with comments."""
    if texts:
        yaml, out = YAML(pure=True), io.StringIO()
        yaml.width = 4096
        yaml.dump({"texts": {key: dict(sentence) for key, sentence in CATALOGUE.items()}}, out)
        text = out.getvalue()
    else:
        text = json_schema() if schema else example_config()
    click.echo(text, nl=False)


# --- the container image -------------------------------------------------------------------------

EXAMPLE_DOMAIN = "example.org"
EXAMPLE_WEBCHAT = "crm.example.org"


@click.command(hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("/data"))
@click.pass_context
def container(context: click.Context, folder: Path) -> None:
    """The command of the container image: write config, then registration, then serve."""
    files = context.obj = Files(folder / console.CONFIG, folder / console.REGISTRATION)
    try:
        config = files.load()
    except ConfigUnreadable as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        _write_config(files.config)
        return
    if not lacks_tokens(config):
        # Tokens may come from the environment, with the registration kept elsewhere.
        context.invoke(run)
    elif config.homeserver.domain == EXAMPLE_DOMAIN or any(
        EXAMPLE_WEBCHAT in part.webchat.base_url for part in config.parts().values()
    ):
        stop(
            ExitCode.CONFIG_INVALID,
            f"{files.config} still has the servers of the example: set homeserver.domain,"
            " webchat.base_url and bridge.permissions, then start the container again.",
        )
    else:
        context.invoke(register)
        click.echo("Then start the container again.")


def _write_config(path: Path) -> None:
    """Write the example configuration, adapted to a container."""
    ours: dict[KeyPath, str] = {
        ("homeserver", "address"): "http://synapse:8008",
        ("appservice", "address"): "http://matrix-webchat:29340",
        ("appservice", "hostname"): "0.0.0.0",  # noqa: S104 - the container's own network
        ("database", "url"): f"sqlite:///{path.parent.resolve() / 'bridge.db'}",
        ("metrics", "hostname"): "0.0.0.0",  # noqa: S104 - as above; published on purpose only
        ("console", "hostname"): "0.0.0.0",  # noqa: S104 - as above
    }
    try:
        path.touch(mode=0o600)
        path.write_text(filled(example_config(), ours), encoding="utf-8")
    except OSError as error:
        stop(
            ExitCode.CONFIG_UNREADABLE,
            f"{path}: cannot be written: {error.strerror}. The folder must belong to"
            " the user that the container runs as (by default 1337).",
        )
    click.echo(f"Wrote {path}. Edit it, then start the container again.")
