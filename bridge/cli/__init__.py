"""The command line: `program` parses, the other files do.

`console` is what all commands share; `running`, `registering`, `database` and `doctor` are the
commands, and the doctor's checks lie in `installation`, `homeserver` and `call_centre`.
`bridge.__main__` starts it all.
"""
