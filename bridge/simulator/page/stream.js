// The line to the simulator: views come in by WebSocket, what agents do goes out as operations.

import { complain } from "./dom.js";
import { word } from "./words.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 8000;

/** The centre as last seen, with every entry since the desk was opened. */
export const centre = {
  up: false, run: "", last: 0, dialect: "", types: false, open_hours: true,
  agents: [], queues: {}, ratings: {}, waiting: [], sessions: [], entries: [], seenAt: 0,
};

/**
 * Keep a WebSocket open for ever. `changed(fresh, anew)` is called after each view and each loss: with
 * the entries that are new, and true if the server began anew and all before is void.
 */
export function listen(changed) {
  let wait = FIRST_WAIT;
  const connect = () => {
    const where = new URL("desk/stream", location.href);
    where.protocol = where.protocol.replace("http", "ws");
    where.search = new URLSearchParams({ run: centre.run, since: centre.last });
    const socket = new WebSocket(where);
    socket.addEventListener("message", (event) => {
      wait = FIRST_WAIT;
      const view = JSON.parse(event.data);
      const anew = view.run !== centre.run;
      changed(take(view, anew), anew);
    });
    socket.addEventListener("close", () => {
      centre.up = false;
      changed([], false);
      setTimeout(connect, wait);
      wait = Math.min(wait * 2, LONGEST_WAIT);
    });
  };
  connect();
}

function take(view, anew) {
  if (anew) centre.entries = [];
  const { entries, ...rest } = view;
  Object.assign(centre, rest, { up: true, seenAt: performance.now() });
  centre.entries.push(...entries);
  return entries;
}

/** Seconds since the last view: views tell durations, which go on growing. */
export const sinceView = () => (performance.now() - centre.seenAt) / 1000;

/** Carry out one operation; what it answers, or null after telling the agent why not. */
export async function act(operation, { silent = false } = {}) {
  try {
    const response = await fetch("_sim/do", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(operation),
    });
    const answer = await response.json();
    if (answer.ok) return answer;
    if (!silent) complain(word("failed", { reason: answer.error }));
  } catch (error) {
    if (!silent) complain(word("failed", { reason: error.message }));
  }
  return null;
}
