// A clip: its length and course on a card; its film, and a timeline to be scrubbed, beside the clip that plays.

import { el, say, svg } from "./dom.js";
import { percent, seconds, shows } from "./format.js";
import { picture } from "./pictures.js";
import { statusOf } from "./stream.js";

const HUES = 6; // see clips.css; what shows for less time than these is gray
const SCALE = 1000;
const FILM_FRAMES = 8;

/** What a card has above its thumbnail: the length, and which class showed when, its confidence as height. */
export function overlay(record) {
  const length = el("span", { class: "length" }, triangle(), el("span", { "aria-hidden": "true" }, seconds(record.clip.duration)), el("span", { class: "unseen" }, ` clip of ${seconds(record.clip.duration)} `));
  return [el("span", { class: "course", "aria-hidden": "true" }, bars(new Course(record))), length];
}

function triangle() {
  const mark = svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" });
  mark.append(svg("path", { d: "M2 1l7 4-7 4z" }));
  return mark;
}

/** A record's clip as a course of frames that were looked at: {from, to, hue, label, confidence}. */
class Course {
  constructor({ clip, label, predictions }) {
    this.duration = Math.max(clip.duration, clip.timeline.at(-1)?.[0] ?? 0, 0.001);
    this.peak = clip.peak;
    const names = new Map(predictions.map((each) => [each.class, each.label]));
    for (const [at, of] of clip.timeline) {
      const segment = clip.segments.find((each) => each.from <= at && at < each.to);
      if (segment) names.set(of, segment.label);
    }
    this.frames = clip.timeline.map(([from, of, confidence], index) => ({
      from,
      to: clip.timeline[index + 1]?.[0] ?? this.duration,
      label: names.get(of) ?? `class ${of}`,
      confidence,
    }));
    const shown = new Map([[label, Infinity]]);
    for (const { from, to, label: name } of this.frames) shown.set(name, (shown.get(name) ?? 0) + to - from);
    const ranked = [...shown.keys()].sort((one, other) => shown.get(other) - shown.get(one));
    for (const frame of this.frames) frame.hue = this.hueOf(frame.label, ranked);
    this.segments = clip.segments.map((each) => ({ ...each, hue: this.hueOf(each.label, ranked) }));
  }

  hueOf(label, ranked) {
    const rank = ranked.indexOf(label);
    return rank < 0 || rank >= HUES ? "more" : rank;
  }

  at(time) {
    return this.frames.findLast(({ from }) => from <= time + 0.001) ?? this.frames[0];
  }
}

/** Confidence as height, a colour for each class. */
function bars(course) {
  const drawn = svg("svg", { viewBox: `0 0 ${SCALE} 100`, preserveAspectRatio: "none" });
  const paths = new Map();
  for (const { from, to, hue, confidence } of course.frames) {
    const [left, width] = [from, Math.max(to - from, 0)].map((value) => (value / course.duration) * SCALE);
    const height = Math.max(confidence * 100, 3);
    paths.set(hue, `${paths.get(hue) ?? ""}M${left.toFixed(1)} 100v${-height.toFixed(1)}h${width.toFixed(1)}v${height.toFixed(1)}z`);
  }
  for (const [hue, d] of paths) drawn.append(svg("path", { class: `h${hue}`, d }));
  return drawn;
}

/** The clip in a player, below it the film and the timeline; each follows the other. */
export function player(record) {
  const course = new Course(record);
  const { width, height } = record.clip;
  const video = el("video", { controls: true, playsInline: true, muted: true, preload: "metadata", poster: `/api/images/${record.id}/thumbnail`, src: `/api/images/${record.id}/clip`, "aria-label": `The clip: ${shows(record)}, from ${record.camera}` });
  const frame = el("div", { class: "frame screen", "--ratio": width / height }, video);
  const note = el("p", { class: "note", role: "status", hidden: true });
  const still = el("span", { class: "still", hidden: true, role: "img" }, el("img", { alt: "" }));
  let plays = true;
  const timeline = new Timeline(record, course, {
    seek(time) {
      if (plays) video.currentTime = Math.min(time, video.duration || time);
      else show(time);
    },
    toggle: () => plays && (video.paused ? void video.play().catch(() => {}) : video.pause()),
  });
  function show(time) {
    const tile = Math.min(Math.floor((time / course.duration) * FILM_FRAMES), FILM_FRAMES - 1);
    still.hidden = !timeline.hasFilm;
    still.style.setProperty("--tile", tile);
    still.setAttribute("aria-label", `The clip at ${seconds(time)}`);
  }
  video.addEventListener("error", async () => {
    plays = false;
    const status = await statusOf(video.src);
    const gone = status === 404;
    still.firstChild.src = timeline.film.src;
    frame.replaceChildren(picture(record, { alt: `The surest frame: ${shows(record)}, from ${record.camera}`, none: gone ? "The clip is no longer there." : "No frame of it can be shown." }), still);
    const kind = `${record.clip.codec.toUpperCase()} in a .${record.image_path.split(".").at(-1)}`;
    note.hidden = false;
    const words = {
      200: `This browser cannot play ${kind}: download the clip to watch it.`,
      404: "The clip is no longer there; this is what it showed.",
    };
    say(note, words[status] ?? "The clip could not be fetched just now: open it again in a moment.");
  });
  // Upright: a clip's own width and height are of how it was recorded.
  timeline.film.addEventListener("load", ({ target }) => frame.style.setProperty("--ratio", target.naturalWidth / FILM_FRAMES / target.naturalHeight));
  let ticking = 0;
  const follow = () => {
    if (plays && video.readyState > 0) timeline.set(video.currentTime);
    if (!video.paused && video.isConnected) ticking = requestAnimationFrame(follow);
  };
  for (const name of ["play", "seeked", "timeupdate"]) {
    video.addEventListener(name, () => {
      cancelAnimationFrame(ticking);
      if (name === "timeupdate" && video.currentTime === 0 && video.paused) return;
      follow();
    });
  }
  return { frame, rest: [note, timeline.element], pause: () => video.pause() };
}

