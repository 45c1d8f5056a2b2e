// Plots: points over time with their grid (SVG), and bars. Colours and sizes are the stylesheet's.

import { make } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 640;
const LEFT = 72;
const TOP = 12;
const BOTTOM = 26;

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Round numbers from 0 to at least `most`, four or five of them. */
export function ticks(most, steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400]) {
  const step = steps.find((one) => most / one <= 4) ?? Math.ceil(most / 4 / 14400) * 14400;
  const found = [];
  for (let at = 0; at < most + step; at += step) found.push(at);
  return found;
}

/**
 * Points over time. `series`: [{name, points: [{at, seconds, answered}, …]}], one colour each; those
 * without an answer are hollow. `title` is what a screen reader says; each point says its own.
 */
export function scatter(series, { title, unit, moment, vain, height = 220 }) {
  const points = series.flatMap((one) => one.points);
  const rows = ticks(Math.max(1, ...points.map((one) => one.seconds)));
  const [from, to] = [Math.min(...points.map((one) => one.at)), Math.max(...points.map((one) => one.at))];
  const x = (ms) => LEFT + (to === from ? 0.5 : (ms - from) / (to - from)) * (WIDTH - LEFT - 12);
  const y = (value) => TOP + (1 - value / rows.at(-1)) * (height - TOP - BOTTOM);
  const plot = draw("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": title });
  for (const row of rows) {
    plot.append(
      draw("line", { class: "grid", x1: LEFT, x2: WIDTH - 8, y1: y(row), y2: y(row) }),
      draw("text", { class: "tick", x: LEFT - 8, y: y(row) + 4, "text-anchor": "end" }, unit(row)),
    );
  }
  const shares = to === from ? [0.5] : [0, 0.25, 0.5, 0.75, 1];
  for (const share of shares) {
    const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
    const ms = from + (to - from) * share;
    plot.append(draw("text", { class: "tick", x: x(ms), y: height - 6, "text-anchor": anchor }, moment(ms)));
  }
  series.forEach((one, index) => {
    for (const point of one.points) {
      const dot = draw("circle", { class: `dot s${index % 4}`, cx: x(point.at), cy: y(point.seconds), r: 4.5 });
      if (!point.answered) dot.setAttribute("data-vain", "");
      const told = `${one.name}, ${moment(point.at)}: ${unit(point.seconds)}${point.answered ? "" : ` (${vain})`}`;
      dot.append(draw("title", {}, told));
      plot.append(dot);
    }
  });
  return plot;
}

/** Bars, one below the other. `rows`: [{name, value}]; each says its own number. */
export function bars(rows, { title, unit }) {
  const most = Math.max(1, ...rows.map((row) => row.value));
  return make("div", { className: "bars", role: "img", "aria-label": title }, rows.flatMap(({ name, value }, index) => {
    const bar = make("span", { className: `filled s${index % 4}` });
    bar.style.width = `calc((100% - 6.5em) * ${value / most})`;
    return [make("span", { textContent: name }), make("span", {}, bar, unit(value))];
  }));
}
