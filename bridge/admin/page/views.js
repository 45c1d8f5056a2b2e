// The console's pages. Each is opened for what it is about and gives a look: an async function that
// asks the server and returns what is to be shown. What somebody types or chooses in is made once, when
// the page is opened, and stays; only what is around it is drawn anew.

import { call, give } from "./call.js";
import { make, replace, tell } from "./dom.js";
import { erase } from "./erase.js";
import { box, button, dialog, facts, field, muted, optionsOf, table, tried } from "./parts.js";
import { bars, scatter } from "./plot.js";
import { clock, duration, moment, said, word } from "./words.js";

const roomLink = (id, name = "") =>
  make("a", { href: `#/room/${encodeURIComponent(id)}`, textContent: name || id, className: name ? "" : "mono" });
const eventLink = (id) =>
  make("a", { href: `#/deliveries/${encodeURIComponent(id)}`, textContent: id, className: "mono" });
const mono = (text) => make("span", { className: "mono", textContent: text });
const process = (name) => name || word("thisProcess");
const ago = (seconds) => (seconds ? word("ago", { time: duration(seconds) }) : word("now"));
const heard = (reports) => reports.map((one) => `${process(one.replica)} (${ago(one.seconds)})`).join(", ");
const enc = encodeURIComponent;

/** Names of the queues, and where there are several call centres, of these. */
function queueNames(queues) {
  const several = new Set(queues.map((one) => one.enterprise)).size > 1;
  const names = new Map(queues.map((one) =>
    [`${one.enterprise}/${one.id}`, several ? `${one.enterprise}: ${one.name}` : one.name]));
  return (one) => names.get(`${one.enterprise}/${one.queue ?? one.id}`)
    ?? [one.enterprise, one.queue ?? one.id].filter((part) => part !== "").join(": ");
}

/** The column of the call centre, where there are several; `first` gets the row that names it. */
const centres = (rows, first = (one) => one) =>
  rows.some((one) => first(one).enterprise) ? [[word("enterprise"), (one) => first(one).enterprise, "whole"]] : [];

export function openness(queue) {
  if (queue.open === null) return make("span", { className: "muted", textContent: word("noHours") });
  const textContent = queue.open ? word("open")
    : queue.opens ? `${word("closed")} · ${word("opensAt", { time: moment(queue.opens, { seconds: false }) })}` : word("closed");
  return make("span", { className: "mark", "data-up": queue.open, textContent });
}

export const usualWait = ({ wait }) =>
  wait ? word("range", { low: duration(wait.low), high: duration(wait.high) }) : word("unknownWait");

/** The first entries of a list, at most 200; and whether there are more. A page may have none, and a next one. */
async function first(path, name, query) {
  const found = [];
  let after;
  do {
    const page = await call(path, { query: { ...query, limit: 200 - found.length, after } });
    found.push(...page[name]);
    after = page.next;
  } while (after && found.length < 200);
  return [found, Boolean(after)];
}

// --- live ------------------------------------------------------------------------------------------

const PHASES = ["Requesting", "Queued", "Chatting"];
let chosenQueue = "";

function card(room, nameOf) {
  const lines = [
    [nameOf(room), room.position && word("place", { place: room.position })],
    [word("since", { time: moment(room.since) }), room.held && word("held", { count: room.held })],
    [room.agents.length && word("agents", { names: room.agents.map((one) => one.name || one.id).join(", ") })],
  ];
  return make("li", { className: "card", "data-waits": room.phase !== "Chatting", "data-room": room.room_id },
    roomLink(room.room_id, room.displayname || room.customer || room.room_id),
    lines.map((line) => line.filter(Boolean).join(" · ")).filter(Boolean)
      .map((text) => make("p", { textContent: text })));
}

