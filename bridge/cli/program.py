"""The command line program `matrix-webchat`; the database commands are in `database`.

The flags `-g` and `-e` before a command are those of other Matrix bridges.

`register` keeps existing tokens: those of the configuration, else those of an earlier registration
file. That file is written before the configuration, so a repeat after a crash finds the tokens.

Each start of the container does the next step that is missing: write config.yaml into the volume;
write the registration (once config.yaml names no example servers); run the bridge.
"""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import click
import msgspec
from ruamel.yaml import YAML

from bridge import __version__
from bridge.app.settings import registration_of, tokens_of
from bridge.cli import console, database
from bridge.cli.console import ExitCode, Files, errors_become_exits, stop
from bridge.cli.findings import Findings, check_slips, lacks_tokens
from bridge.config.document import (
    ConfigInvalid,
    ConfigUnreadable,
    KeyPath,
    Problem,
    fill_secrets,
    filled,
    render_path,
    replace_secret,
)
from bridge.config.known_keys import example_config, json_schema
from bridge.config.loading import API_SECRET, PICKLE_KEY, set_by
from bridge.config.model import Config
from bridge.matrix import users
from bridge.ops.logging import configure_logging
from bridge.simulator.options import SimulatorOptions
from bridge.texts import CATALOGUE

_FLAGS = {"help_option_names": ["-h", "--help"]}


@click.group(invoke_without_command=True, context_settings=_FLAGS)
@console.config_option
@console.registration_option
@console.no_update_option
@click.option("-g", "--generate-registration", is_flag=True, help="The same as `register`.")
@click.option("-e", "--generate-example-config", is_flag=True, help="The same as `example-config`.")
@click.version_option(__version__, "-v", "--version", message="matrix-webchat-bridge %(version)s")
@click.pass_context
def program(
    context: click.Context, *, generate_registration: bool, generate_example_config: bool
) -> None:
    """Bridge Matrix rooms to an EliteCRM WebChat call centre.

    Without a command: run the bridge.
    """
    context.with_resource(errors_become_exits())
    configure_logging("WARNING", "text", stream=sys.stderr)  # standard output is the command's
    if context.invoked_subcommand is None:
        aliased = register if generate_registration else run
        context.invoke(example if generate_example_config else aliased)


for command in (
    *(database.trace, database.migrate, database.crypto, database.dead_letters),
    *(database.replicas, database.console_link, database.order, database.changes, database.erase),
    *(database.migrate_db, database.backup, database.restore),
):
    program.add_command(command)


def lacks_secret(config: Config) -> bool:
    return config.provisioning.enabled and not config.provisioning.secret


UNFILLED = "provisioning.secret is empty: run `matrix-webchat register` to fill it"


@program.command()
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
    # Imported late: it takes half a second, and other commands do not need it. SIGTERM meanwhile
    # ends the process as in `bridge.__main__`, until it has a handler of its own.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    from bridge.app import process
    from bridge.ops.metrics import CannotListen

    try:
        sys.exit(process.run(config, files.load))
    except CannotListen as error:
        stop(ExitCode.FAILED, f"cannot listen: {error}")


@program.command()
@console.config_option
@console.registration_option
@console.json_option
@click.pass_obj
def check(files: Files, *, as_json: bool) -> None:
    """Check the configuration. Every error names its key and line."""
    result: dict[str, object] = {"valid": False, "problems": [], "warnings": []}
    try:
        config = files.load()
        check_slips(found := Findings(), files, config)
        warnings = [": ".join(filter(None, (finding.detail, finding.fix))) for finding in found.all]
        if lacks_tokens(config):
            warnings.insert(0, "no tokens yet: run `matrix-webchat register` to fill them")
        if lacks_secret(config):
            warnings.append(UNFILLED)
        result |= {"valid": True, "warnings": warnings}
    except (ConfigUnreadable, ConfigInvalid) as error:
        known = error.problems if isinstance(error, ConfigInvalid) else [Problem((), str(error))]
        result["problems"] = [
            {"key": render_path(mistake.path), "where": mistake.origin, "message": mistake.message}
            for mistake in known
        ]
        raise
    finally:
        if as_json:
            click.echo(json.dumps(result, indent=2))
    for line in () if as_json else ("valid", *warnings):
        click.echo(f"{files.config}: {line}")


