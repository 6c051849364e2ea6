// The figures around the images: vitals, classes, cameras, failures, system, troubles.

import { byId, el, reconcile, say, svg } from "./dom.js";
import { ago, bytes, count, fullTime, ms, moment, rate, span } from "./format.js";
import { why } from "./feed.js";

const LOW_DISK = 0.1;
const FULL_DISK = 0.02;
const HOT_CELSIUS = 80;
const OLD_SECONDS = 3_600;
const MOST_FAILURES = 20;

/** [title, figure, unit, a line below, "good", "warn" or "bad"] */
function vitals({ status, disk, day }) {
  const { stats } = status;
  const found = [
    ["Last 24 hours", count(day.images), "images", day.failed ? `${count(day.failed)} failed` : "none failed"],
    ["Now", rate(stats.images_per_second.window), "/s", `over ${span(stats.window_seconds)}`],
    [`p95, last ${span(stats.window_seconds)}`, ...latencyOf(stats.latency_ms.window.total)],
    ["Waiting", count(stats.counters.waiting), "", status.paused ? "paused" : `${count(stats.queues.paths)} in the queue`, status.paused ? "warn" : ""],
    broker(status),
    diskOf(disk),
  ];
  if (stats.temperature_celsius !== null) {
    const hot = stats.temperature_celsius >= HOT_CELSIUS;
    found.push(["Processor", stats.temperature_celsius.toFixed(0), "°C", hot ? "throttling" : "temperature", hot ? "warn" : ""]);
  }
  return found;
}

/** A dash where nothing was measured: no image in 0.0 ms. */
function latencyOf({ count: images, p50, p95 }) {
  return images ? [...ms(p95).split(" "), `p50 ${ms(p50)}`] : ["–", "", "no image in that time"];
}

function broker({ mqtt, stats }) {
  if (!mqtt) return ["Broker", "Off", "", "no MQTT"];
  const waiting = stats.queues.outbox;
  const more = waiting ? `${count(waiting)} in the outbox` : `${count(mqtt.published)} published`;
  return mqtt.connected ? ["Broker", "Connected", "", more, "good"] : ["Broker", "Offline", "", more, "bad"];
}

function diskOf({ free_bytes: free, total_bytes: total }) {
  const state = free < total * FULL_DISK ? "bad" : free < total * LOW_DISK ? "warn" : "";
  return ["Disk, free", ...bytes(free), `of ${bytes(total).join(" ")}`, state];
}

function showVitals(overview) {
  reconcile(byId("vitals"), vitals(overview), {
    key: ([title]) => title,
    make: ([title]) => el("div", { class: "vital" }, el("dt", {}, title), el("dd", {}, el("span"), " ", el("small")), el("dd", { class: "more" })),
    update(tile, [, figure, unit, more, state]) {
      tile.className = `vital ${state ?? ""}`;
      say(tile.querySelector("span"), figure);
      say(tile.querySelector("small"), unit);
      say(tile.querySelector(".more"), more ?? "");
    },
  });
}

/** A list of buttons; says so where there is nothing. */
function rows(section, items, { key, make, update, none }) {
  const list = byId(section).querySelector("ul, ol");
  reconcile(list, items.length ? items : [null], {
    key: (item) => (item ? key(item) : ""),
    make: (item) => (item ? make(item) : el("li", { class: "none-yet" }, none)),
    update: (element, item) => item && update(element.firstChild, item),
  });
}

function eye() {
  const drawn = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" });
  drawn.append(svg("path", { d: "M1 8c2-3.4 4.3-5 7-5s5 1.6 7 5c-2 3.4-4.3 5-7 5s-5-1.6-7-5z" }), svg("circle", { cx: 8, cy: 8, r: 2.2 }));
  return drawn;
}

export class Panels {
  constructor({ filters, onOpen, onSees }) {
    Object.assign(this, { filters, onOpen, onSees });
    this.failures = [];
  }

  show(overview) {
    const { status, cameras, day } = overview;
    say(byId("device"), status.device);
    byId("leave").hidden = !overview.protected;
    showVitals(overview);
    this.showClasses(Object.entries(day.classes));
    this.showCameras(Object.entries(cameras), status.stats.problems ?? {}, overview.time);
    this.filters.setCameras(Object.keys(cameras));
    this.filters.setLabels(Object.keys(day.classes));
    showSystem(overview);
  }

  showClasses(classes) {
    const most = Math.max(...classes.map(([, number]) => number), 1);
    const chosen = this.filters.values.label;
    rows("classes", classes, {
      none: "Nothing yet.",
      key: ([label]) => label,
      make: ([label]) =>
        el("li", {}, el("button", { type: "button", onclick: () => this.filters.toggle("label", label) }, el("span", { class: "name" }, label), el("span", { class: "figure" }))),
      update(button, [label, number]) {
        button.style.setProperty("--share", number / most);
        button.setAttribute("aria-pressed", label === chosen);
        say(button.querySelector(".figure"), count(number));
      },
    });
  }

