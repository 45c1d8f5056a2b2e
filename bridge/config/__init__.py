"""The operator's configuration: config.yaml and the environment, as one frozen `Config`.

Entry point: `load_config`. Every error names the key's path and line; see `document.Problem`.
"""

from bridge.config.document import ConfigInvalid, ConfigUnreadable, KeyPath, Problem
from bridge.config.known_keys import example_config, json_schema
from bridge.config.loading import load_config
from bridge.config.model import Config, Permission

__all__ = [
    "Config",
    "ConfigInvalid",
    "ConfigUnreadable",
    "KeyPath",
    "Permission",
    "Problem",
    "example_config",
    "json_schema",
    "load_config",
]
