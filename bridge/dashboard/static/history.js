// A list of past items, newest first: read page by page, extended by the stream.
import { Pages } from "./api.js";
import { newestFirst } from "./rows.js";
import { day } from "./text.js";

const PAGE = 200;

export class History {
  #pages;
  #came = new Map(); // by key: it takes the place of what was read

  /** `as` turns an item into what is kept of it; `passes` decides whether a row of the stream is one of this list. */
  constructor(path, parameters, as, passes = () => true) {
    this.#pages = new Pages(path, { limit: PAGE, ...parameters }, as);
    this.as = as;
    this.passes = passes;
  }

  /** Whether there is nothing older. */
  get complete() {
    return this.#pages.complete;
  }

  /** The cursor from which the stream continues. */
  get newest() {
    return this.#pages.newest;
  }

  /** Reads the next page. */
  async more() {
    await this.#pages.more();
    return this;
  }

  /** Adds an item of the stream. */
  take(item) {
    const row = this.as(item);
    this.#came.set(row.key, row);
  }

  /** All rows so far. Rows of the stream that are older than the last page are omitted: their page has them. */
  rows() {
    const read = this.#pages.rows;
    const oldest = this.complete ? undefined : read.at(-1);
    const came = [...this.#came.values()].filter((row) => this.passes(row) && !(oldest && newestFirst(row, oldest) > 0));
    return read.filter(({ key }) => !this.#came.has(key)).concat(came).sort(newestFirst);
  }
}

const days = new Map(); // by ten minutes, which is what zones' offsets are whole multiples of

/** The rows with the head of each day before its first. */
export function byDay(rows) {
  const found = [];
  let last = null;
  for (const row of rows) {
    const its = dayOf(row.time);
    if (its !== last) found.push({ key: `day ${its}`, day: its });
    last = its;
    found.push(row);
  }
  return found;
}

function dayOf(stamp) {
  const part = stamp.slice(0, 15);
  if (!days.has(part)) days.set(part, day(stamp));
  return days.get(part);
}
