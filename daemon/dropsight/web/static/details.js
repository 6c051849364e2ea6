// One record, looked at closely: the picture, what it may show, what that took, and the record itself.

import { player } from "./clips.js";
import { byId, el, say } from "./dom.js";
import { bytes, count, fullTime, ms, percent, rate, seconds, shows, span } from "./format.js";
import { why } from "./feed.js";
import { photo, picture } from "./pictures.js";
import { fetchJson, order } from "./stream.js";

const LONGEST_EXPLANATION_SECONDS = 130;
const STAGES = ["wait", "decode", "preprocess", "inference", "postprocess"];

export class Details {
  constructor({ neighbour, onClosed }) {
    this.dialog = byId("details");
    this.neighbour = neighbour;
    this.dialog.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (event.target === this.dialog || button?.hasAttribute("data-close")) this.dialog.close();
      else if (button?.dataset.go) this.go(Number(button.dataset.go));
    });
    this.dialog.addEventListener("keydown", (event) => {
      if (event.defaultPrevented || event.target.closest("video")) return; // they have a use of their own for these
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) this.go(step);
    });
    this.dialog.addEventListener("close", () => onClosed(this.record));
  }

  get open() {
    return this.dialog.open;
  }

  /** `view` is what of it to show first, where there is that. */
  show(record, view) {
    this.record = record;
    byId("details-title").textContent = shows(record) ?? (record.status === "expired" ? "Expired" : "Failed");
    this.dialog.querySelector(".body").replaceChildren(look(record, view), told(record));
    this.renew();
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** Which ways there are to go may change as images come. */
  renew() {
    if (!this.record) return;
    for (const button of this.dialog.querySelectorAll("[data-go]")) {
      button.disabled = !this.neighbour(this.record.id, Number(button.dataset.go));
    }
  }

  go(step) {
    const next = this.neighbour(this.record.id, step);
    if (next) this.show(next);
  }
}

function look(record, view) {
  const clip = record.clip && player(record);
  const frame = el("div", { class: "frame" });
  const name = record.label ? `${shows(record)}, from ${record.camera}` : `from ${record.camera}`;
  const views = {
    clip: () => clip.frame,
    image: () => picture(record, { size: "large", alt: `The image: ${name}`, none: "The image is no longer there, or cannot be shown." }),
    seen: () => picture(record, { size: "", path: "seen", alt: `What the model sees: ${name}`, none: "The image is no longer there, or cannot be shown." }),
    why: () => explanation(record, `What the answer came from: ${name}`),
  };
  const first = clip ? "clip" : "image";
  const explained = record.status === "ok" ? { [first]: clip ? "Clip" : "Image", seen: "Model's view", why: "Explain" } : {};
  const buttons = Object.entries(explained).map(([key, text]) =>
    el("button", { class: "quiet", type: "button", data: { key }, onclick: () => turn(key) }, text),
  );
  function turn(key) {
    clip?.pause();
    frame.classList.toggle("frame", key !== "clip"); // a player has one of its own
    frame.replaceChildren(views[key]());
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.key === key);
  }
  if (record.status === "failed" && !record.image) {
    frame.append(el("span", { class: "none" }, "It contains no picture."));
  } else turn(view in explained ? view : first);
  return el("div", { class: "look" }, frame, ...(clip?.rest ?? []), el("div", { class: "views" }, ...buttons, record.image && download(record)));
}

const download = (record) => el("a", { class: "quiet", href: `/api/images/${photo(record)}/original`, download: "" }, "Download");

/** The overlay; the daemon makes it first where there is none, and says why where it cannot. */
function explanation(record, alt) {
  const began = Date.now();
  const words = el("span", { class: "none", role: "status" }, "Explaining …");
  const ticking = setInterval(() => say(words, `Explaining … ${Math.round((Date.now() - began) / 1000)} s`), 1_000);
  order(`/api/images/${photo(record)}/explanation`, { seconds: LONGEST_EXPLANATION_SECONDS })
    .then(() => words.replaceWith(picture(record, { size: "", path: "explanation", alt, none: "The overlay is no longer there." })))
    .catch((error) => say(words, `Not explained: ${error.message}`))
    .finally(() => clearInterval(ticking));
  return words;
}

function told(record) {
  return el(
    "div",
    { class: "told" },
    record.status === "ok" ? answer(record) : el("p", { class: "error" }, el("b", {}, record.error?.code ?? record.status), why(record)),
    facts(record),
    latency(record),
    raw(record),
  );
}

