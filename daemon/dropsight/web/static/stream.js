// The line to the daemon: what stands in the journal first, then every record as it comes, for ever.

const SILENCE_MS = 7_000; // the figures come every two seconds
const PAUSES_MS = [500, 1_000, 2_000, 4_000, 8_000];

export class Stream {
  /** `begin` fetches what there is and returns the id to go on from; it is called after every loss. */
  constructor({ begin, onRecord, onStats, onState, onEvent }) {
    Object.assign(this, { begin, onRecord, onStats, onState, onEvent });
    this.failures = 0;
    this.source = null;
    this.heard = 0;
    this.retry = 0;
    setInterval(() => this.check(), 1_000);
    document.addEventListener("visibilitychange", () => document.hidden || this.check());
    addEventListener("online", () => this.source || this.open());
  }

  async open() {
    clearTimeout(this.retry);
    const attempt = (this.attempt = Symbol("attempt"));
    try {
      const after = await this.begin();
      if (attempt !== this.attempt) return;
      this.listen(after);
    } catch (error) {
      if (attempt === this.attempt) this.lose(error);
    }
  }

  listen(after) {
    const source = new EventSource(`/api/results/stream?stats=1&after=${after}`);
    this.source = source;
    this.heard = Date.now();
    source.addEventListener("open", () => this.hear());
    source.addEventListener("message", (event) => {
      this.hear();
      this.onRecord(JSON.parse(event.data));
    });
    source.addEventListener("stats", (event) => {
      this.hear();
      this.onStats(JSON.parse(event.data));
    });
    if (this.onEvent) source.addEventListener("event", (event) => this.onEvent(JSON.parse(event.data)));
    // Not left to the browser: after a long absence it would be sent all that it missed.
    source.addEventListener("error", () => source === this.source && this.lose());
  }

  hear() {
    this.heard = Date.now();
    this.failures = 0;
    this.onState("live");
  }

  check() {
    if (this.source && Date.now() - this.heard > SILENCE_MS) this.lose();
  }

  lose() {
    this.source?.close();
    this.source = null;
    this.onState("lost");
    const pause = PAUSES_MS[Math.min(this.failures++, PAUSES_MS.length - 1)];
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.open(), pause);
  }
}

/** Have the daemon do something; throws an Error with its reason where it does not. */
export async function order(path, { seconds = 6 } = {}) {
  const answer = await fetch(path, { method: "POST", headers: { "X-Dropsight": "1" }, signal: AbortSignal.timeout(seconds * 1000) });
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw new Error((await answer.json().catch(() => null))?.error ?? `the daemon answered ${answer.status}`);
}

/** Ask how the daemon would answer at this address: an HTTP status, 0 for no answer. */
export async function statusOf(address) {
  const answer = await fetch(address, { method: "HEAD", cache: "no-store" }).catch(() => null);
  return answer?.status ?? 0;
}

/** Fetch JSON, for so long at most; a browser whose cookie is no longer good goes to sign in. */
export async function fetchJson(path, { seconds = 6 } = {}) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(seconds * 1000), cache: "no-store" });
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}
