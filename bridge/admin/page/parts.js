// What both pages are put together from: boxes, tables, dialogs, and a look at the server now and then.

import { CallError } from "./call.js";
import { make, tell } from "./dom.js";
import { known, said, word } from "./words.js";

export const box = (title, ...children) =>
  make("section", { className: "box", "aria-label": title }, make("h2", { textContent: title }), ...children);

const orNone = (shown) => (shown === null || shown === undefined || shown === "" ? word("none") : shown);

/**
 * A table that is a list of blocks on a phone; its roles are written out, for there it has no other.
 * `columns`: [[name, cell(row), kind?], …], where a cell is a text or an element, and the kind is
 * "number", or "whole" for what stays on one line.
 */
export function table(title, columns, rows) {
  const head = columns.map(([name, , kind = ""]) =>
    make("th", { role: "columnheader", scope: "col", className: kind, textContent: name }));
  const body = rows.map((row) => make("tr", { role: "row" }, columns.map(([name, cell, kind = ""]) => {
    const shown = orNone(cell(row));
    return make("td", { role: "cell", className: kind, "data-name": name, "data-none": shown === word("none") },
      make("span", {}, shown));
  })));
  return make("table", { role: "table" },
    make("caption", { className: "unseen", textContent: title }),
    make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, head)),
    make("tbody", { role: "rowgroup" }, body));
}

export const facts = (pairs) => make("dl", { className: "facts" }, pairs.flatMap(([name, value]) => [
  make("dt", { textContent: name }), make("dd", {}, orNone(value)),
]));

export const muted = (text) => make("p", { className: "muted", textContent: text });

export function button(text, onclick, { className = "", key } = {}) {
  return make("button", { type: "button", textContent: text, className, "data-key": key, onclick });
}

/** A field with its name; `field.input` is what is typed into. */
export function field(name, input) {
  return Object.assign(make("label", { className: "field" }, make("span", { textContent: name }), input), { input });
}

/** A box to tick, with its name; `tick.input` is the box. */
export function tick(name) {
  const input = make("input", { type: "checkbox" });
  return Object.assign(make("label", { className: "pick" }, input, make("span", { textContent: name })), { input });
}

export const optionsOf = (options, value) => options.map(([id, name]) =>
  make("option", { value: id, textContent: name, selected: String(id) === String(value) }));

/** A modal dialog; closed by Escape, by its own buttons, and by `close()`. */
export function dialog(title, content, buttons) {
  const name = `dialog-${Math.random().toString(36).slice(2)}`;
  const shown = make("dialog", { "aria-labelledby": name, onclose: () => shown.remove() },
    make("h2", { id: name, textContent: title }), ...content, make("div", { className: "row" }, ...buttons));
  document.body.append(shown);
  shown.showModal();
  return shown;
}

/** Why something failed, as a sentence of the page's language where it has one. */
export function reason(error) {
  if (error instanceof CallError && error.key && known(error.key)) return word(error.key);
  return word("failed", { reason: said(error.message) });
}

/** Do it; say so when it fails. Returns what it came to, or undefined. */
export async function tried(work) {
  try {
    return await work();
  } catch (error) {
    tell(reason(error));
    return undefined;
  }
}

/**
 * Looks at the server every `seconds` while the page is seen, one question at a time. After a failure
 * less and less often, up to half a minute. `look` asks and draws; `failed(error)` hears of the others.
 */
export class Pulse {
  #timer;
  #look = async () => {};
  #seconds = 5;
  #misses = 0;
  #run = 0;

  constructor(failed) {
    this.failed = failed;
    document.addEventListener("visibilitychange", () => this.beat());
  }

  show(look, seconds) {
    this.#look = look;
    this.#seconds = seconds;
    this.#misses = 0;
    return this.beat();
  }

  stop() { this.#run += 1; clearTimeout(this.#timer); this.#look = async () => {}; }

  async beat() {
    clearTimeout(this.#timer);
    if (document.visibilityState !== "visible") return;
    const run = this.#run += 1;
    try {
      await this.#look(() => run === this.#run);
      this.#misses = 0;
    } catch (error) {
      if (run !== this.#run) return;
      this.#misses += 1;
      this.failed(error);
    }
    if (run !== this.#run) return;
    const wait = Math.min(30, this.#seconds * 2 ** this.#misses);
    this.#timer = setTimeout(() => this.beat(), wait * 1000);
  }
}
