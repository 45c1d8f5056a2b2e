// The operators' console: sign-in, the pages by their addresses, and the look at the server. Begins here.

import { call, CallError } from "./call.js";
import { find, make, replace, themes } from "./dom.js";
import { box, muted, Pulse, reason, tried } from "./parts.js";
import { PAGES } from "./views.js";
import { speak, switchLanguage, word } from "./words.js";

const main = find("main");
const pulse = new Pulse(failed);
let who = "";
let shown = "";

/** Page and what it is about: `#/room/!abc:example.org` is ["room", "!abc:example.org"]. */
function address() {
  const [page, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  let about = rest.join("/");
  try {
    about = decodeURIComponent(about);
  } catch {
    // Somebody typed it; it is looked up as it is.
  }
  return [Object.hasOwn(PAGES, page) ? page : "live", about];
}

function fresh(up) {
  const state = find("fresh");
  state.toggleAttribute("data-up", up);
  const said = word(up ? "fresh" : "stale");
  if (state.textContent !== said) state.textContent = said;
}

function failed(error) {
  if (error instanceof CallError && error.status === 401) return signedOut();
  fresh(false);
  if (!main.dataset.drawn) replace(main, box(document.title, muted(reason(error))));
  return undefined;
}

function drawTabs() {
  const [page] = address();
  replace(find("tabs"), Object.entries(PAGES).filter(([, one]) => !one.hidden).map(([name]) => make("a", {
    href: `#/${name}`, textContent: word(name), "aria-current": name === page && "page", "data-key": name,
  })));
  find("tabs").setAttribute("aria-label", word("menu"));
  find("tabs").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function show() {
  if (!who) return;
  const [page, about] = address();
  const { open, seconds } = PAGES[page];
  const here = `${page}/${about}`;
  drawTabs();
  document.title = `${word(page)} · WebChat`;
  if (here !== shown) {
    delete main.dataset.drawn;
    replace(main, muted(word("loading")));
  }
  shown = here;
  const look = open(about, () => pulse.beat());
  pulse.show(async (current) => {
    const parts = await look();
    if (!current()) return;
    fresh(true);
    main.dataset.drawn = "yes";
    replace(main, parts);
  }, seconds);
}

function frame() {
  speak();
  find("language").lang = document.documentElement.lang === "en" ? "zh-CN" : "en";
  find("me").textContent = who && word("signedInAs", { who });
  find("sign-out").hidden = find("tabs").hidden = !who;
  drawTheme();
}

function signedOut(why = "") {
  pulse.stop();
  who = shown = "";
  find("fresh").textContent = "";
  frame();
  document.title = `${word("signIn")} · WebChat`;
  replace(main, box(word("signIn"), why && make("p", { className: "bad", role: "alert", textContent: why }),
    make("p", { textContent: word("signInHint") }),
    make("code", { className: "line", textContent: "matrix-webchat console-link -c config.yaml" })));
}

async function begin() {
  const secret = /^#sign-in=([\w-]+)$/.exec(location.hash)?.[1];
  let why = "";
  if (secret) {
    // Out of the address and of the history: whoever looks over a shoulder sees no secret.
    history.replaceState(null, "", "#/live");
    try {
      await call("sign-in", { body: { secret } });
    } catch (error) {
      why = reason(error);
    }
  }
  try {
    who = (await call("session")).who;
  } catch (error) {
    const over = error instanceof CallError && error.status === 401;
    return signedOut(why || (over ? "" : reason(error)));
  }
  frame();
  return show();
}

const drawTheme = themes(find("theme"), (theme) => `${word("theme")}: ${word(theme)}`);
find("language").addEventListener("click", () => {
  switchLanguage();
  frame();
  if (who) show();
  else signedOut();
});
find("sign-out").addEventListener("click", async () => {
  await tried(() => call("sign-out", { body: {} }));
  signedOut(word("signedOut"));
});
window.addEventListener("hashchange", () => {
  if (location.hash.startsWith("#sign-in=")) begin();
  else show();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

speak();
frame();
begin();
