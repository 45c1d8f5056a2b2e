// The Matrix widget API, as much of it as a page needs to say who its reader is.
//
// The client and we talk by postMessage. Ours go to the page's parent alone, and only its are heard.
// Nothing that it says is believed: a token is the homeserver's word, and our server asks for it.

const PATIENCE = 60_000;
/** ms: the client may have to ask the user first. */
const API = "fromWidget";

const query = new URLSearchParams(location.search);
const widgetId = query.get("widgetId") ?? "";
const answered = new Map();
const events = new EventTarget();
let counted = 0;

/** True if somebody shows us in a frame. */
export const framed = window.parent !== window;

function post(message) { window.parent.postMessage(message, "*"); }

function ask(action) {
  const requestId = `webchat-${Date.now()}-${counted += 1}`;
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => { answered.delete(requestId); reject(new Error("late")); }, PATIENCE);
    answered.set(requestId, (response) => {
      clearTimeout(late);
      resolve({ requestId, response });
    });
    post({ api: API, requestId, action, widgetId, data: {} });
  });
}

function hear(event) {
  const message = event.data;
  if (event.source !== window.parent || typeof message !== "object" || message === null) return;
  if (message.api === API) {
    const resolve = answered.get(message.requestId);
    if (resolve && message.response) {
      answered.delete(message.requestId);
      resolve(message.response);
    }
  } else if (message.api === "toWidget" && !message.response) {
    const replies = {
      capabilities: { capabilities: [] },
      supported_api_versions: { supported_versions: ["0.0.1", "0.0.2"] },
    };
    post({ ...message, response: replies[message.action] ?? {} });
    events.dispatchEvent(new CustomEvent(message.action, { detail: message.data ?? {} }));
  }
}

window.addEventListener("message", hear);

/** Hear what the client says of itself: `theme_change`, `language_change`. */
export const onClient = (action, then) =>
  events.addEventListener(action, (event) => then(event.detail));

/** An OpenID token of the user's; Error "blocked" (they said no) or "late". */
export async function openIdToken() {
  const { requestId, response } = await ask("get_openid");
  if (response.error) throw new Error("blocked");
  let told = response;
  if (told.state === "request") {
    told = await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error("late")), PATIENCE);
      onClient("openid_credentials", (credentials) => {
        if (credentials.original_request_id !== requestId) return;
        clearTimeout(late);
        resolve(credentials);
      });
    });
  }
  if (told.state !== "allowed" || typeof told.access_token !== "string") throw new Error("blocked");
  return told.access_token;
}
