// A strict Matrix client: Element's own crypto engine, which gives keys to and takes messages from
// cross-signed devices only (MSC4153). Commands come as lines of JSON on the standard input; each
// is answered by one line on the standard output. The only argument is the account, as JSON.

import readline from "node:readline";
import attachments from "matrix-encrypt-attachment";
import * as sdk from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";
import {
    EventShieldColour,
    EventShieldReason,
    OnlySignedDevicesIsolationMode,
} from "matrix-js-sdk/lib/crypto-api/index.js";

logger.setLevel("silent");
// Silence the engine's and the SDK's console messages: the standard output is for answers.
for (const name of ["log", "info", "debug", "warn"]) console[name] = () => {};

// Missing in Node 20; the only reason why the SDK requires 22.
Promise.withResolvers ??= () => {
    const made = {};
    made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
    return made;
};

// recovery: the key of the user's secret storage, on a second device; "" on a first one.
const { baseUrl, userId, password, accessToken, deviceId, recovery } = JSON.parse(process.argv[2]);
const PATIENCE_MS = 30_000;
let storageKey = recovery ? new Uint8Array(Buffer.from(recovery, "base64")) : null;
const client = sdk.createClient({
    baseUrl,
    userId,
    accessToken,
    deviceId,
    cryptoCallbacks: {
        getSecretStorageKey: async ({ keys }) => storageKey && [Object.keys(keys)[0], storageKey],
    },
});

async function start() {
    await client.initRustCrypto({ useIndexedDB: false });
    const crypto = client.getCrypto();
    // The engine accepts private keys only for an identity that it knows.
    await crypto.userHasCrossSigningKeys(userId, true);
    await crypto.bootstrapCrossSigning({
        // Without the key of an existing identity, create a new one.
        setupNewCrossSigning: storageKey === null,
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

// Put the identity's keys into the secret storage, for a second device.
async function recover() {
    const crypto = client.getCrypto();
    await crypto.bootstrapSecretStorage({
        setupNewSecretStorage: true,
        createSecretStorageKey: async () => {
            const made = await crypto.createRecoveryKeyFromPassphrase();
            storageKey = made.privateKey;
            return made;
        },
    });
    return { recovery: Buffer.from(storageKey).toString("base64") };
}

// As Element does it: room, invitation and encryption at once, then the first message.
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

async function logout() {
    await client.logout();
    return {};
}

async function say({ room, text }) {
    return await client.sendTextMessage(room, text);
}

// Encrypt a file as Element does, and send it; `more` is added to the content.
async function send({ room, msgtype, name, mime, data, more }) {
    const plain = new Uint8Array(Buffer.from(data, "base64"));
    const { data: sealed, info } = await attachments.encryptAttachment(plain.buffer);
    const { content_uri } = await client.uploadContent(new Blob([sealed]), {
        type: "application/octet-stream",
        includeFilename: false,
    });
    return await client.sendMessage(room, {
        msgtype,
        body: name,
        file: { ...info, url: content_uri, mimetype: mime },
        info: { mimetype: mime, size: plain.length },
        ...more,
    });
}

// Return the first message that contains the text, with the client's shield.
async function see({ room, text, sender }) {
    return await shown(room, (e) => e.getSender() === sender && body(e).includes(text));
}

// Return a sender's nth file of a type, decrypted, with the client's shield.
async function fetchFile({ room, sender, msgtype, nth }) {
    const those = (e) => e.getSender() === sender && e.getContent().msgtype === msgtype;
    const seen = await shown(room, those, nth);
    if (!seen.found) return seen;
    const { file, url } = seen.event.getContent();
    if (url !== undefined) throw new Error("the file is not encrypted");
    const from = client.mxcUrlToHttp(file.url, undefined, undefined, undefined, false, true, true);
    const response = await fetch(from, { headers: { Authorization: `Bearer ${accessToken}` } });
    const plain = await attachments.decryptAttachment(await response.arrayBuffer(), file);
    return { ...seen, event: undefined, data: Buffer.from(plain).toString("base64") };
}

async function shown(room, wanted, nth = 1) {
    const event = await until(() => timeline(room).filter(wanted)[nth - 1]).catch(() => null);
    if (event === null) return { found: false, room: timeline(room).map(described) };
    const info = await client.getCrypto().getEncryptionInfoForEvent(event);
    return {
        found: true,
        encrypted: event.isEncrypted(),
        failed: event.isDecryptionFailure(),
        shield: EventShieldColour[info.shieldColour],
        reason: info.shieldReason === null ? "" : EventShieldReason[info.shieldReason],
        event,
    };
}

// Wait until the engine knows no device in `unlike`, and return those that it knows.
async function devices({ user, unlike }) {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
        const known = await client.getCrypto().getUserDeviceInfo([user], true);
        const found = [...(known.get(user)?.keys() ?? [])];
        if (found.length && !found.some((id) => unlike.includes(id))) return { devices: found };
        if (Date.now() > deadline) throw new Error(`still ${found}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

// Return the room's members, as Element counts them to find a direct chat, and its name.
async function count({ room }) {
    const found = client.getRoom(room);
    const members = found.getJoinedMembers().map((member) => member.userId);
    const ignored = found.getFunctionalMembers();
    return {
        all: members.length,
        people: members.filter((id) => !ignored.includes(id)).sort(),
        name: found.name,
    };
}

function timeline(room) {
    return client.getRoom(room)?.getLiveTimeline().getEvents() ?? [];
}

function body(event) {
    return event.getContent().body ?? "";
}

function described(event) {
    return `${event.getSender()} ${event.getType()} ${body(event)}`;
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

const commands = { open, logout, say, send, see, fetch: fetchFile, recover, devices, count };

function answer(line) {
    process.stdout.write(`${JSON.stringify(line)}\n`);
}

await start();
answer({ ready: true });
for await (const line of readline.createInterface({ input: process.stdin })) {
    const { op, ...fields } = JSON.parse(line);
    try {
        answer({ ...(await commands[op](fields)), event: undefined });
    } catch (error) {
        answer({ error: String(error) });
    }
}
client.stopClient();
process.exit(0);
