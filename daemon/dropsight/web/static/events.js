// The events of a day: a lane for each camera, and a card for each event.

import { Details } from "./details.js";
import { byId, el, reconcile, say } from "./dom.js";
import { count, percent, span, time } from "./format.js";
import { picture } from "./pictures.js";
import { Stream, fetchJson } from "./stream.js";

const PAGE = 500;
const MOST = 1_500;
const AGAIN_MS = 1_000;
const HOURS = [0, 6, 12, 18, 24];

const form = byId("filters");
const fields = form.elements;
let cards = [];
let names = [];
let asked = 0;
let due = 0;
let followsToday = true;

const details = new Details({
  neighbour: (id, step) => cards[cards.findIndex((each) => each.best.id === id) + step],
  onClosed: (record) => byId("cards").querySelector(`[data-best="${CSS.escape(record.id)}"]`)?.focus(),
});
// A step leads to an event; what is shown of it is its best record.
details.go = (step) => {
  const next = details.neighbour(details.record.id, step);
  if (next) void open(next);
};
const stream = new Stream({ begin, onRecord() {}, onStats, onState, onEvent: again });

read();
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", changed);
for (const button of form.querySelectorAll("[data-days]")) {
  button.addEventListener("click", () => {
    fields.day.value = written(later(shownDay(), Number(button.dataset.days)));
    changed();
  });
}
byId("cards").addEventListener("click", (event) => {
  const card = event.target.closest(".card");
  const found = card && cards.find((each) => each.id === card.dataset.id);
  if (found) void open(found);
});
setInterval(() => {
  if (followsToday && fields.day.value !== written(new Date())) turnToday();
  else if (cards.some((each) => !each.ended)) show();
}, 10_000);
stream.open();

function turnToday() {
  fields.day.value = written(new Date());
  changed();
}

function changed() {
  if (!fields.day.value) fields.day.value = written(new Date());
  followsToday = fields.day.value === written(new Date());
  const said = Object.entries({ name: fields.name.value, camera: fields.camera.value, day: followsToday ? "" : fields.day.value });
  const kept = new URLSearchParams(said.filter(([, value]) => value)).toString();
  history.replaceState(null, "", kept ? `#${kept}` : location.pathname);
  ask().catch(() => stream.lose());
}

/** Take from the address what is to be shown. */
function read() {
  const said = new URLSearchParams(location.hash.slice(1));
  for (const name of ["name", "camera"]) choose(fields[name], [said.get(name)], said.get(name) ?? "");
  fields.day.value = said.get("day") ?? "";
  followsToday = !fields.day.value;
  if (!fields.day.value) fields.day.value = written(new Date());
}

async function begin() {
  const [found] = await Promise.all([fetchJson("/api/results?limit=1"), ask(), fetchJson("/api/stats").then(onStats)]);
  return found.last_event_id;
}

/** What happens now is of interest where today is shown; several at once cost one question. */
function again() {
  if (!followsToday || due) return;
  due = setTimeout(() => {
    due = 0;
    ask().catch(() => stream.lose());
  }, AGAIN_MS);
}

async function ask() {
  const question = ++asked;
  const day = shownDay();
  const asking = { since: day.toISOString(), until: later(day, 1).toISOString(), name: fields.name.value, camera: fields.camera.value };
  const found = [];
  let before = null;
  do {
    const said = Object.entries({ ...asking, limit: PAGE, before }).filter(([, value]) => value);
    const answer = await fetchJson(`/api/events?${new URLSearchParams(said)}`);
    if (question !== asked) return;
    found.push(...answer.events);
    before = answer.before;
  } while (before && found.length < MOST);
  cards = found;
  byId("more").hidden = !before;
  say(byId("more"), `The latest ${count(found.length)} of the day are shown; choose an event or a camera to see the others.`);
  show();
}

function onStats(overview) {
  const { device, stats } = overview.status;
  say(byId("device"), device);
  const known = stats.events ?? [];
  names = [...new Set([...known.map((each) => each.name), ...cards.map((each) => each.name)])].sort();
  choose(fields.name, names, fields.name.value);
  choose(fields.camera, known.map((each) => each.camera), fields.camera.value);
  if (!byId("empty").hidden) show();
}

function onState(state) {
  document.body.dataset.state = state;
  say(byId("state").lastChild, state === "lost" ? "Not connected" : "Live");
}

