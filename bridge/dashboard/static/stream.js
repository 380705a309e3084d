// The stream of `/api/v1/stream`: goes on where it stopped, and notices when nothing comes any more.
import { Refused, request } from "./api.js";

const SUMMARY_S = 10; // at least so often the stream says something
const SILENT_S = 2.5 * SUMMARY_S; // two of them missed, and half of one for a slow way: it is dead, or we slept
const RETRY_S = 1;

/**
 * Always with the summaries, which say that it lives. `begin` is called with each new connection, before what it brings: to read what the stream doesn't repeat, and, when
 * its argument is true, all the lists anew; then it returns the cursor that they go up to. `take` gets each event's name
 * and data. "fresh" is dispatched when something came, "stale" when the connection is lost.
 */
export class Stream extends EventTarget {
  #cursor = null;
  #attempt = null;
  #ended = false;
  #looking = null;
  #quietSince = Date.now();
  heardAt = null; // when something came, a Date

  constructor(parameters, { begin, take }) {
    super();
    Object.assign(this, { begin, take });
    this.parameters = { ...parameters, events: `${parameters.events},summary` };
    const look = () => this.#look();
    this.#looking = setInterval(look, 1000);
    for (const sign of ["online", "focus"]) addEventListener(sign, look);
    this.#run();
  }

  /** Ends it for good. */
  end() {
    this.#ended = true;
    clearInterval(this.#looking);
    this.#attempt?.abort();
  }

  async #run() {
    while (!this.#ended) {
      this.#attempt = new AbortController();
      this.#quietSince = Date.now();
      try {
        await this.#connection(this.#attempt.signal);
      } catch (error) {
        if (error instanceof Refused && error.status === 410) this.#cursor = null;
        else if (!(error instanceof TypeError || error instanceof Refused || error.name === "AbortError")) reportError(error);
      }
      if (this.#ended) return;
      this.dispatchEvent(new Event("stale"));
      await new Promise((resume) => setTimeout(resume, RETRY_S * 1000));
    }
  }

  async #connection(signal) {
    const headers = this.#cursor === null ? {} : { "Last-Event-ID": this.#cursor };
    const response = await request("stream", this.parameters, { signal, headers });
    this.#heard();
    await this.#begin(this.#cursor === null);
    for await (const { id, name, data } of events(response.body)) {
      this.#heard();
      if (name === "reset") {
        await this.#begin(true);
      } else this.take(name, data);
      if (id !== null) this.#cursor = id;
    }
  }

  async #begin(anew) {
    const newest = await this.begin(anew);
    if (anew) this.#cursor = newest ?? null;
  }

  #heard() {
    this.heardAt = new Date();
    this.#quietSince = Date.now();
    this.dispatchEvent(new Event("fresh"));
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
