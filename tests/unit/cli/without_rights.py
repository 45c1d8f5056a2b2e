"""Every command, as a user who may not do what it needs.

`python -m tests.unit.cli.without_rights FOLDER` gives up root's rights if it has them, and prints
one JSON object a line: fault, command, code, traceback, output. FOLDER must be empty.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from click.testing import CliRunner

from bridge.cli.program import program

NOBODY = 65534
CONFIG = """\
homeserver: {{address: "http://127.0.0.1:9", domain: example.org}}
appservice: {{port: {port}, as_token: aaaaaaaaaaaa, hs_token: hhhhhhhhhhhh}}
webchat: {{base_url: "http://127.0.0.1:9/webchat"}}
queues: [{{id: 1, name: Sales}}]
default_queue: 1
metrics: {{port: {metrics}}}
bridge: {{permissions: {{"*": customer}}}}
database: {{url: "sqlite:///{database}"}}
"""
COMMANDS = {
    "run": ["run"],
    "register": ["register"],
    "check": ["check"],
    "doctor": ["doctor"],
    "migrate": ["migrate"],
    "trace": ["trace", "$event"],
    "list": ["dead-letters", "list"],
    "show": ["dead-letters", "show", "i1"],
    "retry": ["dead-letters", "retry", "i1"],
    "discard": ["dead-letters", "discard", "i1"],
    "reset": ["crypto", "reset", "--yes"],
}


WITHOUT_DATABASE = {"check", "register"}


def tell(fault: str, names: Iterable[str], *arguments: str) -> None:
    for name in names:
        result = CliRunner().invoke(program, [*COMMANDS[name], *arguments])
        ended = result.exception is None or isinstance(result.exception, SystemExit)
        line = {
            "fault": fault,
            "command": name,
            "code": result.exit_code,
            "traceback": "" if ended else repr(result.exception),
            "output": result.output,
        }
        sys.__stdout__.write(json.dumps(line) + "\n")  # type: ignore[union-attr]


def become_nobody(folder: Path) -> None:
    """Give up root's rights; import all modules before, as only root may be able to read them."""
    __import__("bridge.app.process")
    for name in COMMANDS.keys() - {"run"}:
        CliRunner().invoke(program, [*COMMANDS[name], "-c", str(folder / "sound" / "config.yaml")])
    os.chown(folder, NOBODY, NOBODY)
    for path in folder.rglob("*"):
        os.chown(path, NOBODY, NOBODY)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def main(folder: Path) -> None:
    os.chdir(folder)
    for name in ("sound", "shut", "locked"):
        (folder / name).mkdir()
    shut, locked = folder / "shut", folder / "locked"
    for where, database in (("sound", folder / "sound"), ("shut", shut), ("locked", locked)):
        text = CONFIG.format(port=29340, metrics=8000, database=database / "bridge.db")
        for name in ("config.yaml", f"../{where}.yaml"):
            (folder / where / name).write_text(text, encoding="utf-8")
    unread = folder / "unread.yaml"
    unread.write_text("id: x\n", encoding="utf-8")
    if os.getuid() == 0:
        become_nobody(folder)
    unread.chmod(0)
    shut.chmod(0)
    locked.chmod(0o500)
    tell("folder", COMMANDS, "-c", str(shut / "config.yaml"))
    tell("config", COMMANDS, "-c", str(unread))
    with_database = [name for name in COMMANDS if name not in WITHOUT_DATABASE]
    tell("database", with_database, "-c", str(folder / "shut.yaml"))
    tell("locked database", ["run", "doctor", "migrate"], "-c", str(folder / "locked.yaml"))
    sound = str(folder / "sound" / "config.yaml")
    tell("registration", ["register", "doctor"], "-c", sound, "-r", str(unread))
    tell("locked registration", ["register"], "-c", sound, "-r", str(locked / "registration.yaml"))
    shut.chmod(0o700)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
