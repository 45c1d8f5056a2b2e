// Making and replacing elements without ever parsing text as markup.

const ATTRIBUTES = new Set(["role", "lang", "for", "scope", "colspan"]);

const isThere = (child) => child !== undefined && child !== null && child !== false && child !== "";

/** An element with properties, listeners (`onclick`), attributes (`aria-…`, `data-…`) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || ATTRIBUTES.has(name)) {
      element.setAttribute(name, value === true ? "" : value);
    } else element[name] = value;
  }
  element.append(...children.flat().filter(isThere));
  return element;
}

export const find = (id) => document.getElementById(id);

/** What an element is found again by, once it was drawn anew. */
const keyOf = (element) => element.dataset.key ?? element.getAttribute("href");

/**
 * Put children in place of the old ones; whoever had the focus (by data-key, or where a link leads)
 * has it still, or else the content has it. The very same ones are left alone, with whatever somebody
 * is doing in them.
 */
export function replace(parent, ...given) {
  const children = given.flat().filter(isThere);
  if (children.length === parent.childNodes.length && children.every((child, at) => child === parent.childNodes[at])) return;
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const alike = () => [...parent.querySelectorAll("a, button, input, select, textarea")]
    .filter((one) => keyOf(one) === keyOf(focused));
  const at = focused && alike().indexOf(focused);
  parent.replaceChildren(...children);
  if (focused) (keyOf(focused) && (alike()[at] ?? alike()[0]) || find("main")).focus({ preventScroll: true });
}

/** A sentence for some seconds, read out as well. */
export function tell(sentence, good = false) {
  const line = make("p", { textContent: sentence, "data-good": good });
  find("toasts").append(line);
  setTimeout(() => line.remove(), good ? 7000 : 20000);
}

const here = new Map();

/** What is kept in the browser; a page in a frame may have no such place, and keeps it while it is open. */
export function kept(name, value) {
  if (value !== undefined) here.set(name, value);
  try {
    if (value !== undefined) localStorage.setItem(name, value);
    else if (!here.has(name)) return localStorage.getItem(name);
  } catch {
    // Then it is gone with the page.
  }
  return here.get(name) ?? null;
}

const THEMES = ["auto", "light", "dark"];

/**
 * The button that goes from the system's colours (in a frame: the client's) to light and dark ones;
 * `told` words it.
 */
export function themes(button, told, client = "") {
  const draw = (theirs = client) => {
    client = theirs;
    const theme = kept("webchat-theme") ?? "auto";
    document.documentElement.dataset.theme = theme === "auto" && THEMES.includes(client) ? client : theme;
    button.textContent = { auto: "◐", light: "☀", dark: "☾" }[theme];
    button.setAttribute("aria-label", told(theme));
  };
  button.addEventListener("click", () => {
    const at = THEMES.indexOf(kept("webchat-theme") ?? "auto");
    kept("webchat-theme", THEMES[(at + 1) % THEMES.length]);
    draw();
  });
  return draw;
}
