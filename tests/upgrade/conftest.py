"""The fixtures of the storage tests: a database on either engine."""

from __future__ import annotations

from tests.unit.storage.conftest import new_url, url

__all__ = ["new_url", "url"]
