// Requests to `/api/v1/`. After a 401 the password is asked for, and the request repeated.

/** A response without a 2xx; `status` is HTTP's, and 410 means that a cursor's rows are deleted. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let password = null; // resolves when the reader is let in: asked for once, however many requests wait for it

/** Sets the sign-in: a function that returns a promise. */
export function onPassword(ask) {
  password = { ask, waiting: null };
}

/** The response to a request; raises Refused without a 2xx, TypeError without a response. */
export async function request(path, parameters = {}, options = {}) {
  const query = new URLSearchParams(parameters);
  for (;;) {
    const response = await fetch(`api/v1/${path}?${query}`, { cache: "no-store", ...options });
    if (response.ok) return response;
    if (response.status !== 401) throw new Refused(response.status, await words(response));
    password.waiting ??= password.ask().finally(() => (password.waiting = null));
    await password.waiting;
  }
}

/** The JSON of a response. */
export async function read(path, parameters) {
  return (await request(path, parameters)).json();
}

async function words(response) {
  const answer = await response.json().catch(() => ({}));
  return answer.error ?? `${response.status} ${response.statusText}`;
}

/** A list that is read page by page; `as` turns each item into what is kept of it. */
export class Pages {
  #reading = null;
  #next = null;
  rows = [];
  complete = false; // whether all pages were read
  newest = null; // the cursor from which the stream goes on after the first page

  constructor(path, parameters, as = (item) => item) {
    this.path = path;
    this.parameters = parameters;
    this.as = as;
  }

  /** Reads the next page. Called again meanwhile it reads nothing more; at the end it reads nothing. */
  async more() {
    this.#reading ??= this.#read().finally(() => (this.#reading = null));
    return this.#reading;
  }

  async #read() {
    if (this.complete) return;
    const answer = await read(this.path, { ...this.parameters, ...(this.#next === null ? {} : { after: this.#next }) });
    this.newest ??= answer.newest;
    this.#next = answer.next;
    this.complete = answer.next === null;
    this.rows = this.rows.concat(answer.items.map(this.as));
  }
}

/** All items of a list. */
export async function all(path, parameters = {}, as = undefined) {
  const pages = new Pages(path, { limit: 1000, ...parameters }, as);
  while (!pages.complete) await pages.more();
  return pages.rows;
}

/** Awaits what may fail without a response: the stream notices that too, and shows it. Other failures are reported. */
export async function quietly(promise) {
  return promise.catch((error) => {
    if (!(error instanceof Refused || error instanceof TypeError || error.name === "AbortError")) reportError(error);
  });
}
