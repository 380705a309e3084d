// The stream of `/api/v1/stream`: continues where it stopped, and notices when no data arrive.
import { Refused, request } from "./api.js";

const SUMMARY_S = 10; // at least so often the stream says something
const SILENT_S = 2.5 * SUMMARY_S; // two of them missed, and half of one for a slow way: it is dead, or we slept
const RETRY_S = 1;

/**
 * Brings the `events` that the parameters name, and always the summaries, which say that it lives.
 *
 * `begin` is called with each new connection, before what it brings: to read what the stream doesn't repeat, and, when
 * its argument is true, all the lists anew; then it returns the cursor that they go up to. `take` gets each event's name
 * and data. "stale" is dispatched when the connection is lost. A page that nobody sees has none, since a browser keeps at
 * most six with one server, for all its tabs; it catches up when it is seen again.
 */
export class Stream extends EventTarget {
  #cursor = null;
  #attempt = null;
  #quietSince = Date.now();
  #life = new AbortController();
  heardAt = null; // when something came, a Date

  constructor(parameters, { begin, take }) {
    super();
    Object.assign(this, { begin, take });
    this.parameters = { ...parameters, events: `${parameters.events},summary` };
    const { signal } = this.#life;
    const looking = setInterval(() => this.#look(), 1000);
    signal.addEventListener("abort", () => clearInterval(looking));
    addEventListener("online", () => this.#look(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden && this.#attempt.abort(), { signal });
    this.#run();
  }

  /** Ends it for good. */
  end() {
    this.#life.abort();
    this.#attempt.abort();
  }

  async #run() {
    while (!this.#life.signal.aborted) {
      if (document.hidden) await this.#seen();
      this.#attempt = new AbortController();
      this.#quietSince = Date.now();
      try {
        await this.#connection(this.#attempt.signal);
      } catch (error) {
        if (error instanceof Refused && error.status === 410) this.#cursor = null;
        else if (!(error instanceof TypeError || error instanceof Refused || error.name === "AbortError")) reportError(error);
      }
      if (!document.hidden && !this.#life.signal.aborted) {
        this.dispatchEvent(new Event("stale"));
        await new Promise((resume) => setTimeout(resume, RETRY_S * 1000));
      }
    }
  }

  #seen() {
    return new Promise((resume) => document.addEventListener("visibilitychange", resume, { once: true, signal: this.#life.signal }));
  }

  async #connection(signal) {
    const headers = this.#cursor === null ? {} : { "Last-Event-ID": this.#cursor };
    const response = await request("stream", this.parameters, { signal, headers });
    this.#heard();
    await this.#begin(this.#cursor === null, signal);
    for await (const { id, name, data } of events(response.body)) {
      this.#heard();
      if (name === "reset") await this.#begin(true, signal);
      else this.take(name, data);
      if (id !== null) this.#cursor = id;
    }
  }

  async #begin(anew, signal) {
    const aborted = new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    const newest = await Promise.race([this.begin(anew), aborted]);
    if (anew) this.#cursor = newest ?? null;
  }

  #heard() {
    this.heardAt = new Date();
    this.#quietSince = Date.now();
  }

  #look() {
    if (Date.now() - this.#quietSince > SILENT_S * 1000) this.#attempt.abort();
  }
}

/** The events in a body: WHATWG HTML, 9.2.6. */
async function* events(body) {
  let event = { id: null, name: "message", data: "" };
  for await (const line of lines(body)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (line === "") {
      if (event.data) yield { ...event, data: JSON.parse(event.data) };
      event = { id: null, name: "message", data: "" };
    } else if (field === "data") event.data += `${value}\n`;
    else if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
  }
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n/);
    rest = parts.pop();
    yield* parts;
  }
}
