// <guest-page>: a guest: where it is, and its history on all hosts.
import { quietly, read } from "./api.js";
import { Detail, facts, part } from "./detail.js";
import { h, link, named, refill } from "./dom.js";
import { byDay, History } from "./history.js";
import { listed } from "./lists.js";
import { event, migration, nameOf, showEvent, showPast } from "./rows.js";
import { when } from "./text.js";

export class GuestPage extends Detail {
  #guest = null;
  #now = h("div");
  #histories = {};
  #lists = { migrations: listed("past", "Migrations of this guest", showPast), events: listed("events", "Events of this guest on all hosts", showEvent) };

  connectedCallback() {
    super.connectedCallback();
    this.name = this.of.slice(0, 8);
    refill(this.body, part("Now", this.#now), part("Migrations", this.#lists.migrations), part("Events on all hosts", this.#lists.events));
    for (const [name, list] of Object.entries(this.#lists)) {
      list.addEventListener("end", () => quietly(this.#histories[name].more().then(() => this.redraw())));
    }
    this.follow({ events: "migration,event,domain", domain: this.of }, (name, data) => this.#take(name, data));
  }

  async load(anew) {
    const answer = await read("domains", { domain: this.of });
    this.#guest = answer.items[0] ?? null;
    if (anew) await this.#readHistories();
    this.redraw();
    return this.#histories.events.newest;
  }

  async #readHistories() {
    this.#histories = {
      migrations: new History("migrations", { domain: this.of }, migration),
      events: new History("events", { domain: this.of }, event),
    };
    await Promise.all(Object.values(this.#histories).map((history) => history.more()));
  }

  #take(name, data) {
    if (name === "domain") this.#guest = data.gone ? null : data;
    else this.#histories.events.take(data);
    if (name === "migration") this.#histories.migrations.take(data);
    this.redraw();
  }

  draw() {
    const past = this.#histories.migrations.rows();
    const name = this.#guest?.name ?? past[0]?.name ?? this.of.slice(0, 8);
    this.name = [named(name)];
    refill(this.#now, this.#guest ? this.#places(this.#guest) : h("p", { class: "none" }, "On no host now."));
    for (const [name_, list] of Object.entries(this.#lists)) {
      list.complete = this.#histories[name_].complete;
      list.items = byDay(this.#histories[name_].rows());
    }
  }

  #places({ uuid, places, location }) {
    return [
      facts({ UUID: uuid, Location: location && link({ view: "host", of: location }, named(location)) }),
      h("ul", {}, places.map((place) => h("li", {}, link({ view: "host", of: place.host }, named(place.host)), `: ${place.state}, ${place.reason} since `, when(place.time)))),
    ];
  }
}

customElements.define("guest-page", GuestPage);
