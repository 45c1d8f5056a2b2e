"""Synapse's modules, imported before the fork (see `forked`), and its start after it."""

from __future__ import annotations

import gc
import importlib
import sys
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


def run() -> None:
    """Run a Synapse with the command line in `sys.argv`, until it ends."""
    warnings.resetwarnings()
    _worker_entrypoint(_homeserver.main, _reactor, sys.argv)
