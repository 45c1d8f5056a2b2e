"""Both engines, as in the store's own tests."""

from __future__ import annotations

from tests.unit.storage.conftest import postgres_server, postgres_url, url

__all__ = ["postgres_server", "postgres_url", "url"]
