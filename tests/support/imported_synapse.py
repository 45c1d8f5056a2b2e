"""Synapse's modules, imported before the fork (see `forked`), and its start after it.

It goes without some things that no test looks at, and that take much of its CPU time: its
statistics; debug messages, which are not logged, and the random names made up for them; the search
for delayed events, of which there are none; and the check of its own JSON schemas at each use.
"""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import logging
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext

from prometheus_client.metrics import Histogram, MetricWrapperBase
from synapse.app.complement_fork_proxied_reactor import ProxiedReactor
from synapse.app.complement_fork_starter import _worker_entrypoint
from twisted.internet.main import installReactor

_reactor = ProxiedReactor()
# Before anything imports the reactor.
installReactor(_reactor)  # type: ignore[no-untyped-call]  # Twisted's
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _homeserver = importlib.import_module("synapse.app.homeserver")
    _clock, _context, _delayed_events, _jsonschema, _validator = map(
        importlib.import_module,
        (
            "synapse.util.clock",
            "synapse.logging.context",
            "synapse.handlers.delayed_events",
            "jsonschema",
            "synapse.events.validator",
        ),
    )


def _nothing(*_: object, **__: object) -> None: ...


class _Uncounted:
    """A metric with labels that counts nothing."""

    def inc(self, *_: object) -> None: ...

    dec = observe = set = set_function = inc

    def time(self) -> AbstractContextManager[None]:
        return nullcontext()

    track_inprogress = time


_UNCOUNTED = _Uncounted()
setattr(MetricWrapperBase, "labels", lambda *_, **__: _UNCOUNTED)  # noqa: B010 - another type
setattr(Histogram, "observe", _nothing)  # noqa: B010
for _one in (
    _validator.POWER_LEVELS_VALIDATOR,
    _validator.MENTIONS_VALIDATOR,
    _jsonschema.Draft202012Validator,
):
    _one.check_schema = _nothing
_delayed_events.DelayedEventsHandler.notify_new_event = _nothing
for _module in (_clock, _context):
    setattr(_module, "random_string_insecure_fast", lambda _: "")  # noqa: B010
setattr(logging.Logger, "debug", _nothing)  # noqa: B010
# Some caches ask for it at each use.
setattr(inspect, "getfullargspec", functools.cache(inspect.getfullargspec))  # noqa: B010
gc.freeze()


def run() -> None:
    """Run a Synapse with the command line in `sys.argv`, until it ends."""
    warnings.resetwarnings()
    _worker_entrypoint(_homeserver.main, _reactor, sys.argv)
