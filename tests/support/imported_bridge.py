"""The bridge's modules, imported before the fork (see `forked`), and its start after it."""

from __future__ import annotations

import gc

import bridge.app.process
import bridge.cli.doctor
import bridge.cli.program  # noqa: F401 - for the processes to come
from bridge.__main__ import main as run
from tests.support.certificates import trust_no_authority

__all__ = ["run"]
trust_no_authority()
gc.freeze()
