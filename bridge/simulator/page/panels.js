// The dialogs: who the agent is, and what is done with a customer.

import { dialog, face, find, make, replace } from "./dom.js";
import { become, desk, me, mine } from "./people.js";
import { act, centre } from "./stream.js";
import { word } from "./words.js";

const TURNED_AWAY = [2, 3, 4, 5, 6];

const plain = (text, onclick) => make("button", { type: "button", textContent: text, onclick });

/** Ask who sits at this desk; `chosen()` once that is known. */
export function askWho(chosen) {
  let box;
  const be = (id) => { become(id); box.close(); chosen(); };
  const online = centre.agents.map((agent) => make("button", { type: "button", onclick: () => be(agent.id) },
    face(agent.name, agent.id),
    make("span", {}, agent.name, " ", make("small", { textContent: [agent.id, agent.comments].filter(Boolean).join(" · ") }))));
  const id = field("agentId", { required: true, value: nextId() });
  const name = field("agentName", { required: true });
  const form = make("form", { method: "dialog", onsubmit: async (event) => {
    event.preventDefault();
    const agent = { id: id.input.value.trim(), name: name.input.value.trim() };
    if (await act({ op: "sign_on", agent })) be(agent.id);
  } }, make("h3", { textContent: word("newAgent") }), make("div", { className: "two" }, id.label, name.label),
  make("div", { className: "row" }, make("button", { type: "submit", className: "strong", textContent: word("comeOnline") })));
  const off = me() ? [plain(word("goOffline"), async () => {
    if (await act({ op: "sign_off", agent: desk.agent })) be("");
  })] : [];
  box = dialog(word("whoAreYou"),
    [make("p", { textContent: word("whoHint") }), make("div", { className: "choices" }, ...online), form],
    [...off, plain(word("done"), () => box.close())]);
}

function nextId() {
  const numbers = centre.agents.map((agent) => Number(/^A(\d+)$/.exec(agent.id)?.[1] ?? 0));
  return `A${String(Math.max(0, ...numbers) + 1).padStart(5, "0")}`;
}

export function field(key, properties) {
  const input = make("input", properties);
  return { input, label: make("label", { className: "field" }, make("span", { textContent: word(key) }), input) };
}

/** The chooser of a person: transfer and conference. */
function askAgent(title, leave, extra, done) {
  const others = centre.agents.filter((agent) => !leave.includes(agent.id));
  const buttons = others.map((agent) => make("button", { type: "button", onclick: () => { box.close(); done(agent.id); } },
    face(agent.name, agent.id), make("span", {}, agent.name, " ", make("small", { textContent: agent.id }))));
  const none = others.length ? [] : [make("p", { textContent: word("noOther") })];
  const box = dialog(title, [...none, ...extra, make("div", { className: "choices" }, ...buttons)],
    [plain(word("cancel"), () => box.close())]);
}

export function askRefusal(request) {
  const buttons = TURNED_AWAY.map((status) => make("button", { type: "button", onclick: () => {
    box.close();
    act({ op: "refuse", request: request.id, status });
  } }, word(`status${status}`), make("small", { textContent: ` ${status}` })));
  const box = dialog(word("refuseTitle", { name: request.name }),
    [make("div", { className: "choices" }, ...buttons)], [plain(word("cancel"), () => box.close())]);
}

export function askTransfer() {
  const session = mine();
  if (!session) return;
  const queue = field("queueField", { type: "number", min: 1, step: 1 });
  askAgent(word("transferTitle", { name: session.name }), session.agents.map((agent) => agent.id), [queue.label],
    (to) => act({ op: "transfer", session: session.id, agent: desk.agent, to,
      ...(queue.input.value ? { queue: Number(queue.input.value) } : {}) }));
}

export function askInvite() {
  const session = mine();
  if (!session) return;
  askAgent(word("inviteTitle", { name: session.name }), session.agents.map((agent) => agent.id), [],
    (to) => act({ op: "conference", session: session.id, agent: desk.agent, to }));
}

export function askClose() {
  const session = mine();
  if (!session) return;
  const yes = make("button", { type: "button", className: "strong", textContent: word("close"), autofocus: true,
    onclick: () => { box.close(); act({ op: "close", session: session.id, agent: desk.agent }); } });
  const box = dialog(word("closeTitle", { name: session.name }), [make("p", { textContent: word("closeHint") })],
    [plain(word("cancel"), () => box.close()), yes]);
}

export function pushRating() {
  const session = mine();
  if (session) act({ op: "push_rating", session: session.id, agent: desk.agent });
}

/** What can be done with the customer in the middle. */
export function actionsFor(person, accept) {
  const button = (key, onclick, more = {}) => make("button", {
    type: "button", textContent: word(key), onclick, "data-key": key, ...more });
  if (person.request) {
    return [button("accept", () => accept(person.request), { className: "strong" }),
      button("refuse", () => askRefusal(person.request))];
  }
  if (!person.session.open) return [];
  if (!mine()) {
    if (!me() || person.session.robot) return [];
    return [button("join", () => act({ op: "conference", session: person.session.id, to: desk.agent }))];
  }
  const several = person.session.agents.length > 1;
  return [
    button("rate", pushRating, { "aria-keyshortcuts": "Alt+S" }),
    button("transfer", askTransfer, { "aria-keyshortcuts": "Alt+T", "aria-haspopup": "dialog" }),
    button("invite", askInvite, { "aria-keyshortcuts": "Alt+C", "aria-haspopup": "dialog" }),
    ...(several ? [button("leave", () => act({ op: "leave", session: person.session.id, agent: desk.agent }))] : []),
    button("close", askClose, { className: "danger", "aria-keyshortcuts": "Alt+X", "aria-haspopup": "dialog" }),
  ];
}

/** The button that says who sits here. */
export function drawMe() {
  const agent = me();
  const button = find("me");
  button.setAttribute("aria-label", agent ? `${word("iAm", { name: agent.name })}. ${word("changeAgent")}` : word("whoAreYou"));
  replace(button, agent ? [face(agent.name, agent.id, true), agent.name] : [face("?", "", true), word("whoAreYou")]);
}
