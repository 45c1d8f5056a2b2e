// Making and replacing elements without ever parsing text as markup.

/** What has no property of its name that could be set. */
const ATTRIBUTES = new Set(["role", "lang", "form"]);

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
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

export const find = (id) => document.getElementById(id);

/** Put children in place of the old ones; whoever had the focus (by data-key) has it still. */
export function replace(parent, children) {
  const focused = parent.contains(document.activeElement)
    ? document.activeElement.dataset.key
    : undefined;
  parent.replaceChildren(...children);
  if (focused) parent.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

/** Initials on a colour that belongs to the id, or to the name that stands for one. */
export function face(name, id, small = false) {
  const circle = make("span", {
    className: small ? "face small" : "face",
    textContent: initials(name),
    "aria-hidden": "true",
  });
  colour(circle, id);
  return circle;
}

export function colour(element, id) {
  let hue = 0;
  for (const letter of id) hue = (hue * 31 + letter.codePointAt(0) * 67) % 360;
  element.style.setProperty("--hue", hue);
}

export function initials(name) {
  const letters = [...name.replace(/[^\p{L}\p{N} ]/gu, " ").trim()];
  return (letters[0] ?? "?").toUpperCase();
}

/** A modal dialog; closed by Escape, by its own buttons, and by `close()`. */
export function dialog(title, content, buttons = []) {
  const name = `dialog-${Math.random().toString(36).slice(2)}`;
  const box = make(
    "dialog",
    { "aria-labelledby": name, onclose: () => box.remove() },
    make("h2", { id: name, textContent: title }),
    ...content,
    make("div", { className: "row" }, ...buttons),
  );
  document.body.append(box);
  box.showModal();
  return box;
}

/** A sentence about something that failed, for some seconds. */
export function complain(sentence) {
  const line = make("p", { textContent: sentence });
  find("toasts").append(line);
  setTimeout(() => line.remove(), 7000);
}
