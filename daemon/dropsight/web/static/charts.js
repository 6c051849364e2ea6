// Small line charts of the course; drawn by hand, since a library would weigh more than the page.

import { el, say, svg } from "./dom.js";
import { time } from "./format.js";

const HEIGHT = 96;
const FOOT = 16;

export class Chart {
  /** `series`: {name, of(point), gaps, pointedOnly: no figure unless pointed at} from the strongest to the faintest line; the first may be an area. */
  constructor(place, { title, series, format, area = false, least = 1 }) {
    Object.assign(this, { series, format, least, title });
    this.points = [];
    this.outputs = series.map(() => el("output"));
    const keys = series.map(({ name }, index) =>
      el("span", { class: `s${index}` }, series.length > 1 ? el("i") : null, name ? `${name} ` : "", this.outputs[index]),
    );
    this.svg = svg("svg", { role: "img" });
    this.area = area ? this.svg.appendChild(svg("path", { class: "area" })) : null;
    this.grid = this.svg.appendChild(svg("path", { class: "grid" }));
    this.lines = series.map((_, index) => this.svg.appendChild(svg("path", { class: `stroke s${index}` })));
    this.lines.toReversed().forEach((line) => this.svg.appendChild(line));
    this.cursor = this.svg.appendChild(svg("path", { class: "cursor" }));
    this.top = this.svg.appendChild(svg("text", { x: 0, y: 10 }));
    this.from = this.svg.appendChild(svg("text", { x: 0, y: HEIGHT - 2 }));
    this.to = this.svg.appendChild(svg("text", { y: HEIGHT - 2, "text-anchor": "end" }));
    this.heading = el("b", {}, title);
    place.replaceChildren(el("div", { class: "legend" }, this.heading, ...keys), this.svg);
    this.svg.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => this.draw()).observe(place);
  }

  /** Draw these points; `span` seconds fill the width. */
  set(points, span) {
    this.points = points;
    this.span = span;
    this.draw();
  }

  draw() {
    const { points, series } = this;
    const width = this.svg.clientWidth;
    if (!width || !this.span) return;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const foot = HEIGHT - FOOT;
    const busy = points.filter((point) => point.images_per_second > 0);
    this.grid.setAttribute("d", `M0 ${foot + 0.5}H${width}M0 14.5H${width}`);
    const most = nice(Math.max(this.least, ...busy.map((point) => Math.max(...series.map(({ of }) => of(point))))));
    const end = points.at(-1)?.time ?? 0;
    this.x = (at) => width - ((end - at) / this.span) * width;
    const y = (value) => foot - (Math.min(value, most) / most) * (foot - 14);
    series.forEach(({ of, gaps }, index) => this.lines[index].setAttribute("d", path(points, this.x, y, of, gaps)));
    this.area?.setAttribute("d", filled(points, this.x, y, series[0].of, foot));
    say(this.top, this.format(most));
    say(this.from, `−${Math.round(this.span / 60)} min`);
    say(this.to, "now");
    this.to.setAttribute("x", width);
    this.point(this.at ?? null);
  }

  /** Show the figures under the pointer, or else the last ones. */
  point(offset) {
    this.at = offset;
    const { points } = this;
    if (!points.length) return;
    const nearest = (best, point) => (Math.abs(this.x(point.time) - offset) < Math.abs(this.x(best.time) - offset) ? point : best);
    const found = offset === null ? points.at(-1) : points.reduce(nearest);
    this.series.forEach(({ of, gaps, pointedOnly }, index) => {
      const words = gaps && !found.images_per_second ? "–" : this.format(of(found));
      say(this.outputs[index], offset === null && pointedOnly ? "" : words);
    });
    this.cursor.setAttribute("d", offset === null ? "" : `M${this.x(found.time)} 10V${HEIGHT - FOOT}`);
    say(this.heading, offset === null ? this.title : `${this.title}, ${time(found.time * 1000)}`);
    const told = this.series.map(({ name }, index) => `${name || this.title} ${this.outputs[index].textContent}`);
    if (offset === null) this.svg.setAttribute("aria-label", `${this.title}: ${told.join(", ")}`);
  }
}

/** Round up to a figure that reads well at the top of a scale. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 5, 10].find((step) => step * power >= value * 0.999) * power;
}

function path(points, x, y, of, gaps) {
  let pen = "M";
  let drawn = "";
  for (const point of points) {
    if (gaps && !point.images_per_second) {
      pen = "M";
      continue;
    }
    drawn += `${pen}${x(point.time).toFixed(1)} ${y(of(point)).toFixed(1)}`;
    // A lone point is a short dash.
    if (pen === "M") drawn += "h0.8";
    pen = "L";
  }
  return drawn;
}

function filled(points, x, y, of, foot) {
  if (!points.length) return "";
  const line = path(points, x, y, of, false).slice(1);
  return `M${x(points[0].time).toFixed(1)} ${foot}L${line}L${x(points.at(-1).time).toFixed(1)} ${foot}Z`;
}
