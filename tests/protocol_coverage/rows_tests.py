"""The conformance tests that the reference asks for (reference 7), by their numbers."""

from __future__ import annotations

from tests.protocol_coverage.rows import Row, Section, numbered

_TITLES = """\
login body
login signature
login without a key
login refused
login answered by an error page
login rate
token escaped in the address
handshake refused
token refused after the handshake
a storm of refused tokens
token refused twice
shortest way into a chat
requestId in the reply
status before the reply
202 before the reply
nested status
place said only when it changed
pre-messages are not repeated
pre-message refused with -10
picture while waiting
cancel
cancel against 202
cancel before the requestId
-1
-2, session known
-2, session unknown
outside hours
status 6
statuses 2, 3, 4
refused, then 202
unknown status
status 11
robot queue
robot, then 202 of the same session
robot hands over
permanent session
session continued
people list with the customer in it
agents list
agent replaced
two agents
agent renamed
text as in 2016
text as later, and the switch
both text keys
rating keys, and zero
rating after the end
asked for a rating once
session gone
session gone, several messages
customer ends the chat
end of a session that is gone
agent's HTML
agent's emoji
picture as base64
picture as address in an object
file as JSON in a string
place with numbers as strings
odd text
typing
unknown notice
unknown kind of message
unknown frame
receipt
receipt for each copy
copy after a restart
no receipt without rsId
heartbeat
heartbeat unknown to the server
link lost in a chat
link lost in the queue
message without reply
server restarted
frame too big for the server
long text
upload, both kinds
addresses of uploads
upload refused
reply without messageId
ids as strings
end of a foreign session
robot search signature
robot search without an answer
nothing but blanks
two rooms of one person
no secrets in logs
stop in a chat"""

ROWS: tuple[Row, ...] = tuple(
    numbered(
        Section.TESTS,
        {str(number): title for number, title in enumerate(_TITLES.splitlines(), start=1)},
    )
)
