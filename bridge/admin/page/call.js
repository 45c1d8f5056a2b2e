// Calls of our own server: JSON, with the header that no other site's page can send.

export class CallError extends Error {
  constructor(status, answer) {
    super(answer.error ?? `HTTP ${status}`);
    this.status = status;
    this.key = answer.key;
  }
}

let bearer = "";

/** Carry this session from now on; the console's is a cookie and needs none. */
export function carry(token) { bearer = token; }

/** Ask `api/…`; what it answers, or CallError. `body` makes it a POST, unless `method` says else. */
export async function call(path, { query = {}, body, method } = {}) {
  const address = new URL(`api/${path}`, location.href.split(/[?#]/)[0]);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") address.searchParams.set(name, value);
  }
  const headers = { "X-WebChat": "1", "Accept-Language": document.documentElement.lang };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const asked = fetch(address, {
    method: method ?? (body === undefined ? "GET" : "POST"),
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "same-origin",
    cache: "no-store",
  });
  const response = await asked.catch(() => { throw new CallError(0, { key: "noAnswer" }); });
  let answer = {};
  try {
    answer = await response.json();
  } catch {
    // A proxy's own page, or nothing.
  }
  if (!response.ok) throw new CallError(response.status, answer);
  return answer;
}

/** How long an order that got no answer may be given again as the same one, ms. */
const AGAIN = 600_000;
const unanswered = new Map();

/** Give an order, by POST unless `method` says else. Tried again after no answer, it is still one. */
export async function give(path, body, method) {
  const asked = `${path} ${JSON.stringify(body)}`;
  let order = unanswered.get(asked);
  unanswered.delete(asked); // another, while this one is on its way, is another
  if (!order || Date.now() - order.since > AGAIN) {
    order = { id: String(crypto.getRandomValues(new BigUint64Array(1))[0]), since: Date.now() };
  }
  try {
    return await call(path, { method, body: { ...body, request_id: order.id } });
  } catch (error) {
    const refused = error.status >= 400 && error.status < 500;
    if (!refused) unanswered.set(asked, order);
    throw error;
  }
}
