// The keyboard: every action has a key. Alt and a letter, so that typing is never disturbed.

import { dialog, find, make } from "./dom.js";
import { word } from "./words.js";

/** What is on the list of keys, in its order: keys, and the word that tells what they do. */
const SHOWN = [
  ["Alt+A", "k_accept"], ["Alt+R", "k_refuse"], ["Alt+J / Alt+K", "k_next"], ["Alt+W", "k_write"],
  ["Alt+M", "k_emoji"], ["Alt+I", "k_image"], ["Alt+U", "k_file"], ["Alt+V", "k_voice"],
  ["Alt+L", "k_location"], ["Alt+S", "k_rate"], ["Alt+T", "k_transfer"], ["Alt+C", "k_invite"],
  ["Alt+X", "k_close"], ["Alt+H / ?", "k_help"], ["Esc", "k_escape"],
];

/** Listen for keys; `actions` has a function for each letter. */
export function listenToKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const typing = /^(TEXTAREA|INPUT|SELECT)$/.test(event.target.tagName);
    if (event.key === "?" && !typing) return run(event, actions.h);
    if (!event.altKey || event.ctrlKey || event.metaKey) return undefined;
    // By place on the keyboard: with Alt (Option) some systems make another letter of it.
    return run(event, actions[event.code.replace(/^Key/, "").toLowerCase()]);
  });
}

function run(event, action) {
  if (!action) return;
  event.preventDefault();
  action();
}

export function showKeys() {
  const rows = SHOWN.flatMap(([keys, what]) => [
    make("dt", {}, ...keys.split(" / ").flatMap((key, i) => [i ? " / " : "", make("kbd", { textContent: key })])),
    make("dd", { textContent: word(what) }),
  ]);
  const done = make("button", { type: "button", className: "strong", textContent: word("done"),
    autofocus: true, onclick: () => box.close() });
  const box = dialog(word("keysTitle"), [
    make("p", { textContent: word("keysHint") }), make("dl", { className: "keys" }, ...rows)], [done]);
}

export const toWords = () => find("words").focus();
