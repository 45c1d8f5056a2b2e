"""Synapse's modules, imported before the fork (see `forked`), and its start after it.

It goes without two things that no test looks at, and that take an eighth of its CPU time: its
statistics, and a check of its own JSON schemas at each event with power levels or mentions.
"""

from __future__ import annotations

import gc
import importlib
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext

from prometheus_client.metrics import MetricWrapperBase
from synapse.app.complement_fork_proxied_reactor import ProxiedReactor
from synapse.app.complement_fork_starter import _worker_entrypoint
from twisted.internet.main import installReactor

_reactor = ProxiedReactor()
# Before anything imports the reactor.
installReactor(_reactor)  # type: ignore[no-untyped-call]  # Twisted's
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _homeserver = importlib.import_module("synapse.app.homeserver")
    _validator = importlib.import_module("synapse.events.validator")


class _Uncounted:
    """A metric with labels that counts nothing."""

    def inc(self, *_: object) -> None: ...

    dec = observe = set = set_function = inc

    def time(self) -> AbstractContextManager[None]:
        return nullcontext()

    track_inprogress = time


_UNCOUNTED = _Uncounted()
setattr(MetricWrapperBase, "labels", lambda *_, **__: _UNCOUNTED)  # noqa: B010 - another type
for _one in (_validator.POWER_LEVELS_VALIDATOR, _validator.MENTIONS_VALIDATOR):
    _one.check_schema = lambda *_, **__: None
gc.freeze()


def run() -> None:
    """Run a Synapse with the command line in `sys.argv`, until it ends."""
    warnings.resetwarnings()
    _worker_entrypoint(_homeserver.main, _reactor, sys.argv)
