"""The Matrix side: transactions in, messages out, ghosts, media, encryption.

`appservice` receives events, `events` interprets them; `render` builds the contents that `adapter`
(implementing `bridge.rooms.ports.MatrixPort`) sends. `ghosts` keeps bridge users' profiles and
memberships, `crypto` encrypts and decrypts; only `client` uses mautrix.
"""
