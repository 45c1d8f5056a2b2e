// The conversation in the middle: its head, what was said, who is typing.

import { colour, find, initials, make, replace } from "./dom.js";
import { agentName, customer, desk, mine, nameOf, queueOf, said } from "./people.js";
import { likeness, withFaces } from "./rich.js";
import { centre, sinceView } from "./stream.js";
import { clock, sizeOf, timeOfDay, word } from "./words.js";

const TYPING_SECONDS = 6;
const NEAR_END = 80;

/** Draw everything anew: another customer, or another language. */
export function drawChat(buttons) {
  const person = customer(desk.login);
  find("chat").hidden = !person;
  find("empty").hidden = Boolean(person);
  if (!person) return;
  find("log").replaceChildren(...said(desk.login).map(drawEntry));
  find("log").scrollTop = find("log").scrollHeight;
  drawHead(buttons);
}

/** Add what was said since; stay at the end if the agent was reading there. */
export function extendChat(fresh, buttons) {
  if (!customer(desk.login)) return;
  const log = find("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END;
  const entries = fresh.filter((entry) => entry.login === desk.login);
  log.append(...entries.map(drawEntry));
  if (atEnd && entries.length) log.scrollTop = log.scrollHeight;
  drawHead(buttons);
}

function drawHead(buttons) {
  const person = customer(desk.login);
  const place = person.session?.open ? person.session : person.request ?? person.session;
  const name = nameOf(person);
  find("who").textContent = name;
  find("who-face").textContent = initials(name);
  colour(find("who-face"), name);
  const agents = (place.agents ?? []).map((agent) => agent.name).join(", ");
  find("who-more").textContent = [
    word("queue", { name: queueOf(place) }), agents, place.robot ? word("robot") : "",
    place.linked ? "" : word("offline"), person.login === name ? "" : person.login,
  ].filter(Boolean).join(" · ");
  replace(find("actions"), buttons(person));
  find("compose").hidden = !mine();
  drawTyping();
}

/** Who is typing, for as long as it is true. */
export function drawTyping() {
  const session = customer(desk.login)?.session;
  const line = find("typing");
  if (session && session.open && !session.linked) {
    line.textContent = word("undelivered");
    return;
  }
  const quiet = session?.typed ?? null;
  if (quiet === null || quiet + sinceView() > TYPING_SECONDS) line.textContent = "";
  else if (session.preview) {
    const shown = make("b", { textContent: session.preview });
    line.replaceChildren(word("writes", { name: session.name }), shown);
  } else line.textContent = word("typing", { name: session.name });
}

function drawEntry(entry) {
  if (entry.side === "event") return drawEvent(entry);
  const by = [entry.side === "customer" ? customerName(entry.login) : agentName(entry.agent),
    timeOfDay(entry.time)].join(" · ");
  const head = make("div", { className: "by" }, by);
  if (entry.repeat) head.append(make("span", { className: "repeat" }, ` · ${word("repeatMark")}`));
  return make("div", { className: `entry ${entry.side} ${entry.kind}`, "data-n": entry.n },
    head, drawContent(entry));
}

function customerName(login) {
  const person = customer(login);
  return person ? nameOf(person) : login;
}

function drawContent(entry) {
  switch (entry.kind) {
    case "image": return drawImage(entry);
    case "file": case "video": return drawFile(entry);
    case "voice": return entry.voice ? drawVoice(entry) : drawFile(entry);
    case "location": return drawLocation(entry);
    default: {
      const words = entry.side === "customer" ? withFaces(entry.text ?? "") : likeness(entry.text ?? "");
      return make("div", { className: "bubble" }, words);
    }
  }
}

const address = (entry) => entry.file
  ? `desk/files/${entry.file.split("/").map(encodeURIComponent).join("/")}` : entry.url;

function drawImage(entry) {
  if (!entry.file) return drawFile(entry);
  const name = word("picture", { name: entry.name ?? "" });
  const image = make("img", { src: address(entry), alt: name, onload: keepAtEnd });
  return make("div", { className: "bubble media" },
    make("a", { href: address(entry), target: "_blank", rel: "noopener noreferrer" }, image),
    make("small", { textContent: [entry.name, sizeOf(entry.size)].filter(Boolean).join(" · ") }));
}

function keepAtEnd(event) {
  const log = find("log");
  if (log.scrollHeight - log.scrollTop - log.clientHeight < event.target.height + NEAR_END) {
    log.scrollTop = log.scrollHeight;
  }
}

const SIGNS = { image: "🖼", video: "🎬" };

function drawFile(entry) {
  return make("div", { className: "bubble" },
    make("a", { className: "part", href: address(entry), target: "_blank", rel: "noopener noreferrer" },
      make("span", { className: "sign", "aria-hidden": "true" }, SIGNS[entry.kind] ?? "📄"),
      make("span", {}, make("b", { textContent: entry.name || word("open") }),
        make("small", { textContent: sizeOf(entry.size) }))));
}

function drawVoice(entry) {
  const name = word("played", { seconds: entry.seconds ?? "?" });
  return make("div", { className: "bubble" },
    make("audio", { controls: true, preload: "none", src: `desk/voices/${entry.voice}`, "aria-label": name }),
    make("small", { textContent: `🎤 ${clock(entry.seconds ?? 0)}` }));
}

function drawLocation(entry) {
  const where = `${entry.latitude}, ${entry.longitude}`;
  return make("div", { className: "bubble" },
    make("span", { className: "part" },
      make("span", { className: "sign", "aria-hidden": "true" }, "📍"),
      make("span", {}, make("b", { textContent: entry.text || word("place_") }),
        make("small", { textContent: entry.map ? `${where} (${entry.map})` : where }))));
}

function drawEvent(entry) {
  const holes = { agent: agentName(entry.agent ?? "") };
  let key = `e_${entry.kind}`;
  if (entry.kind === "turned_away") holes.reason = word(`status${entry.text}`);
  if (entry.kind === "closed") key = `e_closed_${entry.text}`;
  const line = make("p", { className: `event ${entry.kind}`, "data-n": entry.n });
  if (entry.kind === "rated") {
    holes.label = label(entry.rating);
    line.textContent = word(key, holes) + (entry.text ? ` — ${entry.text}` : "");
  } else line.textContent = `${word(key, holes)} · ${timeOfDay(entry.time)}`;
  return line;
}

function label(rating) {
  const named = centre.ratings[rating];
  if (rating >= 2 && rating <= 5) return `${"★".repeat(rating)}${"☆".repeat(5 - rating)} (${rating})`;
  return named ? `${named} (${rating})` : String(rating);
}
