// Who is who: the agent at this desk, and the customers with what is going on with each.

import { centre } from "./stream.js";

/** The agent at this desk; the customer who is looked at, and who is to be written to next. */
export const desk = { agent: sessionStorage.getItem("desk-agent") ?? "", login: "", write: "", read: {} };

const asked = new URLSearchParams(location.search).get("agent");
if (asked) desk.agent = asked;

export function me() {
  return centre.agents.find((agent) => agent.id === desk.agent);
}

export function become(id) {
  desk.agent = id;
  sessionStorage.setItem("desk-agent", id);
}

/** Every customer with a request or a session, by what they need from this desk. */
export function customers() {
  const people = new Map();
  for (const session of centre.sessions) {
    people.set(session.login, { login: session.login, session, request: null });
  }
  for (const request of centre.waiting) {
    const known = people.get(request.login);
    people.set(request.login, { login: request.login, session: known?.session ?? null, request });
  }
  const groups = { waiting: [], mine: [], others: [], ended: [] };
  for (const person of people.values()) groups[groupOf(person)].push(person);
  groups.waiting.sort((a, b) => b.request.waited - a.request.waited);
  groups.ended.reverse();
  return groups;
}

function groupOf({ session, request }) {
  if (request) return "waiting";
  if (!session.open) return "ended";
  return session.agents.some((agent) => agent.id === desk.agent) ? "mine" : "others";
}

export function customer(login) {
  return Object.values(customers()).flat().find((person) => person.login === login);
}

/** The open session in which this desk's agent speaks, of the customer who is looked at. */
export function mine() {
  const session = customer(desk.login)?.session;
  return session?.open && session.agents.some((agent) => agent.id === desk.agent) ? session : null;
}

export function nameOf(person) {
  return (person.request ?? person.session).name;
}

/** How many customers of this list are called so: WebChat knows one person's two rooms as two. */
export function chatsOf(name) {
  return Object.values(customers()).flat().filter((person) => nameOf(person) === name).length;
}

export function queueOf(place) {
  return place.queue_name || String(place.queueId);
}

export function agentName(id) {
  const everybody = [...centre.agents, ...centre.sessions.flatMap((session) => session.agents)];
  return everybody.find((agent) => agent.id === id)?.name ?? id;
}

export function said(login) {
  return centre.entries.filter((entry) => entry.login === login);
}

export function unread(login) {
  const seen = desk.read[login] ?? 0;
  return said(login).filter((entry) => entry.n > seen && entry.side === "customer").length;
}
