"""The process: signals, exit codes, and the reload at SIGHUP.

A stop takes 10 s at most and logs nobody out: sessions live on at the call centre, and what was not
finished is in the store.

SIGHUP: read the configuration again, say what changes, take what can be taken. A file that is wrong
changes nothing; what needs a restart is named and left. Rooms go by the new rules from their next
step on.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

import uvloop

from bridge.app.serving import LOG, HomeserverRefused, Serving
from bridge.app.settings import secrets_of
from bridge.config import Config, ConfigInvalid, ConfigUnreadable
from bridge.config.loading import check_rules
from bridge.config.reloading import compare, take_over
from bridge.ops.logging import configure_logging

EXIT_HOMESERVER = 16
LOOKUPS = 256
"""Threads where there are several call centres; else the event loop has four. libuv lets lookups of
names have half, and they outlast the sockets that wanted them: one whose name servers are silent
would keep all others, and the homeserver's, waiting."""
MOST_FILES = 65_536
"""Open files and sockets for which the soft limit is raised, as far as the hard one lets it."""


def run(config: Config, load: Load) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. `load`: for a SIGHUP.

    Raises StoreError (no database, or it is lost before we serve) and CannotListen.
    """
    configure_logging(config.logging.level, config.logging.format, secrets=secrets_of(config))
    raise_file_limit()
    if config.enterprises:  # libuv reads it at its first use
        os.environ.setdefault("UV_THREADPOOL_SIZE", str(LOOKUPS))
    return _with_a_long_stack(lambda: uvloop.run(_serve(config, load)))


def _with_a_long_stack(call: Callable[[], int]) -> int:
    return call()


# CPython keeps the frames of Python functions in chunks of 16 KiB, and gives a chunk back to the
# system as soon as it is empty. A call that begins a new chunk again and again, because the way of
# a message happens to be that deep, costs 20 to 50 µs each time, instead of 0.1 (measured on 3.11).
# A frame that claims 65 KiB gets a chunk of 128 KiB, and everything that it calls the rest of it.
_with_a_long_stack.__code__ = _with_a_long_stack.__code__.replace(co_stacksize=8_300)


async def _serve(config: Config, load: Load) -> int:
    serving, hangup = Serving(config), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)  # one that comes early is not lost
    try:
        async with serving:
            serving.keep(reload_whenever(hangup, config, load, serving.go_by))
            _collect_seldom()
            tell_systemd("READY=1")
            await serving.until_stopped()
    except HomeserverRefused as error:
        LOG.error(str(error))
        return EXIT_HOMESERVER
    LOG.info("stopped")
    return 0


def tell_systemd(state: str) -> None:
    """Tell how we are (sd_notify), if this is a unit of `Type=notify`.

    Who started us may have left us a socket that is not ours to reach: that is no reason to end.
    """
    if address := os.environ.get("NOTIFY_SOCKET"):
        if address.startswith("@"):  # it has no place in the file system
            address = f"\0{address[1:]}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.sendto(state.encode(), address)
        except OSError as error:
            LOG.warning("systemd was not told", why=str(error))


def raise_file_limit() -> None:
    """Use as many descriptors as we are allowed: each chat has a socket, and 1,024 are soon gone.

    The usual soft limit is meant for programs that call `select`, which we do not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS has a limit below the one that it names
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _collect_seldom() -> None:
    """Let the garbage collector look at what is new, less often, and never again at the program.

    Nearly all garbage of a message is freed by reference counts; what is left are a few cycles of
    tasks and tracebacks. With Python's default of 700 new objects the collector runs about once a
    message in batches, a tenth of its cost (measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


# --- reload --------------------------------------------------------------------------------------

Load = Callable[[], Config]  # raises what `load_config` does


async def reload_whenever(
    wanted: asyncio.Event, config: Config, load: Load, apply: Callable[[Config], None]
) -> None:
    """Reload whenever the event is set, for ever. Several wishes at a time are one."""
    while True:
        await wanted.wait()
        wanted.clear()
        config = await reloaded(config, load, apply)


async def reloaded(config: Config, load: Load, apply: Callable[[Config], None]) -> Config:
    """Read, compare, apply; returns the configuration in force then.

    Every outcome is logged, and none ends the bridge.
    """
    try:
        new = await asyncio.to_thread(load)
        taken = take_over(config, new)
        if problems := tuple(check_rules(taken)):
            raise ConfigInvalid(problems)  # noqa: TRY301 - wrong as a file can be
        changes = compare(config, new)
        for change, live in changes.items():
            if live:
                LOG.info("config changed", change=change)
            else:
                LOG.warning("config change needs a restart", change=change)
        apply(taken)
    except (ConfigUnreadable, ConfigInvalid) as error:
        for reason in error.problems if isinstance(error, ConfigInvalid) else [error]:
            LOG.error("the config is wrong", why=str(reason))
        LOG.error("the config was not reloaded: the bridge goes on by the old one")
    except Exception:  # noqa: BLE001 - it is logged
        LOG.exception("unexpected error: the bridge goes on by the old config")
    else:
        live_ones = sum(changes.values())
        LOG.info("config reloaded", changed=live_ones, need_restart=len(changes) - live_ones)
        return taken
    return config