@program.command()
@console.config_option
@console.registration_option
@console.no_update_option
@click.option("--rotate", is_flag=True, help="Replace existing tokens by new ones.")
@click.pass_obj
def register(files: Files, *, rotate: bool) -> None:
    """Write the registration file. Its tokens are filled into the configuration."""
    config = files.load()
    known = tokens_of(config)
    if rotate and (
        given := [source for name in known for source in set_by(("appservice", name), os.environ)]
    ):
        stop(
            ExitCode.CONFIG_INVALID,
            f"the environment variable {given[0]} sets the token: change it there",
        )
    if rotate and not files.update:
        raise click.UsageError("--rotate changes the configuration: it cannot be combined with -n")
    try:
        found = users.load_registration(files.registration)
        # The repository's own file, in a checkout of it, is only a sample.
        sample = users.SAMPLE in found.as_token
        earlier = None if sample else found
    except users.RegistrationMissing:
        sample, earlier = False, None
    except users.RegistrationError as error:
        if isinstance(error.__cause__, OSError):
            raise
        kept = "rename it, and run `register` again; tokens in the configuration are kept"
        raise users.RegistrationError(f"{error}: {kept}") from error
    # registration_of generates the empty ones.
    tokens = {name: "" if rotate else known[name] or getattr(earlier, name, "") for name in known}
    registration = registration_of(config, tokens)
    if earlier is not None:
        # The homeserver has created this user; a new name would orphan it.
        sender = earlier.sender_localpart
        registration = msgspec.structs.replace(registration, sender_localpart=sender)
    users.save_registration(registration, files.registration)
    values: dict[KeyPath, str] = {
        ("appservice", name): token
        for name in known
        if (token := getattr(registration, name)) != known[name]
    }
    if files.update and (values := values | _further_secrets(config, rotate=rotate)):
        fill_secrets(files.config, values)
    same = "is unchanged: a homeserver that has loaded it needs no restart"
    changed = registration != earlier
    click.echo(f"Wrote {files.registration}." if changed else f"{files.registration} {same}.")
    if sample:
        click.echo("It was the sample of a checkout: do not commit it, it contains tokens now.")
    if values and files.update:
        *first, last = (render_path(path if path == API_SECRET else path[-1:]) for path in values)
        names = f"{', '.join(first)} and {last}" if first else last
        click.echo(f"Filled {names} into {files.config}.")
    elif values:
        click.echo(
            f"{files.config} was not changed (-n): copy as_token and hs_token from"
            f" {files.registration} into its section appservice."
        )
    if changed:
        click.echo(
            f"Next: list {files.registration}, or a new copy of it, in the homeserver's"
            " app_service_config_files; restart the homeserver, and the bridge if it is running."
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


@program.command("example-config")
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
    click.echo(text.encode(), nl=False)  # UTF-8 whatever the terminal: it becomes config.yaml


@program.command()
@console.config_option
@console.registration_option
@console.json_option
@click.pass_obj
def doctor(paths: Files, *, as_json: bool) -> None:
    """Test database, homeserver and WebChat. Each failure comes with its fix."""
    # Imported late, as in `run`.
    from bridge.cli.doctor import doctor as examine

    sys.exit(examine(paths, as_json=as_json))


def parse_options(
    dialect: str, script: str, queues: Sequence[int], settings: Sequence[str]
) -> SimulatorOptions:
    """Return simulator options from the command line; the value of `--set` is text or JSON."""
    values: dict[str, object] = {"dialect": dialect, "script": script, "queues": list(queues)}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting}: must be name=value")
        try:
            values[name] = json.loads(value) if value[:1] in '[{"' else value
        except ValueError:
            values[name] = value
    try:
        return SimulatorOptions.read(values, strict=False)  # numbers are still strings
    except ValueError as error:
        raise click.UsageError(f"--set: {error}") from error


option = partial(click.option, show_default=True)


@program.command()
@option("--host", default="127.0.0.1", help="Address to listen on.")
@option(
    "--port",
    default=8980,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0: any free one.",
)
@option(
    "--dialect",
    type=click.Choice(["2016", "2019"]),
    default="2016",
    help="Revision of the WebChat guide to follow.",
)
@option(
    "--script",
    type=click.Choice(["hand", "accept", "echo", "refuse"]),
    default="hand",
    help="Agents: played by you at /desk, accept at once, also repeat every message, or refuse.",
)
@click.option(
    "--queue",
    "queues",
    type=int,
    multiple=True,
    help="Id of a queue that exists (repeatable); default: all.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any switch of docs/simulator.md, lists as JSON (repeatable).",
)
def simulate(  # noqa: PLR0917 - click's, by name
    host: str, port: int, dialect: str, script: str, queues: Sequence[int], settings: Sequence[str]
) -> None:
    """Run a simulated WebChat server with an agents' desk."""
    # Imported late, as in `run`.
    from bridge.simulator.simulator import serve

    options = parse_options(dialect, script, queues, settings)

    async def until_stopped() -> None:
        if (task := asyncio.current_task()) is not None:
            # Ctrl-C already cancels the task; let SIGTERM (make, containers) do so too.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with suppress(asyncio.CancelledError):
            await serve(options, host, port)

    try:
        asyncio.run(until_stopped())
    except KeyboardInterrupt:
        return


@program.command()
@click.option(
    "--check", is_flag=True, help="Play it in both dialects, then exit; fail if a step failed."
)
def demo(*, check: bool) -> None:
    """Play a conversation on a real Synapse and the simulator."""
    # Imported late: only the demo needs the extra `demo`.
    try:
        from bridge.demo.play import main
    except ModuleNotFoundError as error:
        if error.name != "nio":
            raise
        stop(
            ExitCode.FAILED,
            'The demo needs more packages: pip install "matrix-webchat-bridge[demo]"',
        )
    sys.exit(main(check=check))


# --- the container image -------------------------------------------------------------------------

EXAMPLE_DOMAIN = "example.org"
EXAMPLE_WEBCHAT = "crm.example.org"


@program.command(hidden=True)
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
    ours: dict[KeyPath, str] = {
        ("homeserver", "address"): "http://synapse:8008",
        ("appservice", "address"): "http://matrix-webchat:29340",
        ("appservice", "hostname"): "0.0.0.0",  # noqa: S104 - the container's own network
        ("database", "url"): f"sqlite:///{path.parent.resolve() / 'bridge.db'}",
        ("metrics", "hostname"): "0.0.0.0",  # noqa: S104 - as above; published on purpose only
        ("console", "hostname"): "0.0.0.0",  # noqa: S104 - as above
    }
    try:
        replace_secret(path, filled(example_config(), ours))
    except OSError as error:
        why = f"{path}: cannot be written: {error.strerror}."
        if error.errno != errno.ENOSPC:
            why += (
                " The folder must belong to the user that the container runs as (by default 1337)."
            )
        stop(ExitCode.CONFIG_UNREADABLE, why)
    click.echo(f"Wrote {path}. Edit it, then start the container again.")
