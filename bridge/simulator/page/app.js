// The agent desk: a page on the simulator's control API. Begins here.

import { drawChat, drawTyping, extendChat } from "./chat.js";
import { askFace, askPlace, changeDraft, drawTools, openVoice, pickFile, pickImage, prepareCompose } from "./compose.js";
import { find } from "./dom.js";
import { listenToKeys, showKeys, toWords } from "./keys.js";
import { drawList, drawTitle, inOrder, tick } from "./list.js";
import { actionsFor, askClose, askInvite, askRefusal, askTransfer, askWho, drawMe, pushRating } from "./panels.js";
import { customer, customers, desk, me } from "./people.js";
import { loadFaces } from "./rich.js";
import { act, centre, listen } from "./stream.js";
import { speak, switchLanguage, word } from "./words.js";

const THEMES = ["auto", "light", "dark"];
let asked = false;

function choose(login) {
  if (login !== desk.login) changeDraft(desk.login, login);
  desk.login = desk.write = login;
  document.body.dataset.pane = login ? "chat" : "list";
  markRead();
  drawList(choose, accept, askRefusal);
  drawChat(buttons);
  beginWriting();
}

/** The cursor goes to where one writes, once the chat that was chosen is this agent's. */
function beginWriting() {
  if (!desk.write || find("compose").hidden) return;
  desk.write = "";
  find("words").focus({ preventScroll: true });
}

async function accept(request) {
  if (!me()) return askWho(() => accept(request));
  const done = await act({ op: "accept", request: request.id, agent: desk.agent });
  if (done) choose(request.login);
  return done;
}

const buttons = (person) => actionsFor(person, accept);
const longest = () => customers().waiting[0]?.request;

function markRead() {
  if (desk.login && document.visibilityState === "visible") desk.read[desk.login] = centre.last;
}

function walk(step) {
  const order = inOrder();
  if (!order.length) return;
  const at = order.indexOf(desk.login);
  choose(order[(at + step + order.length) % order.length]);
}

function changed(fresh, anew) {
  const link = find("link");
  link.toggleAttribute("data-up", centre.up);
  link.textContent = word(centre.up ? "up" : "down");
  find("dialect").textContent = [centre.dialect && `WebChat ${centre.dialect}`, centre.open_hours ? "" : word("closedHours")].filter(Boolean).join(" · ");
  markRead();
  drawMe();
  drawList(choose, accept, askRefusal);
  drawTitle();
  if (anew || find("chat").hidden || !customer(desk.login)) drawChat(buttons);
  else extendChat(fresh, buttons);
  beginWriting();
  if (centre.up && !asked) {
    asked = true;
    if (!me()) askWho(() => changed([], false));
  }
}

function redraw() {
  speak();
  find("language").textContent = word("language");
  find("language").lang = document.documentElement.lang === "en" ? "zh-CN" : "en";
  find("back").setAttribute("aria-label", word("back"));
  find("help").setAttribute("aria-label", word("help"));
  find("tools").setAttribute("aria-label", word("tools"));
  find("actions").setAttribute("aria-label", word("actions"));
  find("log").setAttribute("aria-label", word("title"));
  find("words").placeholder = word("write");
  drawTools();
  drawTheme();
  changed([], false);
  drawChat(buttons);
}

function drawTheme() {
  const theme = localStorage.getItem("desk-theme") ?? "auto";
  document.documentElement.dataset.theme = theme;
  find("theme").textContent = { auto: "◐", light: "☀", dark: "☾" }[theme];
  find("theme").setAttribute("aria-label", `${word("theme")}: ${word(`theme${theme}`)}`);
}

function nextTheme() {
  const at = THEMES.indexOf(document.documentElement.dataset.theme);
  localStorage.setItem("desk-theme", THEMES[(at + 1) % THEMES.length]);
  drawTheme();
}

find("language").addEventListener("click", () => { switchLanguage(); redraw(); });
find("theme").addEventListener("click", nextTheme);
find("help").addEventListener("click", showKeys);
find("me").addEventListener("click", () => askWho(() => changed([], false)));
find("back").addEventListener("click", () => choose(""));
document.addEventListener("visibilitychange", () => changed([], false));
listenToKeys({
  a: () => longest() && accept(longest()),
  r: () => longest() && askRefusal(longest()),
  j: () => walk(1),
  k: () => walk(-1),
  w: toWords, m: askFace, i: pickImage, u: pickFile, v: openVoice, l: askPlace,
  s: pushRating, t: askTransfer, c: askInvite, x: askClose, h: showKeys,
});
setInterval(() => { tick(); drawTyping(); }, 1000);

redraw();
prepareCompose(await loadFaces());
listen(changed);