function live(_, again) {
  const [above, board, filter] = [make("div"), make("div", { className: "phases" }), make("select")];
  const parts = [box(word("queues"), above),
    box(word("live"), make("div", { className: "row" }, field(word("inQueue"), filter)), board)];
  filter.addEventListener("change", () => { chosenQueue = filter.value; again(); });
  let offered = "";
  return async () => {
    // Each phase is asked for by itself: of many chats, the first ones by id would hide who waits.
    const [enterprise, queue] = chosenQueue.split("/");
    const [{ queues }, ...found] = await Promise.all([call("queues"),
      ...PHASES.map((phase) => first("chats", "rooms", { phase, enterprise, queue }))]);
    const nameOf = queueNames(queues);
    const options = [["", word("allQueues")], ...queues.map((one) => [`${one.enterprise}/${one.id}`, nameOf(one)])];
    const offers = JSON.stringify(options);
    if (offers !== offered) replace(filter, optionsOf(options, chosenQueue));
    offered = offers;
    const columns = PHASES.map((phase, at) => {
      const [here, more] = found[at];
      here.sort((a, b) => (a.since ?? 0) - (b.since ?? 0));
      return make("div", { className: "phase", "data-phase": phase },
        make("h3", {}, make("span", { textContent: word(phase) }), make("span", { className: "count", textContent: `${here.length}${more ? "+" : ""}` })),
        here.length ? make("ul", { className: "cards" }, here.slice(0, 100).map((room) => card(room, nameOf))) : muted(word("nobody")));
    });
    replace(above, table(word("queues"), [
      [word("queue"), nameOf],
      [word("state"), openness],
      [word("hours"), (one) => one.hours],
      [word("waiting"), (one) => String(one.waiting), "number"],
      [word("chatting"), (one) => String(one.chatting), "number"],
      [word("usual"), usualWait],
    ], queues));
    replace(board, columns);
    return parts;
  };
}

// --- waiting times ---------------------------------------------------------------------------------

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
}

/** Words a moment, with seconds where minutes would say the same all along. */
function clockWithin(ended) {
  const moments = ended.map((one) => one.at);
  const short = Math.max(...moments) - Math.min(...moments) < 5 * 60_000;
  return (ms) => clock(ms, short);
}

function waits() {
  return async () => {
    const [{ queues }, { waits: ended, reports }] = await Promise.all([call("queues"), call("waits")]);
    const nameOf = queueNames(queues);
    const groups = Map.groupBy(ended, nameOf);
    const hint = muted(word("waitsHint", { heard: heard(reports) }));
    if (!ended.length) return [box(word("waits"), hint, muted(word("noWaits")))];
    const series = [...groups].map(([name, points]) => ({ name, points }));
    const rows = series.map(({ name, points }) => {
      const taken = points.filter((one) => one.answered).map((one) => one.seconds);
      return { name, value: median(taken), longest: Math.max(0, ...points.map((one) => one.seconds)),
        count: points.length, given: points.length - taken.length };
    });
    return [
      box(word("waits"), hint,
        make("p", { className: "legend" }, series.map(({ name }, at) => make("span", { className: `s${at % 4}`, textContent: name }))),
        scatter(series, { title: word("waitsPlot"), unit: duration, moment: clockWithin(ended), vain: word("given") })),
      box(word("waitsBars"), bars(rows, { title: word("waitsBars"), unit: duration }),
        table(word("waitsBars"), [
          [word("queue"), (row) => row.name],
          [word("count"), (row) => String(row.count), "number"],
          [word("median"), (row) => duration(row.value), "number"],
          [word("longest"), (row) => duration(row.longest), "number"],
          [word("given"), (row) => String(row.given), "number"],
        ], rows)),
    ];
  };
}

// --- links -----------------------------------------------------------------------------------------

function links() {
  return async () => {
    const { reports, links: found, next } = await call("links", { query: { limit: 200 } });
    const several = reports.length > 1;
    const told = several && box(word("replicas"), table(word("replicas"), [
      [word("replica"), (one) => process(one.replica)],
      [word("seen"), (one) => ago(one.seconds), "whole"],
      ...["up", "opening", "waiting"].map((state) => [word(state === "waiting" ? "waiting_" : state), (one) => String(one[state]), "number"]),
    ], reports));
    const hint = muted(word("linksHint"));
    if (!found.length) return [told, box(word("links"), hint, muted(word("noLinks")))];
    return [told, box(word("links"), hint, table(word("links"), [
      [word("room"), (one) => roomLink(one.room_id)],
      ...centres(found),
      ...(several ? [[word("replica"), (one) => process(one.replica)]] : []),
      [word("state"), (one) => make("span", {
        className: "mark", "data-up": one.state === "up", "data-half": one.state === "opening",
        textContent: word(one.state === "waiting" ? "waiting_" : one.state),
      })],
      [word("since_"), (one) => moment(one.since), "whole"],
      [word("why"), (one) => one.why],
    ], found), next && muted("…"))];
  };
}

