"""The process: signals, exit codes, the order of starting and stopping, and the reload at SIGHUP.

Start: open the store; go on with unfinished work; open the port; make our users exist; ask the
homeserver to call us (which also makes it deliver its backlog). The homeserver may be away at any
of these moments: the bridge waits for it, and says so in /ready.

Stop: take nothing in, let what is under way end (10 s at most), close the links without logging
out (sessions live on at the call centre), close the store. What was not finished is in the store.

SIGHUP: read the configuration again, say what changes, take what can be taken. A file that is wrong
changes nothing; what needs a restart is named and left as it is. Rooms go by the new rules from
their next step on.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog
import uvloop

from bridge.app.serving import HomeserverRefused, Serving
from bridge.app.settings import secrets_of
from bridge.config import Config, ConfigInvalid, ConfigUnreadable
from bridge.config.loading import check_rules
from bridge.config.reloading import compare, take_over
from bridge.ops.logging import configure_logging

EXIT_OK = 0
EXIT_HOMESERVER = 16


def run(config: Config, load: Load) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. `load`: for a SIGHUP.

    Raises:
        StoreError: the database cannot be opened, or is lost before we serve.
        CannotListen: a port cannot be had.
    """
    _log_by(config)
    return _with_a_long_stack(lambda: uvloop.run(_serve(config, load)))


def _with_a_long_stack(call: Callable[[], int]) -> int:
    return call()


# CPython keeps the frames of Python functions in chunks of 16 KiB, and gives a chunk back to the
# system as soon as it is empty. A call that begins a new chunk again and again, because the way of
# a message happens to be that deep, costs 20 to 50 µs each time, instead of 0.1 (measured on 3.11).
# A frame that claims 65 KiB gets a chunk of 128 KiB, and everything that it calls the rest of it.
_with_a_long_stack.__code__ = _with_a_long_stack.__code__.replace(co_stacksize=8_300)


async def _serve(config: Config, load: Load) -> int:
    log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.app")
    stop, hangup = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)  # one that comes early is not lost
    try:
        async with Serving(config) as serving:
            serving.keep(Reloader(config, load, partial(_go_by, serving)).run(hangup))
            _collect_seldom()
            await serving.until(stop)
    except HomeserverRefused as error:
        log.error(str(error))
        return EXIT_HOMESERVER
    log.info("stopped")
    return EXIT_OK


def _collect_seldom() -> None:
    """Let the garbage collector look at what is new, less often, and never again at the program.

    Nearly all garbage of a message is freed by reference counts; what is left are a few cycles of
    tasks and tracebacks. With Python's default of 700 new objects the collector runs about once a
    message in batches, a tenth of its cost (measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def _go_by(serving: Serving, config: Config) -> None:
    _log_by(config)
    serving.go_by(config)


def _log_by(config: Config) -> None:
    configure_logging(config.logging.level, config.logging.format, secrets=secrets_of(config))


# --- reload --------------------------------------------------------------------------------------

Load = Callable[[], Config]
"""Reads the configuration and checks it; raises what `load_config` does."""


@dataclass
class Reloader:
    """The configuration in force; `apply` puts another into force, which `load` has read."""

    _config: Config
    _load: Load
    _apply: Callable[[Config], None]

    async def run(self, wanted: asyncio.Event) -> None:
        """Reload whenever the event is set, for ever. Several wishes at a time are one."""
        while True:
            await wanted.wait()
            wanted.clear()
            await self.reload()

    async def reload(self) -> None:
        """Read, compare, apply; every outcome is logged, and none ends the bridge."""
        log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.app")
        try:
            new = await asyncio.to_thread(self._load)
            taken = take_over(self._config, new)
            if problems := tuple(check_rules(taken)):
                raise ConfigInvalid(problems)  # noqa: TRY301 - wrong as a file can be
            changes = compare(self._config, new)
            for change, live in changes.items():
                if live:
                    log.info("config changed", change=change)
                else:
                    log.warning("config change needs a restart", change=change)
            self._apply(taken)
        except (ConfigUnreadable, ConfigInvalid) as error:
            for reason in error.problems if isinstance(error, ConfigInvalid) else [error]:
                log.error("the config is wrong", why=str(reason))
            log.error("the config was not reloaded: the bridge goes on by the old one")
        except Exception:
            log.exception("unexpected error: the bridge goes on by the old config")
        else:
            self._config = taken
            taken_over = sum(changes.values())
            log.info("config reloaded", changed=taken_over, need_restart=len(changes) - taken_over)
