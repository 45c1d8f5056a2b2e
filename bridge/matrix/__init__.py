"""The homeserver's side: transactions in, messages out, ghosts, media, encryption.

Events come in by `appservice` and are read by `events`; sentences and agents' messages are
worded by `render` and sent by `adapter`, which implements `bridge.rooms.ports.MatrixPort`.
`ghosts` knows who of ours is where, `crypto` opens and seals; `client` alone knows mautrix.
"""