// --- deliveries ------------------------------------------------------------------------------------

function outcome(one) {
  const textContent = said(one.outcome ?? "") || (one.attempted ? word("under") : "");
  const bad = ["refused", "failed", "dead", "uncertain"].includes(one.outcome);
  return make("span", { className: bad ? "bad" : one.outcome === "delivered" ? "good" : "", textContent });
}

function ledger(rows) {
  return table(word("deliveries"), [
    [word("time"), (one) => moment(one.received), "whole"],
    [word("what"), (one) => {
      const event = [one.key, one.event_id, one.cause].find((id) => id?.startsWith("$"));
      return event ? eventLink(event) : one.key && mono(one.key);
    }],
    [word("lane"), (one) => said(one.lane ?? ""), "whole"],
    [word("attempts"), (one) => String(one.attempts || ""), "number"],
    [word("outcome"), outcome, "whole"],
    [word("detail"), (one) => [one.detail, one.possible_double && word("doubled")].filter(Boolean).join(" ")],
  ], rows);
}

function deliveries(about) {
  const input = make("input", {
    value: about, placeholder: word("eventHint"), spellcheck: false, autocomplete: "off", "data-key": "about", required: true,
  });
  const form = make("form", { className: "row", onsubmit: (event) => {
    event.preventDefault();
    const wanted = input.value.trim();
    location.hash = wanted.startsWith("!") ? `#/room/${enc(wanted)}` : `#/deliveries/${enc(wanted)}`;
  } }, field(word("eventOrRoom"), input), make("button", { className: "strong", textContent: word("lookUp") }));
  const found = make("div");
  const parts = [box(word("deliveries"), form, found)];
  return async () => {
    if (!about) return parts;
    const { lines } = await call(`deliveries/${enc(about)}`).catch((error) => {
      if (error.status === 404 || error.status === 400) return { lines: [] };
      throw error;
    });
    replace(found, lines.length ? table(word("deliveries"), [
      [word("time"), (one) => moment(one.at), "whole"],
      [word("what"), (one) => said(one.what) + (one.possible_double ? ` ${word("doubled")}` : "")],
      [word("room"), (one) => roomLink(one.room_id)],
      [word("detail"), (one) => said(one.detail)],
    ], lines) : muted(word("nothingKnown")));
    return parts;
  };
}

// --- dead letters ----------------------------------------------------------------------------------

function dead(_, again) {
  const done = async (letter, method, path, told) => {
    const result = await tried(() => call(path, { method, body: method === "POST" ? {} : undefined }));
    if (result) tell(word(told, { id: letter.id }), true);
    again();
  };
  const discard = (letter) => {
    const ask = dialog(word("discardTitle", { id: letter.id }), [muted(word("discardHint"))], [
      button(word("cancel"), () => ask.close()),
      button(word("discard"), () => { ask.close(); done(letter, "DELETE", `dead-letters/${letter.id}`, "discarded"); }, { className: "danger" }),
    ]);
  };
  const look = async (letter) => {
    const opened = await tried(() => call(`dead-letters/${letter.id}`));
    if (!opened) return;
    const shown = dialog(letter.id, [
      facts([[word("why"), opened.why], [word("fix"), opened.fix]]),
      make("pre", { textContent: opened.body ?? word("erased"), tabIndex: 0, "aria-label": word("content") }),
    ], [button(word("back"), () => shown.close())]);
  };
  return async () => {
    const { dead_letters: letters, next } = await call("dead-letters", { query: { limit: 100 } });
    if (!letters.length) return [box(word("dead"), muted(word("noLetters")))];
    return [box(word("dead"), table(word("dead"), [
      [word("number"), (one) => mono(one.id), "whole"],
      [word("time"), (one) => moment(one.at), "whole"],
      [word("room"), (one) => roomLink(one.room_id)],
      ...centres(letters),
      [word("why"), (one) => [one.why, one.fix].filter(Boolean).join(": ")],
      [word("act"), (one) => make("span", { className: "row" },
        button(word("retry"), () => done(one, "POST", `dead-letters/${one.id}/retry`, "retried"), { key: `r${one.id}`, className: "strong" }),
        button(word("content"), () => look(one), { key: `c${one.id}` }),
        button(word("discard"), () => discard(one), { key: `d${one.id}`, className: "danger" }))],
    ], letters), next && muted("…"))];
  };
}

