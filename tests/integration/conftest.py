"""What integration tests share: one PostgreSQL for the session."""

from tests.support.postgres import postgres_server

__all__ = ["postgres_server"]
