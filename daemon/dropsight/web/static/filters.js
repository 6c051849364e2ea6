// What of the images is to be seen; kept in the address, so that a view can be a bookmark.

import { el } from "./dom.js";
import { labels, percent, sureness } from "./format.js";

const NAMES = ["camera", "label", "status", "min_confidence"];
const TYPING_MS = 250;

export class Filters {
  constructor(form, onChange) {
    this.form = form;
    this.onChange = onChange;
    this.fields = form.elements;
    const said = new URLSearchParams(location.hash.slice(1));
    this.wanted = said.get("camera") ?? "";
    this.setCameras([]);
    for (const name of NAMES) if (said.has(name)) this.fields[name].value = said.get(name);
    let typing = 0;
    form.addEventListener("input", (event) => {
      this.show();
      clearTimeout(typing);
      typing = setTimeout(() => this.changed(), event.target.type === "search" ? TYPING_MS : 60);
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(() => this.changed()));
    this.show();
  }

  get values() {
    const fields = this.fields;
    const found = Object.fromEntries(NAMES.map((name) => [name, fields[name].value.trim()]));
    if (Number(found.min_confidence) === 0) found.min_confidence = "";
    return found;
  }

  get any() {
    return Object.values(this.values).some(Boolean);
  }

  /** The values as a query for /api/results. */
  query(more = {}) {
    const said = Object.entries({ ...this.values, ...more }).filter(([, value]) => value !== "");
    return new URLSearchParams(said).toString();
  }

  fits(record) {
    const { camera, label, status, min_confidence: least } = this.values;
    return (
      (!camera || record.camera === camera) &&
      (!status || (record.burst ? "burst" : record.status) === status) &&
      (!label || [...labels(record), record.group ?? ""].some((each) => each.toLowerCase().includes(label.toLowerCase()))) &&
      (!least || (sureness(record) ?? -1) >= Number(least))
    );
  }

  /** Set one field, or clear it where it is set so already. */
  toggle(name, value) {
    this.fields[name].value = this.values[name] === value ? "" : value;
    this.changed();
  }

  setCameras(names) {
    const select = this.fields.camera;
    const all = [...new Set([...names, this.wanted, select.value].filter(Boolean))].sort();
    if (select.options.length - 1 === all.length) return;
    const chosen = select.value || this.wanted;
    select.replaceChildren(new Option("All", ""), ...all.map((name) => new Option(name, name)));
    select.value = chosen;
  }

  setLabels(names) {
    const list = document.getElementById("labels");
    if (list.childElementCount !== names.length) list.replaceChildren(...names.map((value) => el("option", { value })));
  }

  changed() {
    this.wanted = this.values.camera;
    this.show();
    history.replaceState(null, "", this.any ? `#${this.query()}` : location.pathname);
    this.onChange();
  }

  show() {
    const least = Number(this.fields.min_confidence.value);
    this.form.querySelector("output").textContent = least ? `≥ ${percent(least)}` : "any";
    this.form.querySelector("[type=reset]").hidden = !this.any;
    for (const format of ["csv", "jsonl"]) document.getElementById(`export-${format}`).href = `/api/export?${this.query({ format })}`;
  }
}