// --- health and processes --------------------------------------------------------------------------

function health() {
  return async () => {
    // The health is there without a database, the others are not.
    const [state, { replicas }, { dead_letters: letters, next }] = await Promise.all([
      call("health"),
      call("replicas").catch(() => ({})),
      call("dead-letters", { query: { limit: 200 } }).catch(() => ({})),
    ]);
    const away = Object.entries(state.away);
    return [
      box(word("health"),
        make("p", {}, make("strong", { className: `mark ${state.ready ? "good" : "bad"}`, "data-up": state.ready, textContent: word(state.ready ? "ready" : "notReady") })),
        away.length ? facts(away) : muted(word("allReached")),
        facts([[word("replica"), process(state.replica)], [word("version"), state.version],
          [word("dead"), letters && make("a", { href: "#/dead", textContent: `${letters.length}${next ? "+" : ""}` })]])),
      box(word("replicas"), replicas?.length ? table(word("replicas"), [
        [word("replica"), (one) => one.name],
        [word("state"), (one) => make("span", { className: "mark", "data-up": one.state === "serves", "data-half": one.state === "leaving", textContent: word(one.state) })],
        [word("shards"), (one) => `${one.shards} / 256`, "number"],
        [word("started"), (one) => moment(one.started), "whole"],
        [word("seen"), (one) => ago(one.seen), "whole"],
      ], replicas) : muted(word(replicas ? "oneProcess" : "none"))),
    ];
  };
}

// --- changes ---------------------------------------------------------------------------------------

const WAYS = { state: "state_" };

/** The name of a setting; `start` is also a command, whose words are no values of the setting. */
const settingName = (key, values) => (key === "start" && !values.startsWith("on_") ? key : said(key));

export function changesTable(changes, { rooms = true } = {}) {
  if (!changes.length) return muted(word("noChanges"));
  // What was changed at once is one line.
  const lines = [];
  for (const one of changes) {
    const last = lines.at(-1)?.[0];
    if (["at", "actor", "way", "room_id"].every((name) => last?.[name] === one[name])) lines.at(-1).push(one);
    else lines.push([one]);
  }
  return table(word("changes"), [
    [word("time"), ([one]) => moment(one.at), "whole"],
    [word("who"), ([one]) => one.actor],
    [word("way"), ([one]) => word(WAYS[one.way] ?? one.way), "whole"],
    ...(rooms ? [[word("room"), ([one]) => one.room_id && roomLink(one.room_id)], ...centres(lines, ([one]) => one)] : []),
    [word("setting"), (line) => make("ul", {}, line.map(({ key, before, after }) => make("li", {
      textContent: before || after ? word("named", { name: settingName(key, before + after), value: `${before || word("none")} → ${after || word("none")}` }) : key,
    })))],
  ], lines);
}

function changes() {
  return async () => {
    const found = await call("changes", { query: { limit: 100 } });
    return [box(word("changes"), changesTable(found.changes), found.next && muted("…"))];
  };
}

// --- one room --------------------------------------------------------------------------------------

const ENDINGS = { agent: "agent_", customer: "customer_", lost: "lost_", cancelled: "cancelled_", nobody: "nobody_" };

