// A strict Matrix client: Element's own crypto engine, which gives keys to and takes messages from
// cross-signed devices only (MSC4153). Commands come as lines of JSON on the standard input; each
// is answered by one line on the standard output.

import readline from "node:readline";
import * as sdk from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";
import {
    EventShieldColour,
    EventShieldReason,
    OnlySignedDevicesIsolationMode,
} from "matrix-js-sdk/lib/crypto-api/index.js";

logger.setLevel("silent");
// The engine and the SDK talk on the console; the standard output is ours.
for (const name of ["log", "info", "debug", "warn"]) console[name] = () => {};

// Node 20 lacks it; the SDK asks for 22 because of it.
Promise.withResolvers ??= () => {
    const made = {};
    made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
    return made;
};

const [baseUrl, userId, password, accessToken, deviceId] = process.argv.slice(2);
const client = sdk.createClient({ baseUrl, userId, accessToken, deviceId });
const PATIENCE_MS = 30_000;

async function start() {
    await client.initRustCrypto({ useIndexedDB: false });
    const crypto = client.getCrypto();
    await crypto.bootstrapCrossSigning({
        authUploadDeviceSigningKeys: (upload) =>
            upload({
                type: "m.login.password",
                identifier: { type: "m.id.user", user: userId },
                password,
            }),
    });
    crypto.setDeviceIsolationMode(new OnlySignedDevicesIsolationMode());
    const ready = new Promise((resolve) =>
        client.on(sdk.ClientEvent.Sync, (state) => state === "PREPARED" && resolve()),
    );
    await client.startClient({ initialSyncLimit: 50 });
    await ready;
}

// As Element does it: room, invitation and encryption at once, and the first words right after.
async function open({ host, text }) {
    const { room_id } = await client.createRoom({
        preset: "trusted_private_chat",
        is_direct: true,
        invite: [host],
        initial_state: [
            {
                type: "m.room.encryption",
                state_key: "",
                content: { algorithm: "m.megolm.v1.aes-sha2" },
            },
        ],
    });
    await until(() => client.getRoom(room_id)?.getMember(host));
    await client.sendTextMessage(room_id, text);
    return { room: room_id };
}

async function say({ room, text }) {
    return await client.sendTextMessage(room, text);
}

// The first message with this text in it, and what the client shows beside it.
async function see({ room, text, sender }) {
    const event = await until(() =>
        client
            .getRoom(room)
            .getLiveTimeline()
            .getEvents()
            .find((e) => e.getSender() === sender && e.getContent().body?.includes(text)),
    ).catch(() => null);
    if (event === null) return { found: false, room: describe(room) };
    const info = await client.getCrypto().getEncryptionInfoForEvent(event);
    return {
        found: true,
        encrypted: event.isEncrypted(),
        failed: event.isDecryptionFailure(),
        shield: EventShieldColour[info.shieldColour],
        reason: info.shieldReason === null ? "" : EventShieldReason[info.shieldReason],
    };
}

function describe(room) {
    const events = client.getRoom(room).getLiveTimeline().getEvents();
    return events.map((e) => `${e.getSender()} ${e.getType()} ${e.getContent().body ?? ""}`);
}

async function until(find) {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
        const found = find();
        if (found) return found;
        if (Date.now() > deadline) throw new Error("it did not come");
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

const commands = { open, say, see };

function answer(line) {
    process.stdout.write(`${JSON.stringify(line)}\n`);
}

await start();
answer({ ready: true });
for await (const line of readline.createInterface({ input: process.stdin })) {
    const { op, ...fields } = JSON.parse(line);
    try {
        answer(await commands[op](fields));
    } catch (error) {
        answer({ error: String(error) });
    }
}
client.stopClient();
process.exit(0);
