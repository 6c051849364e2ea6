// The dashboard: one stream of records and figures, shown in three places.

import { Chart } from "./charts.js";
import { Details } from "./details.js";
import { byId, el, say } from "./dom.js";
import { Feed } from "./feed.js";
import { Filters } from "./filters.js";
import { count, ms, rate } from "./format.js";
import { Panels, showNotices } from "./panels.js";
import { Stream, fetchJson, order } from "./stream.js";

const AT_FIRST = 48;
const OLDER = 48;
const FAILURES = 20;
const LEAST_COURSE_SECONDS = 120;
const MOST_COURSE_SECONDS = 900;

let overview = null;
let course = [];
let older = null; // where "Show older" goes on
let lostSince = null;
let asked = 0;

const filters = new Filters(byId("filters"), () => void ask().catch(() => stream.lose()));
const feed = new Feed({ fits: (record) => filters.fits(record), onOpen: (record) => record && details.show(record), onOlder: loadOlder });
const details = new Details({
  neighbour: (id, step) => feed.neighbour(id, step),
  onClosed: (record) => feed.buttonOf(record.id)?.focus(),
});
const panels = new Panels({ filters, onOpen: (record) => details.show(record), onSees: (camera) => void showSeen(camera).catch(() => stream.lose()) });
const speed = new Chart(byId("speed"), {
  title: "Images a second",
  series: [{ name: "", of: (point) => point.images_per_second }],
  format: rate,
  area: true,
});
const latency = new Chart(byId("latency"), {
  title: "Latency",
  series: ["p50", "p95", "p99"].map((name) => ({ name, of: (point) => point[name], gaps: true, pointedOnly: true })),
  format: ms,
  least: 10,
});
const stream = new Stream({ begin, onRecord, onStats, onState });

feed.onShown = () => {
  showCount();
  if (details.open) details.renew();
};
feed.onHeld = (waiting) => say(byId("hold"), waiting ? `Unfreeze · ${count(waiting)} new` : "Unfreeze");
byId("hold").addEventListener("click", () => {
  const held = !feed.held;
  byId("hold").setAttribute("aria-pressed", held);
  say(byId("hold"), held ? "Unfreeze" : "Freeze view");
  feed.hold(held);
});
byId("pause").addEventListener("click", () => {
  const paused = overview?.status.paused;
  void command(paused ? "resume" : "pause", paused ? "Resumed." : "Paused: images wait in their folders.");
});
byId("rescan").addEventListener("click", () => void command("rescan", "Scanning the folders."));
byId("fold").addEventListener("click", () => {
  const open = byId("filters").classList.toggle("open");
  byId("fold").setAttribute("aria-expanded", open);
});
setInterval(() => overview && !document.hidden && !lostSince && showState(), 1_000);
stream.open();

/** Tell the daemon; show what came of it. */
async function command(name, done) {
  const buttons = [byId("pause"), byId("rescan")];
  for (const button of buttons) button.disabled = true;
  try {
    await order(`/api/commands/${name}`);
    say(byId("ordered"), done);
  } catch (error) {
    say(byId("ordered"), `Not done: ${error.message}`);
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

/** Fetch everything anew: at the start, and after each loss. */
async function begin() {
  const [found, failed, after] = await Promise.all([
    fetchJson("/api/stats"),
    fetchJson(`/api/results?status=failed&limit=${FAILURES}`),
    ask(),
  ]);
  course = found.course;
  overview = found;
  panels.setFailures(failed.results);
  showFigures();
  return after;
}

/** Ask for what fits the filters; return the id of the newest event. */
/** The newest image of a camera, as the model sees it. */
async function showSeen(camera) {
  const { results } = await fetchJson(`/api/results?${new URLSearchParams({ camera, status: "ok", limit: 1 })}`);
  if (results.length) details.show(results[0], "seen");
}

async function ask() {
  const question = ++asked;
  byId("cards").setAttribute("aria-busy", "true");
  const answer = await fetchJson(`/api/results?${filters.query({ limit: AT_FIRST })}`);
  if (question === asked) {
    older = answer.before;
    feed.replace(answer.results);
    showCount();
    if (overview) panels.show(overview);
  }
  return answer.last_event_id;
}

async function loadOlder() {
  if (older === null) return;
  const question = asked;
  byId("older").disabled = true;
  try {
    const answer = await fetchJson(`/api/results?${filters.query({ limit: OLDER, before: older })}`);
    if (question !== asked) return;
    older = answer.before;
    feed.append(answer.results);
    showCount();
  } catch {
    stream.lose();
  } finally {
    byId("older").disabled = false;
  }
}

function onRecord(record) {
  feed.add(record);
  if (record.status === "failed") panels.addFailure(record);
}

function onStats(found) {
  const last = found.course.at(-1);
  if (last && last.time !== course.at(-1)?.time) course = [...course.slice(-179), last];
  overview = found;
  showFigures();
}

function onState(state) {
  if (state === "lost") lostSince ??= new Date();
  else lostSince = null;
  showState();
}

function showFigures() {
  panels.show(overview);
  const covered = course.length ? course.at(-1).time - course[0].time : 0;
  const seconds = Math.min(Math.max(covered, LEAST_COURSE_SECONDS), MOST_COURSE_SECONDS);
  speed.set(course, seconds);
  latency.set(course, seconds);
  showCount();
  showState();
}

function showState() {
  const paused = overview?.status.paused;
  const state = lostSince ? "lost" : !overview ? "opening" : paused ? "paused" : "live";
  const words = { lost: "Not connected", opening: "Opening", paused: "Paused", live: "Live" };
  document.body.dataset.state = state;
  say(byId("state").lastChild, words[state]);
  const device = overview?.status.device ?? "dropsight";
  const title = lostSince ? `Not connected · ${device}` : `${device} · dropsight`;
  if (document.title !== title) document.title = title;
  say(byId("pause"), paused ? "Resume daemon" : "Pause daemon");
  const notices = { ...(paused ? { paused: "images wait in their folders until the daemon is resumed (System)." } : {}), ...overview?.status.troubles };
  showNotices(lostSince ? {} : notices, lostSince);
}

function showCount() {
  const shown = feed.records.size;
  const empty = byId("empty");
  byId("older").hidden = older === null;
  empty.hidden = shown > 0 || (older !== null && !filters.any);
  say(byId("count"), feed.passedBy ? `a sample: ${count(feed.passedBy)} skipped` : filters.any && shown ? `${count(shown)} shown` : "");
  if (empty.hidden || !overview) return;
  const inbox = overview.status.watch[0];
  const words = filters.any
    ? [el("b", {}, "No matches"), older === null ? "No recorded image matches; new ones appear here as they come." : "None of the latest matches; older ones may."]
    : [el("b", {}, "No images yet"), "Drop one into ", el("code", {}, inbox), " and it appears here."];
  if (empty.dataset.shown !== String(filters.any) + older) empty.replaceChildren(...words);
  empty.dataset.shown = String(filters.any) + older;
}