function answer(record) {
  if (record.regions) return el("div", { class: "several" }, ...record.regions.map((region) => answers(region.name, region)));
  const heads = Object.entries(record.heads ?? {});
  if (!heads.length) return answers("What it shows", record);
  return el("div", { class: "several" }, ...heads.map(([name, head]) => answers(name, head)));
}

function answers(title, { predictions, present }) {
  const there = new Set((present ?? []).map((each) => each.label));
  const likely = predictions.filter(({ confidence }, index) => index === 0 || confidence > 0).slice(0, 5);
  const bars = likely.map(({ label, confidence }) =>
    el(
      "li",
      {},
      el("span", { class: "name" }, label),
      el("span", { class: "figure" }, there.has(label) ? `present, ${percent(confidence)}` : percent(confidence)),
      el("span", { class: "meter", "--share": confidence }, el("i")),
    ),
  );
  return el("section", {}, el("h3", {}, title), el("ol", { class: "top5" }, ...bars));
}

function facts(record) {
  const { burst, image, model } = record;
  const found = [
    record.group && ["Group", `${record.group}, ${percent(record.group_confidence)}`],
    record.would_be && ["Would be", `${record.would_be}, ${percent(record.confidence)}`],
    record.prediction_set && ["One of", record.prediction_set.join(", ")],
    ["Camera", record.camera],
    record.region && ["Region", `${record.region}, the surest of ${count(record.regions.length)}`],
    burst && ["Burst", `${count(burst.count)} photos in ${span(lasted(burst))}, one answer by ${burst.aggregate}`],
    [burst ? "Surest in" : "File", record.image_path],
    ["Recorded", fullTime(new Date(record.time))],
    image && ["Captured", fullTime(new Date(image.captured))],
    ...(record.clip ? clipFacts(record) : []),
    image && !record.clip && ["Image", `${image.width} × ${image.height} ${image.format.toUpperCase()}, ${bytes(image.bytes).join(" ")}`],
    model && ["Model", `${model.name} (${model.quantization})`],
    record.warnings && ["Warnings", record.warnings.join("; ")],
    record.tta > 1 && ["Views averaged", String(record.tta)],
  ].filter(Boolean);
  return el("dl", { class: "facts" }, ...found.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function clipFacts({ clip, image }) {
  const size = image ? `, ${bytes(image.bytes).join(" ")}` : "";
  const still = clip.timeline.length - clip.frames_classified;
  return [
    ["Clip", `${seconds(clip.duration)} of ${clip.codec}, ${clip.width} × ${clip.height}${size}`],
    ["Surest", `at ${seconds(clip.peak.time)}: ${clip.peak.label}, ${percent(clip.peak.confidence)}`],
    ["Frames", `${rate(clip.fps)} a second, ${count(clip.timeline.length)} looked at (${clip.sampling})${still > 0 ? `, ${count(still)} like the one before` : ""}`],
    ["One answer by", clip.aggregate],
  ];
}
const lasted = ({ begin, end }) => (new Date(end) - new Date(begin)) / 1000;

function latency({ latency_ms: spent }) {
  const parts = STAGES.map((name) => [name, spent[name]]);
  const rest = spent.total - parts.reduce((sum, [, value]) => sum + value, 0);
  parts.push(["recorded", Math.max(rest, 0)]);
  const shown = parts.map(([name, value], index) => ({ name, value, index })).filter(({ value }) => value >= 0.05);
  return el(
    "section",
    {},
    el("h3", {}, `On record after ${ms(spent.total)}`),
    el("div", { class: "stages", "aria-hidden": "true" }, ...shown.map(({ value, index }) => el("i", { class: `k${index}`, "--share": value }))),
    el("p", { class: "key" }, ...shown.map(({ name, value, index }) => el("span", {}, el("i", { class: `k${index}` }), `${name} ${ms(value)}`))),
  );
}

function raw(record) {
  const text = el("pre", { tabIndex: 0, "aria-label": "The record as JSON" });
  const section = el("details", {}, el("summary", {}, "Record"), text);
  section.addEventListener("toggle", async () => {
    if (!section.open || text.textContent) return;
    const found = await fetchJson(`/api/records/${record.id}`).catch(() => record);
    text.textContent = JSON.stringify(found, null, 2);
  });
  return section;
}
