// Erasure of a room or a person: what there is, the name typed again, then what went and what stays.

import { call } from "./call.js";
import { make, replace, tell } from "./dom.js";
import { box, facts, field, muted, table, tick, tried } from "./parts.js";
import { said, word } from "./words.js";

const EVERY = 2000;
const MOST_ASKED = 60;
/** Times, `EVERY` ms apart, that it is asked whether all is done: a chat gets a minute to end. */

const sum = (counts) => Object.values(counts).reduce((all, one) => all + one, 0);

const counts = (title, columns, kinds) => table(title, [[word("kind"), said],
  ...columns.map(([name, of]) => [name, (kind) => String(of[kind] ?? 0), "number"])], kinds);

const stays = ({ kept }) => [make("h3", { textContent: word("stays") }), table(word("stays"), [
  [word("content"), (one) => said(one.what)],
  [word("where"), (one) => said(one.where)],
  [word("why"), (one) => said(one.why)],
], kept)];

export function erase(about) {
  const subject = make("input", {
    value: about, placeholder: word("subjectHint"), spellcheck: false, autocomplete: "off", required: true, "data-key": "subject",
  });
  const state = make("p", { role: "status", tabIndex: -1, "data-key": "state" });
  const found = make("div", { className: "stack" });
  const say = (text, ...more) => {
    state.textContent = text;
    replace(found, ...more);
    state.focus();
  };

  async function survey(event) {
    event.preventDefault();
    const asked = subject.value.trim();
    if (!/^(!.|@[^:]+:.)/.test(asked)) {
      tell(word("noSubject", { subject: asked }));
      return subject.focus();
    }
    const told = await tried(() => call("erase", { body: { subject: asked, dry_run: true } }));
    if (!told) return subject.focus();
    const { rooms, shared } = told;
    if (!sum(told.found) && !rooms.length && !shared.length) return say(word("nothingHeld", told));
    return say(word("isHeld", told), facts([[word("wholeRooms"), rooms.join(" ")], [word("sharedRooms"), shared.join(" ")]]),
      counts(word("content"), [[word("there"), told.found]], Object.keys(told.found)), stays(told), confirmation(told));
  }

  function confirmation(told) {
    const typed = make("input", { spellcheck: false, autocomplete: "off", "data-key": "typed", oninput: () => ready() });
    const wishes = { force: tick(word("force")), stay: tick(word("stay")), redact: tick(word("redact")) };
    const go = make("button", { className: "danger", textContent: word("eraseNow"), disabled: true });
    const ready = () => {
      go.disabled = typed.value.trim() !== told.subject || (told.chatting.length > 0 && !wishes.force.input.checked);
    };
    wishes.force.input.addEventListener("change", ready);
    return make("form", { className: "stack", onsubmit: (event) => {
      event.preventDefault();
      return run(told, Object.fromEntries(Object.entries(wishes).map(([name, { input }]) => [name, input.checked])));
    } },
    told.chatting.length > 0 && make("p", { className: "warn", textContent: word("chatGoesOn", { rooms: told.chatting.join(" ") }) }),
    Object.values(wishes), field(word("typeAgain", told), typed), make("div", { className: "row" }, go));
  }

  async function run(told, wishes) {
    let now = null;
    for (let asked = 0; asked < MOST_ASKED && !now?.done && state.isConnected; asked += 1) {
      if (now) await new Promise((resolve) => { setTimeout(resolve, EVERY); });
      now = await tried(() => call("erase", { body: { subject: told.subject, ...wishes } }));
      if (!now) return asked ? say(word("notYet", told)) : undefined;
      if (!asked) say(word("erasing", told));
    }
    const kinds = [...new Set([...Object.keys(told.found), ...Object.keys(now.left)])];
    return say(word(now.done ? "erasedNow" : "notYet", told),
      counts(word("content"), [[word("before"), told.found], [word("left"), now.left]], kinds), stays(now));
  }

  const form = make("form", { className: "row", onsubmit: survey }, field(word("subject"), subject),
    make("button", { className: "strong", textContent: word("lookUp") }));
  const parts = [box(word("erase"), muted(word("eraseHint")), form, state, found)];
  return async () => parts;
}
