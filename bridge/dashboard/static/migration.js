// <migration-page>: one migration: the events of both hosts side by side on one time axis.
import { quietly, read } from "./api.js";
import { Detail, facts, part } from "./detail.js";
import { h, link, named, refill } from "./dom.js";
import { event, migration, newestFirst } from "./rows.js";
import { duration, precisely, when } from "./text.js";

const GAP_REM = 4; // the most room that a quiet time gets

export class MigrationPage extends Detail {
  #followed = false;

  connectedCallback() {
    super.connectedCallback();
    this.draw();
  }

  /** Reads the story again with each event of its guest: only the API decides what belongs to it. */
  draw() {
    quietly(this.begin());
  }

  async load() {
    const story = await read(`migrations/${encodeURIComponent(this.of)}`);
    const row = migration(story.migration);
    if (!this.#followed) {
      this.#followed = true;
      this.follow({ events: "migration,event,progress", domain: row.uuid }, () => this.redraw());
    }
    this.name = [named(row.name), ": ", named(row.source ?? "?"), " → ", named(row.destination ?? "?")];
    refill(this.body, part("Outcome", this.#outcome(story.migration, row)), part("Events of both hosts", axis(story, row)));
  }

  #outcome({ data }, row) {
    const { percent } = row.progress ?? {};
    const outcome = h("p", { class: `verdict ${row.tone}` }, `${row.mark} ${row.text}`);
    const known = facts({
      Phase: row.phase,
      Copied: typeof percent === "number" ? `${percent} %` : null,
      Guest: link({ view: "guest", of: row.uuid }, named(row.name)),
      Source: host(row.source),
      Destination: host(row.destination),
      Began: data.started_at && when(data.started_at),
      Ended: data.ended_at && when(data.ended_at),
      Took: data.duration_ms === null ? null : duration(data.duration_ms),
      Downtime: data.downtime_ms === null ? null : `${data.downtime_ms} ms`,
      Mode: data.mode,
      Reason: data.reason,
      "Confirmed by": data.confirmed_by.join(" and "),
      Missing: (data.missing ?? []).map((each) => h("div", {}, each.text ?? each)),
    });
    return [outcome, known];
  }
}

function host(name) {
  return name && link({ view: "host", of: name }, named(name));
}

function axis({ messages, events, evidence, holes }, row) {
  const marked = new Set(evidence.map(({ source, id }) => `${source} ${id}`));
  const moments = [...events, ...messages].map(event).map((each) => ({ ...each, at: Date.parse(each.time), isEvidence: marked.has(each.key) }));
  moments.sort(newestFirst).reverse();
  const found = moments.filter(({ isEvidence }) => isEvidence).length;
  return [
    h("div", { class: "sides", "aria-hidden": "true" }, h("b", {}, named(row.source ?? "?")), h("span"), h("b", {}, named(row.destination ?? "?"))),
    h("ol", { class: "axis" }, moments.map((each, index) => moment(each, moments[index - 1] ?? each, moments[0], row))),
    h("p", { class: "none" }, "Times are by each host's own clock."),
    found < marked.size ? h("p", { class: "none" }, `${marked.size - found} messages of the evidence are not shown here.`) : null,
    holes.length ? h("p", { class: "warn" }, `${holes.length} gaps: messages of these hosts are lost.`) : null,
  ];
}

function moment(each, before, first, { source }) {
  const side = each.host === null ? "both" : each.host === source ? "left" : "right";
  const element = h(
    "li",
    { class: `${side}${each.isEvidence ? " evidence" : ""}` },
    h("span", { class: "at" }, precisely(each.time), h("small", {}, `+${duration(each.at - first.at)}`)),
    h(
      "span",
      { class: `what ${each.tone}` },
      each.host === null ? null : h("span", { class: "unseen" }, named(each.host), ": "),
      each.text,
      each.isEvidence ? h("small", { class: "evidence-mark" }, "evidence") : null,
    ),
  );
  element.style.setProperty("--gap", `${Math.min(GAP_REM, Math.log2(1 + (each.at - before.at) / 250) / 2)}rem`);
  return element;
}

customElements.define("migration-page", MigrationPage);
