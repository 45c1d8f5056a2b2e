// The room page: a widget beside a chat, in which a room admin sees the queues and sets the room.

import { call, CallError, carry, give } from "./call.js";
import { find, make, replace, tell, themes } from "./dom.js";
import { box, button, field, muted, optionsOf, Pulse, reason, tried } from "./parts.js";
import { changesTable, openness, usualWait } from "./views.js";
import { framed, onClient, openIdToken } from "./widget.js";
import { speak, switchLanguage, word } from "./words.js";

const LANGUAGES = [["zh-CN", "简体中文"], ["zh-TW", "繁體中文"], ["en", "English"], ["ja", "日本語"]];
const SOURCES = ["PC", "MOBILE", "WECHAT", "APP"];
const STARTS = ["on_message", "on_command"];
const TEXTS = { greeting: "greeting", closed: "closed_", nobody: "nobody__", ended: "ended_" };
/** Looks for what became of an order, half a second apart. */
const CARRIED_OUT = 10;

const main = find("main");
const query = new URLSearchParams(location.search);
const pulse = new Pulse(failed);
let at = "";
let parts = null;

function say(text, ...more) {
  pulse.stop();
  parts = null;
  replace(main, box(word("roomTitle"), make("p", { textContent: text, role: "status" }), ...more));
}

const againButton = () => button(word("again"), begin, { className: "strong", key: "again" });

function failed(error) {
  if (error instanceof CallError && error.status === 401) begin();
  else if ([403, 404].includes(error.status) || !parts?.[0].isConnected) say(reason(error), againButton());
}

async function begin() {
  if (!framed || !query.get("room")) return say(word("openIt"));
  say(word("asking"));
  try {
    const token = await openIdToken();
    const signedIn = await call("sign-in", { body: { token, room: query.get("room") } });
    carry(signedIn.session);
    at = `rooms/${encodeURIComponent(signedIn.room_id)}`;
  } catch (error) {
    const own = ["blocked", "late"].includes(error.message) ? word(error.message) : reason(error);
    return say(own, againButton());
  }
  return show();
}

function show() {
  const form = settingsForm();
  const log = make("div");
  parts = [form.element, box(word("lastChanges"), log,
    make("div", { className: "row" }, button(word("undo"), undo, { key: "undo" })))];
  return pulse.show(async (current) => {
    const [room, { queues }, { changes }] = await Promise.all([
      call(at), call("queues"), call(`${at}/changes`, { query: { limit: 10 } }),
    ]);
    if (!current()) return;
    form.draw(room, queues);
    replace(log, changesTable(changes, { rooms: false }));
    replace(main, parts);
  }, 5);
}

/** Wait until the room has carried out an order, so that the page shows what came of it. */
async function carriedOut({ order }) {
  for (let look = 0; look < CARRIED_OUT; look += 1) {
    const { state } = await call(`${at}/orders/${order}`);
    if (state !== "waiting") break;
    await new Promise((resolve) => { setTimeout(resolve, 500); });
  }
}

/** Change settings, as commands do; what is null goes back to how the operator has it. */
async function set(settings) {
  const done = await tried(async () => {
    await carriedOut(await give(`${at}/settings`, { settings }, "PATCH"));
    return true;
  });
  if (done) tell(word("saved"), true);
  await pulse.beat();
  // What had the focus may be a button that cannot be pressed any more.
  if (document.activeElement === document.body || document.activeElement.disabled) main.focus({ preventScroll: true });
  return done;
}

async function undo() {
  await tried(async () => carriedOut(await give(`${at}/orders`, { words: "undo" })));
  await pulse.beat();
}

function queueChoice(queue, chosen, choose) {
  const input = make("input", { type: "radio", name: "queue", value: String(queue.id), checked: queue.id === chosen, "data-key": `q${queue.id}`, onchange: choose });
  return make("label", { className: "pick" }, input, make("span", {},
    make("strong", { textContent: queue.name }),
    make("span", { className: "muted" }, openness(queue), queue.hours && ` · ${queue.hours}`),
    make("span", { className: "muted", textContent: `${word("waiting")} ${queue.waiting} · ${word("chatting")} ${queue.chatting} · ${word("named", { name: word("usual"), value: usualWait(queue) })}` })));
}

/** What the form's reader has touched is left as they put it until they save, in either language. */
const touched = {};
let saving = false;

