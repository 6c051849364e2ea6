// Figures as people read them, in the browser's own language.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dated = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const DAY = 86_400_000;

export const count = (value) => whole.format(value);
export const rate = (value) => (value >= 100 ? whole : fine).format(value);
export const percent = (share) => `${share > 0.995 && share < 1 ? fine.format(share * 100) : whole.format(share * 100)} %`;
export const ms = (value) => (value >= 10_000 ? `${fine.format(value / 1000)} s` : `${(value >= 10 ? whole : fine).format(value)} ms`);
export const moment = (date) => (Date.now() - date < DAY / 2 ? clock : dated).format(date);
export const fullTime = (date) => full.format(date);
export const time = (date) => clock.format(date);

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return [(value < 10 && unit > 1 ? fine : whole).format(value), units[unit]];
}

/** A place in a clip: tenths where seconds are few. */
export function seconds(value) {
  if (value < 60) return `${fine.format(value)} s`;
  const [minutes, rest] = [Math.floor(value / 60), Math.floor(value % 60)];
  const two = (number) => String(number).padStart(2, "0");
  return minutes < 60 ? `${minutes}:${two(rest)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(rest)}`;
}

export function span(seconds) {
  if (seconds < 60) return `${whole.format(seconds)} s`;
  if (seconds < 3600) return `${whole.format(seconds / 60)} min`;
  if (seconds < 172_800) return `${whole.format(seconds / 3600)} h`;
  return `${whole.format(seconds / 86_400)} days`;
}

export const ago = (seconds) => (seconds < 5 ? "just now" : `${span(seconds)} ago`);

/** What is there: of classes that exclude each other the best. */
export const labels = ({ label, present }) => (present ? present.map((each) => each.label) : [label ?? ""]);

/** What people read, and how sure it is: the group of classes, where there is one. */
export const shows = (record) => record.group ?? (record.present ? labels(record).join(", ") || "nothing" : record.label);
export const sureness = ({ group_confidence: ofGroup, confidence }) => ofGroup ?? confidence;
