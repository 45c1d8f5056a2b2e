"""What goes wrong on our side of the wire. The server's own refusals are replies, not errors."""


class LocalProtocolError(ValueError):
    """We were about to send what must never be sent: a bug of the caller, nothing left us.

    The message names the field, never its content, so it may be logged.
    """
