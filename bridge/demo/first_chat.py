"""The demo's first chat: a robot's answer, the queue, an agent, pictures and files, a rating."""

from __future__ import annotations

import base64
import hashlib

from bridge.demo import samples
from bridge.demo.agents import kind_is, text_is
from bridge.demo.customer import content_of, membership
from bridge.demo.phone import Phone
from bridge.demo.scene import Scene, answers_of, is_poll, msgtype_is
from bridge.demo.transcript import expect

QUESTION = "When do you open?"
ANSWER = "We are open from <b>nine to six</b>, Monday to Friday."
"""What the simulated knowledge base knows."""


async def play_first_chat(scene: Scene, bystander: Scene) -> None:
    """Play it in a new direct room of the customer's.

    Args:
        scene: the customer; her room is made here.
        bystander: somebody who is in the queue before her, for a while.
    """
    transcript = scene.transcript
    transcript.title("A customer asks the robot, then for a person")
    await _robot(scene, bystander)
    await _queue(scene, bystander)
    transcript.title("The agent answers")
    await _talk(scene)
    if scene.stage.simulator.options.later:
        await _type(scene)
    await _exchange_files(scene)
    transcript.title("The end, and a rating")
    await _end(scene)


async def _robot(scene: Scene, bystander: Scene) -> None:
    transcript = scene.transcript
    async with transcript.step("somebody else is in the queue already"):
        await bystander.open_dm("I was here first")
        await bystander.reads("number 1")
    async with transcript.step("she opens an encrypted direct chat with the bot; it greets her"):
        await scene.open_dm(f"ask {QUESTION}")
        await scene.reads("Hello!")
        encryption = await scene.customer.state(scene.room, "m.room.encryption")
        expect("algorithm" in encryption, "the room is not encrypted")
    async with transcript.step("the call centre's knowledge base answers what she asks"):
        card = await scene.reads("nine to six", scene.stage.bot)
    async with transcript.step("it does not help: 👎 asks for a person, who learns what she asked"):
        await scene.react(card, "👎")
        await scene.reads("number 2")
        await scene.desk.gets(f"pre-message: {QUESTION}", lambda said: QUESTION in said.text)


async def _queue(scene: Scene, bystander: Scene) -> None:
    transcript = scene.transcript
    async with transcript.step("her place in the queue changes in place when the other gives up"):
        await bystander.say("!wc cancel")
        await scene.reads("number 1")
    async with transcript.step("what she writes while waiting is kept for the agent"):
        await scene.say("It is about order 4711")
        await scene.desk.gets(
            "pre-message: It is about order 4711", text_is("It is about order 4711")
        )


async def _talk(scene: Scene) -> None:
    transcript, ghost = scene.transcript, scene.ghost("A00001")
    async with transcript.step("an agent accepts and joins the room as herself"):
        await scene.desk.do("accept", agent="A00001")
        await scene.sees("the agent's arrival", membership(ghost, "join"))
        await scene.reads("Mei is here")
        texts = [message.text for message in scene.desk.customer.messages]
        expect(
            len(texts) >= 2 and QUESTION in texts[0] and texts[-1] == "It is about order 4711",
            f"the agent should have what she asked and what she wrote, in order; she has {texts}",
        )
        expect(len(texts) == len(set(texts)), f"the agent has something twice: {texts}")
    async with transcript.step("the agent's text arrives, formatted and with emoji"):
        await scene.desk.do(
            "say", text='Hello /::) see <a href="https://example.org/faq">our FAQ</a>'
        )
        event = await scene.reads("Hello 🙂 see our FAQ", ghost)
        html = str(content_of(event).get("formatted_body"))
        expect('href="https://example.org/faq"' in html, f"the link is missing in {html}")
    async with transcript.step("her text reaches the agent; a read receipt tells her so"):
        sent = await scene.say("Thanks, I read it. 谢谢！")
        await scene.desk.gets("Thanks, I read it. 谢谢！", text_is("Thanks, I read it. 谢谢！"))
        read = scene.customer.receipts
        await scene.notices("the read receipt", lambda: read.get((scene.room, ghost)) == sent)
        transcript.said("Mei", "✓ has read it")


async def _type(scene: Scene) -> None:
    """Servers of 2016 have no sign for it."""
    transcript, customer, ghost = scene.transcript, scene.customer, scene.ghost("A00001")
    async with transcript.step("each sees that the other is typing"):
        await scene.desk.do("typing")
        await scene.notices(
            "the agent's typing", lambda: ghost in customer.typing.get(scene.room, ())
        )
        transcript.said("Mei", "… types")
        await customer.types(scene.room)
        await scene.desk.until("her typing", lambda desk: bool(desk.signals))
        transcript.said("desk", "← she types …")
        await customer.types(scene.room, typing=False)


async def _exchange_files(scene: Scene) -> None:
    transcript, customer = scene.transcript, scene.customer
    document = b"terms and conditions, \xe7\xac\xac 1 page\n" * 50
    for kind, data, name, mime in (
        ("image", samples.picture((30, 120, 200)), "parcel.png", "image/png"),
        ("file", document, "receipt.txt", "text/plain"),
    ):
        async with transcript.step(f"the customer's {kind} reaches the agent, byte for byte"):
            await scene.send_file(data, name, mime, kind)
            await scene.desk.gets(f"{kind} {name}", kind_is(kind))
            digest = hashlib.sha256(data).hexdigest()
            uploads = scene.desk.view.uploads
            expect(digest in {one.sha256 for one in uploads}, "the bytes differ")
    async with transcript.step("the agent's image arrives, byte for byte"):
        back = samples.picture((200, 90, 30))
        await scene.desk.do("image", name="label.png", data=base64.b64encode(back).decode())
        event = await scene.sees("an image", msgtype_is("m.image", "@webchat_"))
        expect(await customer.read_file(event) == back, "the bytes differ")
    async with transcript.step("the agent's file arrives, byte for byte"):
        await scene.desk.do("file", name="terms.txt", data=base64.b64encode(document).decode())
        event = await scene.sees("a file", msgtype_is("m.file", "@webchat_"))
        expect(await customer.read_file(event) == document, "the bytes differ")


async def _end(scene: Scene) -> None:
    transcript = scene.transcript
    async with transcript.step("the agent closes the chat and leaves the room"):
        await scene.desk.do("close")
        await scene.reads("The agent has ended the chat")
        await scene.sees("the agent's leaving", membership(scene.ghost("A00001"), "leave"))
    async with transcript.step("the customer rates with a tap on the poll"):
        poll = await scene.sees("a poll", is_poll)
        answer, label = answers_of(poll)[0]
        await scene.customer.vote(scene.room, poll, answer)
        transcript.said("alice", f"votes “{label}”")
        await scene.reads(f"Thank you for your rating: {label}.")
        given = [rating.rating for rating in scene.desk.customer.ratings]
        expect(given == [int(answer)], f"WebChat should have {answer}, it has {given}")
    async with transcript.step("nothing was sent twice, and nothing was unreadable"):
        repeats = [message for message in scene.desk.customer.messages if message.repeat]
        expect(not repeats, f"{len(repeats)} messages were repeated")
        expect_readable(scene)


def expect_readable(scene: Scene) -> None:
    """Fail the step if the customer's client could not decrypt something."""
    if isinstance(scene.customer, Phone):
        unread = scene.customer.unreadable(scene.room)
        expect(not unread, f"{len(unread)} messages could not be decrypted")
