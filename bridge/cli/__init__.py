"""The command line: `program` collects the commands of the other files, which share `console`.

The doctor's checks are in `installation`, `homeserver` and `call_centre`.
"""