class Timeline {
  constructor(record, course, { seek, toggle }) {
    Object.assign(this, { course, seek, toggle });
    this.hasFilm = true;
    this.film = el("img", { class: "film", alt: "", decoding: "async", draggable: false, src: `/api/images/${record.id}/film` });
    this.film.addEventListener("load", () => this.film.classList.add("there"));
    this.film.addEventListener("error", () => {
      this.hasFilm = false;
      this.film.remove();
    });
    const share = (time) => time / course.duration;
    this.slider = el(
      "div",
      { class: "slider", role: "slider", tabIndex: 0, "aria-label": "Timeline of the clip", "aria-valuemin": 0, "aria-valuemax": course.duration, "--at": share(course.peak.time) },
      this.film,
      el("div", { class: "bars", "aria-hidden": "true" }, bars(course), el("i", { class: "peak", "--at": share(course.peak.time), title: "surest here" })),
      el("i", { class: "cursor" }),
      el("i", { class: "pointed", hidden: true }),
    );
    this.reading = el("output", { class: "reading" });
    this.rows = course.segments.map((segment) => this.row(segment));
    this.element = el(
      "section",
      { class: "timeline", "aria-label": "What the clip showed when" },
      this.slider,
      el("p", { class: "axis" }, el("span", {}, seconds(0)), this.reading, el("span", {}, seconds(course.duration))),
      record.clip.timed ? null : el("p", { class: "note" }, "The file has no times: they are counted from its frames."),
      el("ol", { class: "segments" }, ...this.rows),
    );
    this.listen();
    this.set(course.peak.time);
  }

  row({ from, to, label, peak, hue }) {
    const button = el(
      "button",
      { type: "button", onclick: () => this.go(from) },
      el("i", { class: `h${hue}`, "aria-hidden": "true" }),
      el("span", { class: "when" }, `${seconds(from)} – ${seconds(to)}`),
      el("span", { class: "name" }, label),
      el("span", { class: "figure" }, percent(peak)),
    );
    return el("li", {}, button);
  }

  listen() {
    const { slider } = this;
    const pointed = slider.querySelector(".pointed");
    const timeOf = (event) => {
      const { left, width } = slider.getBoundingClientRect();
      return Math.min(Math.max((event.clientX - left) / width, 0), 1) * this.course.duration;
    };
    slider.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      slider.setPointerCapture(event.pointerId);
      slider.focus({ preventScroll: true });
      this.go(timeOf(event));
    });
    slider.addEventListener("pointermove", (event) => {
      const pressed = slider.hasPointerCapture(event.pointerId);
      pointed.hidden = pressed || event.pointerType !== "mouse";
      slider.style.setProperty("--pointed", timeOf(event) / this.course.duration);
      if (pressed) this.go(timeOf(event));
      else if (!pointed.hidden) this.read(timeOf(event));
    });
    slider.addEventListener("pointerleave", () => {
      pointed.hidden = true;
      this.read(this.time);
    });
    slider.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    const { frames, segments, duration } = this.course;
    const near = 0.01;
    const next = (times) => times.find((at) => at > this.time + near) ?? duration;
    const before = (times) => times.findLast((at) => at < this.time - near) ?? 0;
    const ways = {
      ArrowRight: () => next(frames.map(({ from }) => from)),
      ArrowLeft: () => before(frames.map(({ from }) => from)),
      PageDown: () => next(segments.map(({ from }) => from)),
      PageUp: () => before(segments.map(({ from }) => from)),
      Home: () => 0,
      End: () => duration,
    };
    ways.ArrowUp = ways.ArrowRight;
    ways.ArrowDown = ways.ArrowLeft;
    if (event.key === " " || event.key === "Enter") this.toggle();
    else if (ways[event.key]) this.go(ways[event.key]());
    else return;
    event.preventDefault();
  }

  go(time) {
    this.set(time);
    this.seek(time);
  }

  /** Show this time as where the clip is. */
  set(time) {
    const { slider, course } = this;
    this.time = Math.min(Math.max(time, 0), course.duration);
    const { label, confidence } = this.read(this.time) ?? {};
    slider.style.setProperty("--at", this.time / course.duration);
    slider.setAttribute("aria-valuenow", this.time.toFixed(2));
    slider.setAttribute("aria-valuetext", label ? `${seconds(this.time)}: ${label}, ${percent(confidence)}` : seconds(this.time));
    this.rows.forEach((row, index) => {
      const { from, to } = course.segments[index];
      row.toggleAttribute("data-now", from <= this.time && (this.time < to || to === course.duration));
    });
  }

  read(time) {
    const frame = this.course.at(time);
    say(this.reading, frame ? `${seconds(time)} · ${frame.label} ${percent(frame.confidence)}` : seconds(time));
    return frame;
  }
}