function room(about, again) {
  const at = `rooms/${enc(about)}`;
  const input = make("input", { placeholder: word("orderHint"), spellcheck: false, autocomplete: "off", required: true, maxLength: 500, "data-key": "order" });
  const form = make("form", { className: "row", onsubmit: async (event) => {
    event.preventDefault();
    if (await tried(() => give(`${at}/orders`, { words: input.value.trim() }))) {
      input.value = "";
      tell(word("ordered"), true);
      again();
    }
  } }, field(word("order"), input), make("button", { className: "strong", textContent: word("give") }));
  const [above, below] = [make("div"), make("div", { className: "stack" })];
  const parts = [box(word("room"), above, form, make("p", {},
    make("a", { href: `#/erase/${enc(about)}`, textContent: word("eraseRoom") }))), below];
  // An answer covers the newest entries of all rooms; those before them are looked for on request.
  const rows = new Map();
  let [after, further] = [null, false];
  const look = () => tried(async () => {
    const wanted = rows.size + 30;
    for (further = true; after && rows.size < wanted;) {
      const page = await call(`${at}/deliveries`, { query: { limit: 30, after } });
      page.deliveries.forEach((one) => rows.set(one.number, one));
      after = page.next;
    }
  }).then(again);
  return async () => {
    const [state, { queues }, { chats }, newest, log] = await Promise.all([
      call(at), call("queues"), call(`${at}/chats`, { query: { limit: 20 } }),
      call(`${at}/deliveries`, { query: { limit: 30 } }), call(`${at}/changes`, { query: { limit: 20 } }),
    ]);
    const nameOf = queueNames(queues);
    const { settings } = state;
    if (!further) { rows.clear(); after = newest.next; }
    newest.deliveries.forEach((one) => rows.set(one.number, one));
    const chosen = settings.enterprise ?? state.enterprise;
    const later = chosen !== state.enterprise && (state.held || !["Idle", "Ended"].includes(state.phase));
    const named = (queue) => nameOf({ enterprise: chosen, queue });
    replace(above, make("p", {}, make("strong", { textContent: state.displayname || state.customer || about })),
        facts([
          [word("room"), mono(state.matrix_id)],
          [word("customer"), state.customer],
          ...(state.enterprise ? [[word("enterprise"), later
            ? word("chosenLater", { now: state.enterprise, chosen }) : chosen]] : []),
          [word("state"), [word(state.phase), state.since && word("since", { time: moment(state.since) }),
            state.position && word("place", { place: state.position }), state.held && word("held", { count: state.held })].filter(Boolean).join(" · ")],
          [word("queue"), nameOf(state)],
          [word("agent"), state.agents.map((one) => one.name || one.id).join(", ")],
          [word("settings"), [settings.queue !== null && named(settings.queue), settings.from, settings.language,
            settings.start && word(settings.start), settings.hours, settings.paused && word("paused"),
            ...Object.keys(settings.texts)].filter(Boolean).join(" · ") || word("byOperator")],
        ]),
        settings.hours_unclear && make("p", { className: "warn",
          textContent: word("named", { name: settings.hours, value: word("hoursUnclear") }) }));
    replace(below,
      box(word("chats"), chats.length ? table(word("chats"), [
        [word("number"), (one) => String(one.number), "number"],
        [word("queue"), nameOf],
        [word("asked"), (one) => moment(one.asked), "whole"],
        [word("started"), (one) => moment(one.started), "whole"],
        [word("endedAt"), (one) => moment(one.ended), "whole"],
        [word("how"), (one) => one.ending && word(ENDINGS[one.ending])],
        [word("agent"), (one) => one.agents.map((agent) => agent.name || agent.id).join(", ")],
        [word("rating"), (one) => one.rating === null ? "" : String(one.rating)],
      ], chats) : muted(word("nobody"))),
      box(word("deliveries"), rows.size ? ledger([...rows.values()].sort((one, other) => other.number - one.number))
        : muted(word(after ? "nothingLately" : "nothingKnown")), after && button(word("further"), look, { key: "further" })),
      box(word("changes"), changesTable(log.changes, { rooms: false })));
    return parts;
  };
}

/** By the first part of the address; `seconds` between two looks. */
export const PAGES = {
  live: { open: live, seconds: 3 },
  waits: { open: waits, seconds: 15 },
  links: { open: links, seconds: 5 },
  deliveries: { open: deliveries, seconds: 10 },
  dead: { open: dead, seconds: 10 },
  changes: { open: changes, seconds: 10 },
  health: { open: health, seconds: 5 },
  erase: { open: erase, seconds: 60 },
  room: { open: room, seconds: 5, hidden: true },
};
