"""End-to-bridge encryption: our users' devices, the keys of people's messages, and our own.

Olm and megolm are vodozemac's (the maintained implementation, with wheels for every Python that we
support); what surrounds them is here, since we need a small part of what a client needs: no key
backup, no verification of people, no history. Only this package knows vodozemac.

Read `crypto` first: its class `Crypto` is the face of the package. Nothing in here imports from the
rest of `bridge.matrix`: the client comes in behind Protocols. What calls the homeserver raises
`Unavailable` or `Refused`, and what reads or writes keys StoreError.
"""