  showCameras(cameras, problems, now) {
    const chosen = this.filters.values.camera;
    const told = Object.keys(problems).filter((name) => !cameras.some(([camera]) => camera === name));
    const all = [...cameras, ...told.map((name) => [name, { last: 0, images: 0 }])];
    const inTrouble = all.filter(([name]) => Object.keys(problems[name] ?? {}).length).length;
    say(byId("cameras").querySelector("small"), inTrouble ? `${count(inTrouble)} of ${count(all.length)} with a problem` : all.length > 1 ? count(all.length) : "");
    all.sort(([one], [other]) => Object.keys(problems[other] ?? {}).length - Object.keys(problems[one] ?? {}).length || one.localeCompare(other));
    rows("cameras", all, {
      none: "No camera has sent anything yet.",
      key: ([name]) => name,
      make: ([name]) =>
        el(
          "li",
          { class: "camera" },
          el(
            "button",
            { type: "button", onclick: () => this.filters.toggle("camera", name) },
            el("span", { class: "dot" }),
            el("span", { class: "name" }, name, el("span", { class: "problem" })),
            el("span", { class: "figure number" }),
            el("span", { class: "figure when" }),
          ),
          el("button", { type: "button", class: "eye", title: "What the model sees", "aria-label": `What the model sees of ${name}`, onclick: () => this.onSees(name) }, eye()),
        ),
      update(button, [name, { last, images }]) {
        const words = Object.values(problems[name] ?? {}).join("; ");
        const old = now - last > OLD_SECONDS;
        button.querySelector(".dot").className = `dot ${words ? "warn" : old ? "old" : ""}`;
        button.setAttribute("aria-pressed", name === chosen);
        say(button.querySelector(".problem"), words);
        say(button.querySelector(".number"), count(images));
        say(button.querySelector(".when"), last ? ago(Math.max(now - last, 0)) : "never");
      },
    });
  }

  setFailures(records) {
    this.failures = records.slice(0, MOST_FAILURES);
    rows("failures", this.failures, {
      none: "None on record.",
      key: (record) => record.id,
      make: (record) =>
        el(
          "li",
          {},
          el(
            "button",
            { type: "button", onclick: () => this.onOpen(record) },
            el("span", { class: "name" }, record.image_path, el("span", { class: "why" }, why(record))),
            el("span", { class: "figure when" }, moment(new Date(record.time))),
          ),
        ),
      update() {},
    });
  }

  addFailure(record) {
    if (!this.failures.some((known) => known.id === record.id)) this.setFailures([record, ...this.failures]);
  }
}

function showSystem({ status, streams }) {
  const { model, stats } = status;
  const facts = [
    ["Model", model.name],
    ["Precision", `${model.quantization}, ${model.backend}`],
    ["Classes", count(model.classes)],
    ["Watching", status.watch.join(", ")],
    ["Memory", bytes(stats.memory_bytes).join(" ")],
    ["Up for", span(stats.uptime_seconds)],
    ["Version", status.version],
    ["Dashboards", count(streams)],
  ];
  const { files = {}, linked = [], followed = {}, unfollowed = {} } = stats.folders.ignored ?? {};
  const ignored = Object.entries(files).map(([kind, number]) => `${kind} ${count(number)}`);
  ignored.push(...[...linked, ...Object.keys(unfollowed)].map((path) => `${path} (a link to a folder)`));
  const links = Object.entries(followed).map(([path, place]) => `${path}: ${place}`);
  if (links.length) facts.push(["Linked", links.join(", ")]);
  if (ignored.length) facts.push(["Ignored", ignored.join(", ")]);
  if (model.guess) facts.splice(1, 0, ["Guess", model.guess]);
  if (model.instead_of.length) facts.splice(1, 0, ["Fallback", model.instead_of.join("; ")]);
  reconcile(byId("system").querySelector("dl"), facts.flatMap(([name, value]) => [["dt", name, name], ["dd", name, value]]), {
    key: ([kind, name]) => `${kind} ${name}`,
    make: ([kind]) => el(kind),
    update: (element, [, , text]) => say(element, text),
  });
}

/** What is wrong now; `lost` is when the daemon was last heard of, or null. */
export function showNotices(troubles, lost) {
  const notices = Object.entries(troubles).map(([part, text]) => ({
    key: part,
    name: `${part}:`,
    text: text.startsWith(`${part} `) ? text.slice(part.length + 1) : text,
  }));
  if (lost) {
    const text = `Shown as of ${fullTime(lost)}. Reconnecting …`;
    notices.unshift({ key: `lost ${+lost}`, name: "The daemon does not answer.", text, bad: true });
  }
  reconcile(byId("notices"), notices, {
    key: ({ key }) => key,
    make: ({ bad }) => el("p", { class: `notice${bad ? " bad" : ""}` }, el("span", {}, el("b"), " ", el("span"))),
    update(element, { name, text }) {
      say(element.querySelector("b"), name);
      say(element.querySelector("span span"), text);
    },
  });
}
