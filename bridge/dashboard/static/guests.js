// <host-page>, <guests-page>: the guests of one host, and those of the fleet with a text in their name.
import { Pages, quietly, read } from "./api.js";
import { Detail, facts, part } from "./detail.js";
import { h, link, named, refill } from "./dom.js";
import { listed } from "./lists.js";
import { showGuest } from "./rows.js";
import { count } from "./text.js";

const PAGE = 1000;

/** A page with a list of guests: read page by page, updated by the stream. `as` turns an item into what is kept, or null. */
class WithGuests extends Detail {
  #pages = null;
  #came = new Map(); // by UUID what is kept of an item that came, in the place of what was read
  guests = listed("guests", "Guests", showGuest, (row) => row.uuid);

  connectedCallback() {
    super.connectedCallback();
    this.guests.addEventListener("end", () => quietly(this.#pages.more().then(() => this.redraw())));
  }

  async load() {
    this.#pages = new Pages("domains", { limit: PAGE, ...this.parameters }, (item) => this.as(item));
    await this.#pages.more();
    this.#came.clear();
    this.redraw();
    return this.#pages.newest;
  }

  take(guest) {
    this.#came.set(guest.uuid, guest.gone ? null : this.as(guest));
    this.redraw();
  }

  draw() {
    const came = new Map(this.#came);
    const rows = this.#pages.rows.map((row) => {
      const now = came.has(row.uuid) ? came.get(row.uuid) : row;
      came.delete(row.uuid);
      return now;
    });
    if (this.#pages.complete) rows.push(...came.values());
    this.guests.complete = this.#pages.complete;
    this.guests.items = rows.filter((row) => row !== null);
  }
}

export class HostPage extends WithGuests {
  #facts = h("div");

  connectedCallback() {
    super.connectedCallback();
    this.parameters = { host: this.of };
    this.name = [named(this.of)];
    const past = link({ host: this.of }, "Past migrations of this host");
    refill(this.body, part("Now", this.#facts, h("p", {}, past)), part("Guests", this.guests));
    this.follow({ events: "host,domain", host: this.of }, (name, data) => (name === "host" ? this.#show(data) : this.take(data)));
  }

  async load() {
    const hosts = await read("hosts", { host: this.of });
    this.#show(hosts.items[0] ?? { host: this.of, gone: true });
    return super.load();
  }

  /** A guest's row here; null when it has left. */
  as({ uuid, name, places }) {
    const place = places.find(({ host }) => host === this.of);
    return place ? { uuid, name, host: this.of, state: place.state, reason: place.reason } : null;
  }

  #show(host) {
    if (host.gone) return refill(this.#facts, h("p", { class: "none" }, "No agent of this name is known."));
    const lost = host.holes.map(({ first, last }) => h("div", {}, first === last ? `${first}` : `${first} to ${last}`));
    return refill(
      this.#facts,
      facts({
        State: h("span", { class: host.blind ? "bad" : "good" }, host.blind ? `blind: ${host.why}` : host.state),
        libvirt: host.libvirt && [host.libvirt.uri, host.libvirt.hypervisor_version].filter(Boolean).join(", "),
        Agent: host.version,
        Guests: `${count(host.domains, "guest")}, ${host.running.toLocaleString("en")} running`,
        "Lost messages": lost.length ? lost : null,
      }),
    );
  }
}

export class GuestsPage extends WithGuests {
  connectedCallback() {
    super.connectedCallback();
    this.parameters = this.of ? { q: this.of } : {};
    this.name = this.of ? ["Guests: ", named(this.of)] : ["Guests"];
    refill(this.body, part("Guests of all hosts", this.guests));
    this.follow({ events: "summary" }, () => undefined);
  }

  as({ uuid, name, host, state, reason }) {
    return { uuid, name, host, state, reason };
  }
}

customElements.define("host-page", HostPage);
customElements.define("guests-page", GuestsPage);
