"""The process: signals, exit codes, and the config reload at SIGHUP.

A stop takes 10 s at most (18 s if PostgreSQL hangs) and logs no customer out: sessions live on at
the call centre, and unfinished work is in the store.

SIGHUP reads the configuration again, logs each change, and applies those that need no restart. An
invalid file changes nothing. Rooms follow the new rules from their next step on.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvloop

from bridge.app.serving import LOG, HomeserverRefused, Serving
from bridge.app.settings import secrets_of
from bridge.config.document import ConfigInvalid, ConfigUnreadable
from bridge.config.loading import RULES, compare, take_over
from bridge.config.model import Config
from bridge.ops.logging import configure_logging

EXIT_HOMESERVER = 16
LOOKUPS = 64
"""libuv thread pool size (the default is 4). DNS lookups get half of the threads and outlast what
wanted them; a call centre whose name servers are silent takes up three at most. With few threads it
would block the lookups of all others, of the homeserver and of the database."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of `mallopt` (malloc.h): free bytes at the end of the heap, and size of a block, from
which on they are returned."""
MOST_FILES, LEAST_FILES = 65_536, 64
"""Open file limit to which the soft limit is raised, if the hard limit allows it; and with how few
the bridge does not start."""


def run(config: Config, load: Load) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code; `load` rereads the config at SIGHUP.

    Raises StoreError (no database, or lost during the start) and CannotListen.
    """
    configure_logging(config.logging.level, config.logging.format, secrets=secrets_of(config))
    raise_file_limit()
    return_memory()
    os.environ.setdefault("UV_THREADPOOL_SIZE", str(LOOKUPS))  # libuv reads it at its first use
    return _with_a_long_stack(lambda: uvloop.run(_serve(config, load)))


def _with_a_long_stack(call: Callable[[], int]) -> int:
    return call()


# CPython allocates Python frames in chunks of 16 KiB and frees a chunk as soon as it is empty. If a
# message's call stack happens to cross a chunk's end, each such call costs 20 to 50 µs instead of
# 0.1 (measured on 3.11). A frame that claims 65 KiB gets a chunk of 128 KiB, which its callees
# share.
_with_a_long_stack.__code__ = _with_a_long_stack.__code__.replace(co_stacksize=8_300)


async def _serve(config: Config, load: Load) -> int:
    serving, hangup = Serving(config), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(unless_abandoned_lookup)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)  # set here so that an early one is not lost
    try:
        async with serving:
            serving.keep(reload_whenever(hangup, serving, load))
            _tune_gc()
            tell_systemd("READY=1")
            await serving.until_stopped()
    except HomeserverRefused as error:
        LOG.error(str(error))
        return EXIT_HOMESERVER
    LOG.info("stopped")
    return 0


def unless_abandoned_lookup(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that nobody awaits, except that of a DNS lookup which outlasts its connection.

    uvloop forgets the lookup of a connection that has timed out. The timeout itself was reported.
    """
    if not isinstance(context.get("exception"), socket.gaierror):
        loop.default_exception_handler(context)


def tell_systemd(state: str) -> None:
    """Notify systemd of a state (sd_notify), if this is a unit of `Type=notify`.

    An unreachable socket, inherited from another process, is only logged.
    """
    if address := os.environ.get("NOTIFY_SOCKET"):
        if address.startswith("@"):  # abstract socket
            address = f"\0{address[1:]}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.sendto(state.encode(), address)
        except OSError as error:
            LOG.warning("systemd was not notified", why=str(error))


def raise_file_limit() -> None:
    """Raise the soft limit of open files: each chat has a socket, and 1,024 are soon used up.

    The usual soft limit exists for programs that call `select`, which the bridge does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS's real limit is below the reported one
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if hard != resource.RLIM_INFINITY and hard < LEAST_FILES:
        raise OSError(errno.EMFILE, f"only {hard} open files are allowed: increase `ulimit -n`")


def return_memory() -> None:
    """Have glibc return freed blocks of 1 MiB and more to the system, such as frames with pictures.

    It would keep up to 64 MiB of them for each thread. Other C libraries have no such parameters.
    """
    with suppress(AttributeError, OSError):
        for parameter, size in (_MMAP_THRESHOLD, 1 << 20), (_TRIM_THRESHOLD, 8 << 20):
            ctypes.CDLL(None).mallopt(parameter, size)


def _tune_gc() -> None:
    """Make the garbage collector run less often, and exclude objects that exist now (`gc.freeze`).

    Reference counting frees nearly all garbage of a message; only a few cycles of tasks and
    tracebacks remain. A message in transit has 90 objects: with a threshold of 10,000 (Python's is
    700), each hundred agents' messages start a collection of 3 ms, a tenth of their cost, which
    finds nothing (measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


# --- reload --------------------------------------------------------------------------------------

Load = Callable[[], Config]  # raises the exceptions of `load_config`


async def reload_whenever(wanted: asyncio.Event, serving: Serving, load: Load) -> None:
    """Reload whenever the event is set, until cancelled; signals that coincide cause one reload."""
    while True:
        await wanted.wait()
        wanted.clear()
        await reload(serving, load)


async def reload(serving: Serving, load: Load) -> None:
    """Reload: read, compare, apply. Every outcome is logged, and none ends the bridge."""
    try:
        new = await asyncio.to_thread(load)
        taken = take_over(serving.config, new)
        if problems := tuple(problem for rule in RULES for problem in rule(taken)):
            raise ConfigInvalid(problems)  # noqa: TRY301 - handled like an invalid file
        changes = compare(serving.config, new)
        for change, live in changes.items():
            if live:
                LOG.info("config changed", change=change)
            else:
                LOG.warning("config change needs a restart", change=change)
        serving.apply_config(taken)
    except (ConfigUnreadable, ConfigInvalid) as error:
        for reason in error.problems if isinstance(error, ConfigInvalid) else [error]:
            LOG.error("the config is wrong", why=str(reason))
        LOG.error("the config was not reloaded: the bridge keeps the old one")
    except Exception:  # noqa: BLE001 - it is logged
        LOG.exception("unexpected error: the bridge keeps the old config")
    else:
        live_ones = sum(changes.values())
        LOG.info("config reloaded", changed=live_ones, need_restart=len(changes) - live_ones)
