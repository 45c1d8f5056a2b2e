// Agents write HTML and WeChat faces. Shown here is a safe likeness: known elements, nothing else.

const KEPT = new Set(["B", "STRONG", "I", "EM", "U", "S", "P", "DIV", "SPAN", "UL", "OL", "LI",
  "TABLE", "TBODY", "THEAD", "TR", "TD", "TH", "CODE", "PRE", "BLOCKQUOTE", "H1", "H2", "H3"]);
const DROPPED = new Set(["SCRIPT", "STYLE", "TEMPLATE", "IFRAME", "OBJECT", "NOSCRIPT", "TITLE"]);

let faces = [];
let pattern = null;
let meaning = new Map();

/** The 105 faces: `[code, names, Unicode]`, by index. */
export async function loadFaces() {
  faces = (await (await fetch("desk/faces")).json()).faces;
  meaning = new Map();
  for (const [code, names, glyph] of faces) {
    meaning.set(code, glyph);
    meaning.set(escaped(code), glyph);
    for (const name of names.split("/")) meaning.set(`[${name}]`, glyph);
  }
  const tokens = [...meaning.keys()].sort((a, b) => b.length - a.length);
  pattern = new RegExp(tokens.map(source).join("|"), "g");
  return faces;
}

const escaped = (code) => code.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function source(token) {
  const literal = token.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  return /^\/:[A-Za-z]+$/.test(token) ? `${literal}(?![A-Za-z])` : literal;
}

/** Faces in place of their codes. */
export function withFaces(text) {
  return pattern ? text.replace(pattern, (code) => meaning.get(code)) : text;
}

/** HTML as nodes that can do no harm and load nothing. */
export function likeness(html) {
  const parsed = new DOMParser().parseFromString(withFaces(html), "text/html");
  const target = document.createDocumentFragment();
  copy(parsed.body, target);
  return target;
}

function copy(from, to) {
  for (const node of from.childNodes) {
    if (node.nodeType === Node.TEXT_NODE) to.append(node.data);
    else if (node.nodeType === Node.ELEMENT_NODE && !DROPPED.has(node.tagName)) element(node, to);
  }
}

function element(node, to) {
  if (node.tagName === "BR") to.append("\n");
  else if (node.tagName === "IMG") to.append(picture(node));
  else if (node.tagName === "A" && /^https?:/i.test(node.getAttribute("href") ?? "")) {
    const link = document.createElement("a");
    Object.assign(link, { href: node.href, target: "_blank", rel: "noopener noreferrer" });
    copy(node, link);
    to.append(link);
  } else if (KEPT.has(node.tagName)) {
    const kept = document.createElement(node.tagName);
    copy(node, kept);
    to.append(kept);
  } else copy(node, to);
}

function picture(node) {
  const index = /\bqqemoji(\d{1,3})\b/.exec(node.className)?.[1];
  if (index !== undefined && faces[index]) return faces[index][2];
  const address = node.getAttribute("src") ?? "";
  if (address.startsWith("data:image/")) {
    const image = document.createElement("img");
    Object.assign(image, { src: address, alt: node.alt });
    return image;
  }
  return `🖼 ${node.alt || address}`;
}

/** Typed text as the HTML that goes over the wire. */
export function toHtml(text) {
  return escaped(text).replaceAll("\n", "<br>");
}
