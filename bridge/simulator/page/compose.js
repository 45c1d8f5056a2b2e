// Writing: text, faces, pictures, files, voices and places, to the customer in the middle.

import { complain, dialog, find, make } from "./dom.js";
import { desk, mine } from "./people.js";
import { field } from "./panels.js";
import { toHtml } from "./rich.js";
import { act, centre } from "./stream.js";
import { askVoice } from "./voice.js";
import { word } from "./words.js";

const TYPING_MS = 3000;
const LARGEST_MB = 50;
const PLACES = [
  ["东方明珠", 31.239703, 121.499718],
  ["天安门", 39.908692, 116.397477],
  ["广州塔", 23.106574, 113.324553],
];

let typedAt = 0;
let facesShown = [];
/** What is written and not sent, by the customer's login. */
const drafts = {};

/** Wire the form up; `faces` are for the picker. */
export function prepareCompose(faces) {
  facesShown = faces;
  const form = find("compose");
  const words = find("words");
  form.addEventListener("submit", (event) => { event.preventDefault(); sendText(); });
  words.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      sendText();
    }
  });
  words.addEventListener("input", tellTyping);
  words.addEventListener("paste", (event) => {
    const images = [...event.clipboardData.files];
    if (images.length) { event.preventDefault(); sendAll(images); }
  });
  form.addEventListener("dragover", (event) => { event.preventDefault(); form.toggleAttribute("data-dragged", true); });
  form.addEventListener("dragleave", () => form.removeAttribute("data-dragged"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.removeAttribute("data-dragged");
    sendAll([...event.dataTransfer.files]);
  });
  for (const [id, send] of [["pick-image", sendImage], ["pick-file", sendFile], ["pick-voice", sendVoice]]) {
    find(id).addEventListener("change", (event) => {
      for (const file of event.target.files) send(file);
      event.target.value = "";
    });
  }
}

/** The buttons above the text, in the present language. */
export function drawTools() {
  const tool = (key, glyph, keys, onclick) => make("button", {
    type: "button", "aria-keyshortcuts": keys, title: `${word(key)} (${keys})`, "data-tool": key,
    "aria-label": word(key), onclick },
  make("span", { className: "glyph", "aria-hidden": "true" }, glyph),
  make("span", { className: "label" }, word(key)));
  find("tools").replaceChildren(
    tool("emoji", "🙂", "Alt+M", askFace),
    tool("image", "🖼", "Alt+I", pickImage),
    tool("file", "📎", "Alt+U", pickFile),
    tool("voice", "🎤", "Alt+V", openVoice),
    tool("location", "📍", "Alt+L", askPlace));
}

export const pickImage = () => mine() && find("pick-image").click();
export const pickFile = () => mine() && find("pick-file").click();
export function openVoice() {
  if (!mine()) return;
  const to = from();
  askVoice((blob) => sendVoice(blob, to), () => find("pick-voice").click());
}

/** Who says something to whom; taken before anything is waited for, as the chat may end or change.
 * 0 is no session: without one, the server would take the only one that is open. */
const from = () => ({ session: mine()?.id ?? 0, agent: desk.agent });

async function sendText() {
  const words = find("words");
  const text = words.value;
  const { login } = desk;
  if (!text.trim() || !mine()) return;
  words.value = "";
  typedAt = 0;
  const done = await act({ op: "say", ...from(), text: find("as-html").checked ? text : toHtml(text) });
  if (done) return;
  if (desk.login !== login) drafts[login] ||= text;
  else words.value ||= text;
}

/** Put by what is not sent yet to the one customer, and go on with that to the other. */
export function changeDraft(old, login) {
  drafts[old] = find("words").value;
  find("words").value = drafts[login] ?? "";
}

function tellTyping() {
  // Only the later guides know a notice of typing; once per three seconds keeps it alive.
  if (!centre.types || !mine() || Date.now() - typedAt < TYPING_MS) return;
  typedAt = Date.now();
  act({ op: "typing", ...from() }, { silent: true });
}

function sendAll(files) {
  for (const file of files) (file.type.startsWith("image/") ? sendImage : sendFile)(file);
}

async function sendImage(file) {
  const to = from();
  const data = await base64(file);
  if (data) act({ op: "image", ...to, name: file.name || "picture.png", data });
}

async function sendFile(file) {
  const to = from();
  const data = await base64(file);
  if (data !== null) act({ op: "file", ...to, name: file.name || "file", data });
}

async function sendVoice(blob, to = from()) {
  const data = await base64(blob);
  if (data) act({ op: "voice", ...to, data });
}

function base64(blob) {
  if (blob.size > LARGEST_MB * 1e6) {
    complain(word("tooLarge", { name: blob.name ?? "", limit: LARGEST_MB }));
    return null;
  }
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Choose a face; it goes into the text as Unicode, or as the code that WeChat knows. */
export function askFace() {
  if (!mine()) return;
  const codes = make("input", { type: "checkbox" });
  const buttons = facesShown.map(([code, names, glyph]) => make("button", {
    type: "button", textContent: glyph, title: `${names} ${code}`, "aria-label": names,
    onclick: () => { box.close(); insert(codes.checked ? code : glyph); } }));
  const box = dialog(word("emoji"), [
    make("label", { className: "check" }, codes, word("asCodes")),
    make("div", { className: "faces" }, ...buttons)],
  [make("button", { type: "button", textContent: word("cancel"), onclick: () => box.close() })]);
  buttons[0]?.focus();
}

function insert(text) {
  const words = find("words");
  words.setRangeText(text, words.selectionStart, words.selectionEnd, "end");
  words.focus();
  tellTyping();
}

export function askPlace() {
  if (!mine()) return;
  const to = from();
  const [[poi, latitude, longitude]] = PLACES;
  const name = field("placeName", { value: poi });
  const north = field("latitude", { type: "number", step: "any", min: -90, max: 90, required: true, value: latitude });
  const east = field("longitude", { type: "number", step: "any", min: -180, max: 180, required: true, value: longitude });
  const map = make("select", {}, make("option", { value: "baidu" }, "baidu (BD-09)"),
    make("option", { value: "gaode" }, "gaode (GCJ-02)"));
  const presets = PLACES.map(([label, lat, lon]) => make("button", { type: "button", textContent: label,
    onclick: () => { name.input.value = label; north.input.value = lat; east.input.value = lon; } }));
  const form = make("form", { id: "place-form", method: "dialog", onsubmit: () => act({
    op: "location", ...to, poi: name.input.value, map: map.value,
    latitude: Number(north.input.value), longitude: Number(east.input.value) }) },
  make("div", { className: "row presets" }, ...presets), name.label,
  make("div", { className: "two" }, north.label, east.label),
  make("label", { className: "field" }, make("span", { textContent: word("map") }), map));
  const box = dialog(word("locationTitle"), [form], [
    make("button", { type: "button", textContent: word("cancel"), onclick: () => box.close() }),
    make("button", { type: "submit", form: "place-form", className: "strong", textContent: word("sendLocation") })]);
}
