"""The command line: `program` gathers the commands of the other files, which share `console`.

The doctor's checks lie in `installation`, `homeserver` and `call_centre`.
"""
