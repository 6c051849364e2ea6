// The latest images as cards. Whatever comes within a frame of the screen is shown in one go.

import { overlay } from "./clips.js";
import { byId, el, say } from "./dom.js";
import { count, moment, percent, shows, sureness } from "./format.js";
import { picture } from "./pictures.js";

const MOST_CARDS = matchMedia("(max-width: 640px)").matches ? 24 : 48;
const MOST_LOADED = 480;
const BURST = 24; // cards at once, and so many a second after that: the rest is counted
const CARDS_A_SECOND = 6;
const UNSURE = 0.5;
const NEWS_MS = 15_000;

export class Feed {
  constructor({ fits, onOpen, onOlder }) {
    Object.assign(this, { fits, onOpen });
    this.list = byId("cards");
    this.records = new Map();
    this.pending = [];
    this.frame = 0;
    this.held = false;
    this.room = MOST_CARDS;
    this.allowance = BURST;
    this.allowedAt = performance.now();
    this.passedBy = 0;
    this.saidAt = 0;
    this.list.addEventListener("click", (event) => {
      const card = event.target.closest(".card");
      if (card) onOpen(this.records.get(card.dataset.id));
    });
    this.list.addEventListener("keydown", (event) => this.move(event));
    this.list.addEventListener("focusin", (event) => this.rove(event.target));
    byId("older").addEventListener("click", onOlder);
  }

  /** Show these instead of all that there was, newest first. */
  replace(records) {
    this.pending = [];
    this.passedBy = 0;
    this.room = MOST_CARDS;
    const focused = document.activeElement?.dataset?.id;
    this.records = new Map(records.map((record) => [record.id, record]));
    const known = new Map([...this.list.children].map((item) => [item.firstChild.dataset.id, item]));
    this.list.replaceChildren(...records.map((record) => known.get(record.id) ?? card(record)));
    this.list.setAttribute("aria-busy", "false");
    if (focused) this.buttonOf(focused)?.focus({ preventScroll: true });
    this.rove();
  }

  append(records) {
    const fresh = records.filter((record) => !this.records.has(record.id));
    for (const record of fresh) this.records.set(record.id, record);
    this.list.append(...fresh.map((record) => card(record)));
    this.room = Math.min(Math.max(this.room, this.records.size), MOST_LOADED);
    this.rove();
  }

  /** A record came. */
  add(record) {
    if (this.records.has(record.id) || !this.fits(record)) return;
    this.pending.push(record);
    if (this.pending.length > 500) this.pending.splice(0, 250);
    this.arrange();
  }

  hold(held) {
    this.held = held;
    this.arrange();
  }

  arrange() {
    if (this.frame) return;
    // A hidden page has no frames.
    const next = document.hidden ? (work) => setTimeout(work, 1_000) : requestAnimationFrame;
    this.frame = next(() => {
      this.frame = 0;
      this.flush();
    });
  }

  flush() {
    if (this.held) {
      this.onHeld?.(this.pending.length);
      return;
    }
    const now = performance.now();
    this.allowance = Math.min(BURST, this.allowance + ((now - this.allowedAt) / 1000) * CARDS_A_SECOND);
    this.allowedAt = now;
    const shown = this.pending.slice(-Math.floor(this.allowance) || this.pending.length);
    this.allowance -= shown.length;
    this.passedBy = this.pending.length > shown.length ? this.passedBy + this.pending.length - shown.length : 0;
    this.pending = [];
    if (shown.length) this.show(shown);
  }

  show(records) {
    const made = document.createDocumentFragment();
    for (const record of records) {
      this.records.set(record.id, record);
      const item = card(record);
      item.classList.add("new");
      made.prepend(item);
    }
    this.list.prepend(made);
    while (this.list.childElementCount > this.room) {
      const last = this.list.lastElementChild;
      if (last.contains(document.activeElement)) last.previousElementSibling.firstChild.focus();
      this.records.delete(last.firstChild.dataset.id);
      last.remove();
    }
    this.rove();
    this.tell(records);
    this.onShown?.();
  }

  /** Say aloud what came, but seldom. */
  tell(records) {
    if (performance.now() - this.saidAt < NEWS_MS && this.saidAt) return;
    this.saidAt = performance.now();
    const { camera, label } = records.at(-1);
    const what = label ? `${shows(records.at(-1))}, ${percent(sureness(records.at(-1)))}` : "could not be read";
    say(byId("news"), `${count(records.length)} new: ${camera}, ${what}`);
  }

  neighbour(id, step) {
    const item = this.buttonOf(id)?.parentElement;
    const next = step > 0 ? item?.nextElementSibling : item?.previousElementSibling;
    return next ? this.records.get(next.firstChild.dataset.id) : undefined;
  }

  buttonOf(id) {
    return this.list.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  /** One stop of the Tab key for all cards; arrow keys go on from there. */
  rove(target) {
    const focused = this.list.contains(document.activeElement) ? document.activeElement : null;
    const current = target?.closest(".card") ?? focused ?? this.list.querySelector(".card");
    for (const other of this.list.querySelectorAll('[tabindex="0"]')) if (other !== current) other.tabIndex = -1;
    if (current) current.tabIndex = 0;
  }

  move(event) {
    const items = [...this.list.children];
    const at = items.indexOf(event.target.closest("li"));
    const columns = Math.max(items.findIndex((item) => item.offsetTop > items[0].offsetTop), 1);
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    const to = event.key === "Home" ? 0 : event.key === "End" ? items.length - 1 : at + (steps[event.key] ?? NaN);
    if (at < 0 || Number.isNaN(to)) return;
    event.preventDefault();
    items[Math.min(Math.max(to, 0), items.length - 1)].firstChild.focus();
  }
}

function card(record) {
  const answered = record.status === "ok";
  const at = new Date(record.time);
  const words = answered ? shows(record) : record.status === "expired" ? "Expired" : "Failed";
  const unsure = answered && sureness(record) < UNSURE;
  const kind = `card${record.burst ? " burst" : ""}${answered ? "" : " failed"}${unsure ? " unsure" : ""}`;
  const button = el(
    "button",
    { class: kind, type: "button", tabIndex: -1, data: { id: record.id } },
    el("span", { class: "frame" }, ...(answered ? [picture(record), ...(record.clip ? overlay(record) : [])] : [el("span", { class: "none" }, why(record))]), record.burst ? el("span", { class: "many" }, burstName(record)) : null),
    el("span", { class: "line" }, el("span", { class: "label" }, words), answered ? el("span", { class: "percent" }, percent(sureness(record))) : null),
    answered ? el("span", { class: "meter", "--share": sureness(record) }, el("i")) : null,
    el("span", { class: "where" }, el("span", {}, record.region ? `${record.camera}, ${record.region}` : record.camera), el("time", { dateTime: record.time }, moment(at))),
  );
  return el("li", {}, button);
}

const burstName = ({ burst }) => `Burst of ${count(burst.count)} photos`;

export function why(record) {
  if (record.status === "expired") return `${Math.round(record.age_seconds)} s old when its turn came`;
  return record.error?.message ?? "";
}
