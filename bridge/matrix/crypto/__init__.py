"""End-to-bridge encryption: devices and keys of the bridge users, and room keys of customers.

Olm and megolm come from vodozemac (the maintained implementation, with wheels for every supported
Python), which only this package imports. The rest is written here because the bridge needs little
of a full client: no key backup, no verification of people, no history.

Start with `crypto`: class `Crypto` is the package's interface. Nothing here imports from the rest
of `bridge.matrix`; the Matrix client is passed in behind Protocols. Calls to the homeserver raise
`Unavailable` or `Refused`; reads and writes of keys raise StoreError.
"""
