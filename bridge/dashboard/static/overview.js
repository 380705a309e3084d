// <fleet-overview>: what needs attention, active migrations, past migrations, and the hosts.
import { all, quietly, read, Refused } from "./api.js";
import { h } from "./dom.js";
import { byDay, History } from "./history.js";
import { listed } from "./lists.js";
import { migration, newestFirst, passes, showHost, showNeed, showPast, showRunning } from "./rows.js";
import { FILTERS, filters, go } from "./route.js";
import { Stream } from "./stream.js";
import "./plot.js";

const PLOTTED = 500; // newest points
const MOST = 10_000; // rows of the past that arrived without scrolling; beyond that the list is read again
const OUTCOMES = ["completed", "failed", "conflict", "resolved", "unresolved", "interrupted"];
const FIELDS = {
  domain: { label: "Guest" },
  host: { label: "Host" },
  outcome: { label: "Outcome", options: OUTCOMES },
  reason: { label: "Reason" },
  since: { label: "Since", placeholder: "12h, or a date" },
  until: { label: "Until", placeholder: "1h, or a date" },
  min_downtime_ms: { label: "Downtime at least (ms)", type: "number", min: 0 },
};

export class FleetOverview extends HTMLElement {
  #hosts = new Map();
  #running = new Map();
  #needs = [];
  #past = null;
  #filters = {};
  #changed = new Set(); // names of sections to be drawn
  #asking = false; // for what needs attention
  #lists = {
    needs: listed("needs", "Needs attention", showNeed),
    running: listed("running", "Migrations under way", showRunning),
    past: listed("past", "Past migrations", showPast),
    hosts: listed("hosts", "Hosts", showHost, (row) => row.host),
  };
  #counts = {};
  #plots = { downtime: plot("Downtime"), duration: plot("Duration") };
  #form = h("form", { class: "filters", "aria-label": "Filter past migrations" }, FILTERS.map(field));
  #filter = h("details", { open: matchMedia("(min-width: 60rem)").matches }, h("summary", {}, "Filter"), this.#form);
  #problem = h("p", { class: "bad", role: "alert", hidden: true });
  #find = h("input", { type: "search", "aria-label": "Hosts by name", placeholder: "Name" });

  /** Starts; `told` is called with each summary of the stream, and `stream` exists from then on. */
  start(told) {
    this.className = "overview";
    this.append(
      this.#section("needs", "Needs attention"),
      this.#section("running", "Under way"),
      this.#section("past", "Past", this.#filter, this.#problem, h("div", { class: "plots" }, Object.values(this.#plots))),
      this.#section("hosts", "Hosts", h("p", { class: "filters" }, this.#find)),
    );
    this.#form.addEventListener("change", () => this.#filtered());
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#find.addEventListener("input", () => this.#draw("hosts"));
    this.#lists.past.addEventListener("end", () => quietly(this.#more()));
    this.stream = new Stream(
      { events: "migration,progress,host" },
      { begin: (anew) => this.#begin(anew), take: (name, data) => this.#take(name, data, told) },
    );
  }

  /** Shows what the URL's filters select. */
  show() {
    const given = filters();
    if (JSON.stringify(given) === JSON.stringify(this.#filters) && this.#past !== null) return;
    for (const name of FILTERS) this.#form.elements[name].value = given[name] ?? "";
    this.#filters = given;
    this.#filter.open ||= Object.keys(given).length > 0;
    this.#lists.past.clear();
    if (this.#past !== null) quietly(this.#readPast());
  }

  #filtered() {
    const given = [...new FormData(this.#form)].filter(([, value]) => value !== "");
    go(given.length ? `?${new URLSearchParams(given)}` : "");
  }

  async #begin(anew) {
    this.#askNeeds();
    const running = all("migrations", { running: true }, migration).then((rows) => {
      this.#running = new Map(rows.map((row) => [row.key, row]));
      this.#draw("running");
    });
    const hosts = all("hosts").then((rows) => {
      this.#hosts = new Map(rows.map((row) => [row.host, row]));
      this.#draw("hosts");
    });
    await Promise.all([running, hosts, anew ? this.#readPast() : null]);
    return this.#past.newest;
  }

  async #readPast() {
    const given = this.#filters;
    this.#past = new History("migrations", { running: false, ...given }, migration, (row) => !row.running && passes(row, given));
    await this.#more();
  }

  async #more() {
    const past = this.#past;
    const problem = await past.more().then(() => "", (error) => {
      if (error instanceof Refused) return error.message;
      throw error;
    });
    if (past !== this.#past) return;
    this.#problem.textContent = problem;
    this.#problem.hidden = problem === "";
    this.#draw("past");
  }

  #take(name, data, told) {
    if (name === "summary") told(data);
    else if (name === "host") {
      if (data.gone) this.#hosts.delete(data.host);
      else this.#hosts.set(data.host, data);
      this.#draw("hosts");
    } else if (name === "progress") {
      const row = [...this.#running.values()].find((each) => each.uuid === data.uuid);
      if (row && data.migration) this.#running.set(row.key, { ...row, phase: data.migration.phase, progress: data.migration.progress });
      this.#draw("running");
    } else {
      const row = migration(data);
      if (row.running) this.#running.set(row.key, row);
      else this.#running.delete(row.key);
      this.#past.take(data);
      this.#draw("running", "past");
    }
    if (name !== "progress") this.#askNeeds();
  }

  /** Reads what needs attention; a change meanwhile has it read once more. */
  async #askNeeds() {
    if (this.#asking) {
      this.#asking = "again";
      return;
    }
    do {
      this.#asking = "once";
      await quietly(read("attention").then((answer) => (this.#needs = needs(answer))));
      this.#draw("needs");
    } while (this.#asking === "again");
    this.#asking = false;
  }

  #draw(...names) {
    if (this.#changed.size === 0) requestAnimationFrame(() => this.#redraw());
    for (const name of names) this.#changed.add(name);
  }

  /** Draws what has changed; when a section above grows, the row in use keeps its place in the window. */
  #redraw() {
    const held = this.#inHand();
    const before = held?.getBoundingClientRect().top;
    for (const name of this.#changed) this.#show[name]();
    this.#changed.clear();
    if (held?.isConnected) scrollBy({ top: held.getBoundingClientRect().top - before, behavior: "instant" });
  }

  /** The row under the pointer or with the focus; else, in a scrolled page, the one in the middle of the window. */
  #inHand() {
    const middle = scrollY > 0 ? document.elementFromPoint(innerWidth / 2, innerHeight / 2) : null;
    return this.querySelector("li:hover, li:focus-within") ?? middle?.closest("li, section") ?? null;
  }

  #show = {
    needs: () => {
      this.querySelector("#needs").classList.toggle("some", this.#needs.length > 0);
      this.#set("needs", this.#needs);
    },
    running: () => this.#set("running", [...this.#running.values()].sort(newestFirst)),
    hosts: () => {
      const part = this.#find.value.toLowerCase();
      this.#set("hosts", [...this.#hosts.values()].filter(({ host }) => host.toLowerCase().includes(part)).sort(byName));
    },
    past: () => {
      const rows = this.#past.rows();
      this.#lists.past.complete = this.#past.complete || !this.#problem.hidden;
      this.#set("past", byDay(rows), rows.length);
      for (const [what, element] of Object.entries(this.#plots)) element.points = points(rows.slice(0, PLOTTED), what);
      if (rows.length > MOST && this.#lists.past.scrollTop === 0) quietly(this.#readPast());
    },
  };

  #set(name, rows, shown = rows.length) {
    const list = this.#lists[name];
    list.items = rows;
    list.hidden = rows.length === 0;
    this.#counts[name].textContent = shown ? `${shown.toLocaleString("en")}${list.complete ? "" : "+"}` : "none";
  }

  #section(name, title, ...before) {
    this.#counts[name] = h("span", { class: "count" });
    const head = h("h2", { id: `${name}-title` }, title, " ", this.#counts[name]);
    return h("section", { id: name, "aria-labelledby": `${name}-title` }, head, before, this.#lists[name]);
  }
}

function plot(label) {
  return Object.assign(h("duration-plot"), { label });
}

function field(name) {
  const { label, options, ...attributes } = FIELDS[name];
  const input = options
    ? h("select", { name }, h("option", { value: "" }, "any"), options.map((value) => h("option", { value }, value)))
    : h("input", { name, autocomplete: "off", ...attributes });
  return h("label", {}, label, input);
}

function needs({ conflicts, paused, unresolved, blind }) {
  const guests = [...conflicts, ...paused, ...unresolved].map(migration);
  return [
    ...guests.map((row) => ({ ...row, at: row.time, to: { view: "migration", of: row.key } })),
    ...blind.map(({ host, why, time }) => ({
      ...{ key: `host ${host}`, at: time, to: { view: "host", of: host }, name: host, text: `blind: ${why}`, tone: "bad" },
    })),
  ];
}

function byName(one, other) {
  return one.host < other.host ? -1 : 1;
}

function points(rows, what) {
  return rows
    .filter((row) => row[what] !== null)
    .map((row) => ({ at: row.time, milliseconds: row[what], tone: row.tone, migration: row.key }));
}

customElements.define("fleet-overview", FleetOverview);