/** The form of all settings: its element, and what draws the room's newest state into it. */
function settingsForm() {
  const [service, queues] = [make("div", { className: "row" }), make("fieldset", { className: "picks" })];
  const note = (key, value) => {
    touched[key] = value === "" ? null : value;
    if (key === "enterprise") delete touched.queue;
    ready();
  };
  let [stored, reader] = [{ texts: {} }, ""];
  const ready = () => {
    save.disabled = saving || !Object.keys(touched).length;
    queues.disabled = "enterprise" in touched; // they are the former one's
  };
  const keyOf = (name) => (name in TEXTS ? `text.${name}${reader && `.${reader}`}` : name);
  const input = (tag, name, more = {}) => make(tag, { "data-key": name, ...more,
    oninput: ({ target }) => note(keyOf(name), target.value.trim()) });
  const choices = {
    enterprise: [input("select", "enterprise"), []],
    language: [input("select", "language"), LANGUAGES],
    from: [input("select", "from"), SOURCES.map((one) => [one, one])],
    start: [input("select", "start"), STARTS.map((one) => [one, word(one)])],
  };
  const typed = { hours: input("input", "hours", { maxLength: 300, placeholder: word("hoursHint"), spellcheck: false }) };
  const unclear = make("p", { className: "warn", textContent: word("hoursUnclear"), hidden: true });
  for (const name of Object.keys(TEXTS)) typed[name] = input("textarea", name, { maxLength: 500, rows: 2 });
  const readers = make("select", { "data-key": "reader", onchange: (event) => {
    reader = event.target.value;
    for (const name of Object.keys(TEXTS)) fill(name, true);
  } }, optionsOf([["", word("everybody")], ...LANGUAGES], ""));
  const centre = field(word("chosenEnterprise"), choices.enterprise[0]);
  const save = make("button", { className: "strong", textContent: word("save"), disabled: true });
  const element = make("form", { className: "stack", onsubmit: async (event) => {
    event.preventDefault();
    const wanted = { ...touched };
    saving = true;
    ready();
    const saved = await set(wanted);
    saving = false;
    if (saved) {
      for (const [key, value] of Object.entries(wanted)) if (touched[key] === value) delete touched[key];
      await pulse.beat();
    }
    ready();
  } },
  box(word("state"), service),
  box(word("chosenQueue"), centre, queues),
  box(word("settings"), make("div", { className: "stack" },
    field(word("chosenLanguage"), choices.language[0]), field(word("chosenSource"), choices.from[0]),
    field(word("chosenStart"), choices.start[0]), field(word("roomHours"), typed.hours), unclear)),
  box(word("texts"), muted(word("textsHint")), make("div", { className: "stack" }, field(word("reader"), readers),
    Object.entries(TEXTS).map(([name, key]) => field(word(key), typed[name])))),
  make("div", { className: "row bar" }, save));

  function fill(name, anew = false) {
    const [key, one] = [keyOf(name), typed[name]];
    const value = (key in touched ? touched[key] : name === "hours" ? stored.hours : stored.texts[key.slice(5)]) ?? "";
    if ((anew || !(key in touched)) && one.value !== value) one.value = value;
  }

  function draw(room, found) {
    const settings = stored = room.settings;
    replace(service, make("p", { className: settings.paused ? "warn" : "good", textContent: word(settings.paused ? "pausedNow" : "servedNow") }),
      button(word(settings.paused ? "resume" : "pause"), () => set({ paused: !settings.paused }), { key: "pause" }));
    unclear.hidden = !settings.hours_unclear;
    centre.hidden = !room.enterprises.length;
    choices.enterprise[1] = room.enterprises.map((one) => [one, one]);
    replace(queues, make("legend", { className: "unseen", textContent: word("chosenQueue") }),
      found.map((queue) => queueChoice(queue, touched.queue ?? room.next_queue, () => note("queue", queue.id))));
    for (const [key, [select, options]] of Object.entries(choices)) {
      const value = (key in touched ? touched[key] : settings[key]) ?? "";
      if (!select.length || select.value !== value) replace(select, optionsOf([["", word("byOperator")], ...options], value));
    }
    for (const name of Object.keys(typed)) fill(name);
    ready();
  }
  for (const name of Object.keys(typed)) fill(name, true);
  return { element, draw };
}

function frame() {
  speak();
  find("language").lang = document.documentElement.lang === "en" ? "zh-CN" : "en";
  document.title = word("roomTitle");
  drawTheme();
  if (parts) show();
}

const drawTheme = themes(find("theme"), (theme) => `${word("theme")}: ${word(theme)}`, query.get("theme"));
find("language").addEventListener("click", () => { switchLanguage(); frame(); });
onClient("theme_change", ({ name }) => drawTheme(name));
frame();
begin();
