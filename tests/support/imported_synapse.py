"""Synapse's modules, imported before the fork (see `forked_synapse`), and its start after it."""

from __future__ import annotations

import gc
import importlib
import warnings

from synapse.app.complement_fork_proxied_reactor import ProxiedReactor
from synapse.app.complement_fork_starter import _worker_entrypoint
from twisted.internet.main import installReactor

_reactor = ProxiedReactor()
# Before anything imports the reactor.
installReactor(_reactor)  # type: ignore[no-untyped-call]  # Twisted's
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _homeserver = importlib.import_module("synapse.app.homeserver")
gc.freeze()


def run(command: list[str]) -> None:
    """Run a Synapse with a command line, until it ends."""
    _worker_entrypoint(_homeserver.main, _reactor, command)
