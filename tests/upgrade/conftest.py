"""Both engines, as in the store's own tests."""

from __future__ import annotations

from tests.unit.storage.conftest import new_url, postgres_server, postgres_url, url

__all__ = ["new_url", "postgres_server", "postgres_url", "url"]
