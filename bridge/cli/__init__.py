"""The command line; `bridge.__main__` starts it."""
