"""The homeserver's side: transactions in, messages out, ghosts, media. Alone knows mautrix.

Events come in by `transactions` and are read by `inbound`; sentences and agents' messages are
worded by `render` and sent by `adapter`, which implements `bridge.rooms.ports.MatrixPort`.
"""