function show() {
  names = [...new Set([...names, ...cards.map((each) => each.name)])].sort();
  choose(fields.name, names, fields.name.value);
  choose(fields.camera, cards.map((each) => each.camera), fields.camera.value);
  say(byId("count"), cards.length ? `${count(cards.length)}` : "");
  const empty = byId("empty");
  empty.hidden = cards.length > 0;
  if (!cards.length) {
    const filtered = fields.name.value || fields.camera.value;
    const unheard = names.length ? "" : "Rules make them: events: in the config file.";
    const why = filtered ? "None of this event and camera." : unheard;
    empty.replaceChildren(el("b", {}, "No events this day"), why);
  }
  byId("course").replaceChildren(...lanes());
  reconcile(byId("cards"), cards, { key: (each) => each.id, make: () => el("li", {}), update });
}

function lanes() {
  if (!cards.length) return [];
  const from = shownDay();
  const whole = later(from, 1) - from;
  const cameras = [...new Set(cards.map((each) => each.camera))].sort();
  const bar = (each) => {
    const began = Math.max(new Date(each.started) - from, 0) / whole;
    const end = Math.min((ending(each) - from) / whole, 1);
    const label = `${each.name}, ${time(new Date(each.started))}, ${lasting(each)}, ${photos(each)}`;
    return el("button", { type: "button", title: label, "aria-label": `${each.camera}: ${label}`, class: each.ended ? "" : "going-on", "--from": began, "--share": Math.max(end - began, 0), "--hue": hue(each.name), onclick: () => open(each) });
  };
  const lane = (camera) =>
    el("div", { class: "lane" }, el("span", { class: "who", title: camera }, camera), el("div", { class: "hours" }, ...cards.filter((each) => each.camera === camera).map(bar)));
  const marks = HOURS.map((hour) => el("span", {}, String(hour).padStart(2, "0")));
  return [...cameras.map(lane), el("div", { class: "lane scale", "aria-hidden": "true" }, el("span", {}), el("div", { class: "marks" }, ...marks))];
}

function update(item, each) {
  const shown = JSON.stringify([each, lasting(each)]);
  if (item.dataset.shown === shown) return;
  item.dataset.shown = shown;
  const had = item.querySelector("img");
  const stays = had && item.dataset.best === each.best.id;
  item.dataset.best = each.best.id;
  const none = el("span", { class: "none" }, "no picture");
  const frame = el("span", { class: "frame" }, stays ? had : each.picture ? picture(each.best) : none);
  const focused = item.contains(document.activeElement);
  item.replaceChildren(
    el(
      "button",
      { class: "card", type: "button", data: { id: each.id, best: each.best.id } },
      frame,
      el("span", { class: "line" }, el("span", { class: "what", "--hue": hue(each.name) }, el("i"), each.name), each.ended ? null : el("span", { class: "going-on" }, "going on")),
      el("span", { class: "why" }, [each.best.label, each.best.confidence ? percent(each.best.confidence) : "", photos(each)].filter(Boolean).join(" · ")),
      el("span", { class: "where" }, el("span", {}, each.region ? `${each.camera}, ${each.region}` : each.camera), el("time", { dateTime: each.started }, `${time(new Date(each.started))}, ${lasting(each)}`)),
    ),
  );
  if (focused) item.firstChild.focus();
}

/** Show an event's best record. */
async function open(each) {
  if (!each.best.id) return;
  try {
    details.show(await fetchJson(`/api/records/${each.best.id}`));
  } catch {
    say(byId("more"), "Its record is no longer there.");
    byId("more").hidden = false;
  }
}

const photos = (each) => (each.count === 1 ? "1 picture" : `${count(each.count)} pictures`);
const ending = (each) => (each.ended ? new Date(each.ended) : new Date());

function lasting(each) {
  const seconds = (ending(each) - new Date(each.started)) / 1_000;
  return seconds < 1 ? "a moment" : span(seconds);
}

/** Colours as far apart as the circle has room for. */
function hue(name) {
  return Math.round((names.indexOf(name) * 360) / Math.max(names.length, 3) + 175) % 360;
}

function choose(select, found, chosen) {
  const before = [...select.options].slice(1).map((each) => each.value);
  const all = [...new Set([...found, ...before, chosen].filter(Boolean))].sort();
  if (before.length !== all.length) select.replaceChildren(new Option("All", ""), ...all.map((name) => new Option(name, name)));
  select.value = chosen;
}

/** The shown day's beginning, here. */
function shownDay() {
  const [year, month, day] = fields.day.value.split("-").map(Number);
  return new Date(year, month - 1, day);
}

function later(day, days) {
  return new Date(day.getFullYear(), day.getMonth(), day.getDate() + days);
}

function written(day) {
  return [day.getFullYear(), day.getMonth() + 1, day.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
}
