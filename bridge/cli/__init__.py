"""The command line: `program` and the commands of `database`, which share `console`.

The doctor's checks are in `doctor`, `homeserver` and `call_centre`.
"""
