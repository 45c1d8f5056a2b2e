"""`matrix-webchat doctor`: tries every part of an installation and says how to mend what fails.

`findings` is what a check gives; `local` looks at files, database and ports, `homeserver` and
`webchat` talk to the two servers; `round` does all of it in order and prints. It may be used
while the bridge runs and while it does not.
"""
