"""The table of states, events and answers (reference 4)."""

from __future__ import annotations

from tests.protocol_coverage.rows import Row, Section, numbered

ROWS: tuple[Row, ...] = tuple(
    numbered(
        Section.TABLE,
        {
            "1": "first text: held, and a login wanted",
            "2": "login done: the socket opens",
            "3": "login refused: stop, tell, no retry",
            "4": "login failed otherwise: again with growing pauses",
            "5": "socket open: resume where it stood",
            "6": "text after the end: one new request",
            "7": "request accepted: in the queue",
            "8": "a status overtakes the reply",
            "9": "202: the chat, and all that was held, in order",
            "10": "robot in the reply; a later 202 is no second greeting",
            "11": "permanent session in the reply: no 202 needed",
            "12": "session in the reply, no 202 for 10 s: adopted",
            "13": "-1: queued, request learnt",
            "14": "-2: the session that is known, or an error after 5 s",
            "15": "-3, -5: told, idle, texts kept",
            "16": "configuration error: told to the room's admin",
            "17": "no reply for 20 s: once more under a new id",
            "18": "text in the queue: pre-message; files wait",
            "19": "the place in the queue: said when it changed",
            "20": "accepted: wait for the 202",
            "21": "the request ended: told, idle",
            "22": "cancel, and the 202 that wins against it",
            "23": "a message in the chat is kept until its reply",
            "24": "-11 to a message: new request, same message first",
            "25": "who the agents are: joined, left, renamed",
            "26": "a person takes over from the robot",
            "27": "the customer asks the robot for a person",
            "28": "asked for a rating, once",
            "29": "the agent ends the chat; rating still possible",
            "29b": "the customer ends the chat",
            "30": "link back, was queued: asked again, same queue",
            "31": "link back, was in a chat: nothing sent",
            "32": "202 that continues, same or another session",
            "33": "link back, messages without reply: once more, same ids",
            "34": "link lost: nothing forgotten, growing pauses",
            "35": "-15 anywhere: one login, then the same command",
            "36": "silence: ping, heartbeat, new link",
            "37": "receipts: stored, receipted, known again",
            "38": "server restarts and forgets",
            "39": "idle for long: the link goes, no logout in a chat",
            "40": "pushes of a foreign session",
        },
    )
)
