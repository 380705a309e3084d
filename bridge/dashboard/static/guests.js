// <host-page>, <guests-page>: the guests of one host, and those of the fleet with a text in their name.
import { Pages, quietly, read } from "./api.js";
import { Detail, facts, part } from "./detail.js";
import { h, link, named, refill } from "./dom.js";
import { listed } from "./lists.js";
import { showGuest } from "./rows.js";
import { count } from "./text.js";

const PAGE = 1000;

/** A page with a list of guests that is read page by page, and takes what the stream says of them. */
class WithGuests extends Detail {
  #pages = null;
  #came = new Map();
  guests = listed("guests", "Guests", showGuest, (row) => row.uuid);

  connectedCallback() {
    super.connectedCallback();
    this.guests.addEventListener("end", () => quietly(this.#pages.more().then(() => this.redraw())));
  }

  async load() {
    this.#pages = new Pages("domains", { limit: PAGE, ...this.parameters });
    await this.#pages.more();
    this.#came.clear();
    this.redraw();
    return this.#pages.newest;
  }

  take(guest) {
    this.#came.set(guest.uuid, guest);
    this.redraw();
  }

  draw() {
    const read = this.#pages.rows.map((row) => this.#came.get(row.uuid) ?? row);
    const known = new Set(read.map((row) => row.uuid));
    const fresh = this.#pages.complete ? [...this.#came.values()].filter((row) => !known.has(row.uuid)) : [];
    this.guests.complete = this.#pages.complete;
    this.guests.items = [...read, ...fresh].map((row) => this.as(row)).filter((row) => row !== null);
  }
}

export class HostPage extends WithGuests {
  #facts = h("div");

  connectedCallback() {
    super.connectedCallback();
    this.parameters = { host: this.of };
    this.name = [named(this.of)];
    const past = link({ host: this.of }, "Its past migrations");
    refill(this.body, part("Now", this.#facts, h("p", {}, past)), part("Guests", this.guests));
    this.follow({ events: "host,domain", host: this.of }, (name, data) => (name === "host" ? this.#show(data) : this.take(data)));
  }

  async load() {
    const hosts = await read("hosts", { host: this.of });
    this.#show(hosts.items[0] ?? { host: this.of, gone: true });
    return super.load();
  }

  /** A guest as it is here; null when it has left. */
  as(guest) {
    const place = guest.gone ? undefined : guest.places.find(({ host }) => host === this.of);
    return place === undefined ? null : { ...guest, ...place };
  }

  #show(host) {
    if (host.gone) return refill(this.#facts, h("p", { class: "none" }, "No agent of this name is known."));
    const lost = host.holes.map(({ first, last }) => h("div", {}, first === last ? `message ${first}` : `messages ${first} to ${last}`));
    return refill(
      this.#facts,
      facts({
        State: h("span", { class: host.blind ? "bad" : "good" }, host.blind ? `blind: ${host.why}` : host.state),
        libvirt: host.libvirt && [host.libvirt.uri, host.libvirt.hypervisor_version].filter(Boolean).join(", "),
        Agent: host.version,
        Guests: `${count(host.domains, "guest")}, ${host.running.toLocaleString("en")} running`,
        "Never came": lost.length ? lost : null,
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

  as(guest) {
    return guest;
  }
}

customElements.define("host-page", HostPage);
customElements.define("guests-page", GuestsPage);
