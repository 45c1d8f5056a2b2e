"""The composition root: builds every part from the config, starts and stops them in order."""

from bridge.app.process import run

__all__ = ["run"]
