// The left side: who waits, who talks with whom.

import { face, find, make, replace } from "./dom.js";
import { chatsOf, customers, desk, nameOf, queueOf, said, unread } from "./people.js";
import { likeness, withFaces } from "./rich.js";
import { centre, sinceView } from "./stream.js";
import { clock, timeOfDay, word } from "./words.js";

const SHORT = 60;
/** Groups that are not worth a line when they are empty. */
const RARE = new Set(["others", "ended"]);

/** Draw the four groups; `choose(login)`, `accept(request)` and `refuse(request)` act. */
export function drawList(choose, accept, refuse) {
  const groups = customers();
  for (const [name, people] of Object.entries(groups)) {
    const count = find(`${name}-count`);
    count.textContent = people.length;
    count.toggleAttribute("data-some", people.length > 0);
    find(name).parentElement.hidden = RARE.has(name) && people.length === 0;
    const draw = name === "waiting" ? (person) => waitingCard(person, choose, accept, refuse)
      : (person) => chatCard(person, choose);
    replace(find(name), people.map(draw));
  }
  tick();
}

/** Let the waiting times grow. */
export function tick() {
  for (const element of document.querySelectorAll("[data-waited]")) {
    element.textContent = clock(Number(element.dataset.waited) + sinceView());
  }
}

function waitingCard(person, choose, accept, refuse) {
  const { request } = person;
  const more = [word("place", { place: request.place }), word("queue", { name: queueOf(request) }),
    request.from, request.linked ? "" : word("offline")];
  const time = make("span", { className: "time", "data-waited": request.waited });
  return make("li", { className: "card waits", "data-chosen": chosen(person) },
    opener(person, choose, time, more.filter(Boolean).join(" · ")),
    make("div", { className: "does" },
      make("button", { type: "button", className: "strong", textContent: word("accept"),
        "data-key": `accept-${request.id}`, "aria-label": `${word("accept")}: ${request.name}`,
        onclick: () => accept(request) }),
      make("button", { type: "button", textContent: word("refuse"),
        "data-key": `refuse-${request.id}`, "aria-label": `${word("refuse")}: ${request.name}`,
        onclick: () => refuse(request) })));
}

function chatCard(person, choose) {
  const { session } = person;
  const last = said(person.login).findLast((entry) => entry.side !== "event");
  const fresh = session.open ? unread(person.login) : 0;
  const aside = fresh ? make("span", { className: "unread", textContent: fresh })
    : make("span", { className: "time", textContent: last ? timeOfDay(last.time) : "" });
  return make("li", { className: "card", "data-chosen": chosen(person) },
    opener(person, choose, aside, about(session, last)));
}

function about(session, last) {
  if (session.open && !session.linked) return word("offline");
  if (last) return gist(last);
  if (session.robot) return word("robot");
  return session.agents.map((agent) => agent.name).join(", ");
}

function opener(person, choose, aside, more) {
  const name = nameOf(person);
  const alike = chatsOf(name);
  return make("button", { type: "button", className: "open", "data-key": `open-${person.login}`,
    "aria-current": chosen(person) ? "true" : null, onclick: () => choose(person.login) },
    face(name, name),
    make("span", { className: "text" },
      make("span", { className: "name" }, make("span", { textContent: name }),
        alike > 1 ? make("span", { className: "badge", textContent: word("chats", { count: alike }) }) : null,
        aside),
      make("span", { className: "more", textContent: more })));
}

const chosen = (person) => person.login === desk.login;

/** An entry in a few words. */
export function gist(entry) {
  switch (entry.kind) {
    case "text": case "notice": return [...plain(entry)].slice(0, SHORT).join("");
    case "image": return `🖼 ${entry.name ?? ""}`;
    case "video": return `🎬 ${entry.name ?? ""}`;
    case "file": return `📄 ${entry.name ?? ""}`;
    case "voice": return `🎤 ${clock(entry.seconds ?? 0)}`;
    case "location": return `📍 ${entry.text ?? ""}`;
    default: return "";
  }
}

function plain(entry) {
  const text = entry.text ?? "";
  return entry.side === "customer" ? withFaces(text) : likeness(text).textContent;
}

/** The customers from top to bottom, for the keys that walk through them. */
export function inOrder() {
  return Object.values(customers()).flat().map((person) => person.login);
}

/** The title of the tab tells what waits, also when another tab is in front. */
export function drawTitle() {
  const some = centre.waiting.length;
  document.title = some ? `(${some}) ${word("title")}` : word("title");
}
