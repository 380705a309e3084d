// The base of pages about one thing: a heading that gets the focus, parts, and a stream that ends with the page.
import { Refused } from "./api.js";
import { h, refill } from "./dom.js";
import { Stream } from "./stream.js";

/** `load` reads and shows, with true everything again; if it finds nothing, that is shown in its place. */
export class Detail extends HTMLElement {
  #drawing = false;
  #stream = null;
  heading = h("h2", { tabindex: -1 });
  body = h("div", { class: "detail-body" });

  constructor(of) {
    super();
    this.of = of;
  }

  connectedCallback() {
    this.className = "detail";
    this.append(h("nav", {}, h("a", { href: "?", class: "back" }, "Overview")), this.heading, this.body);
    this.heading.focus({ preventScroll: true });
  }

  disconnectedCallback() {
    this.#stream?.end();
  }

  /** Sets the heading and the window's title. */
  set name(nodes) {
    refill(this.heading, nodes);
    document.title = `${this.heading.textContent} – libvirt-mqtt`;
  }

  /** Follows the stream: `load` with each new connection, `take` for each event. */
  follow(parameters, take) {
    const news = (name, data) => name === "summary" || take(name, data);
    this.#stream = new Stream(parameters, { begin: (anew) => this.begin(anew), take: news });
  }

  /** `load`, or in its place the reason why that failed. */
  async begin(anew) {
    try {
      return await this.load(anew);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refill(this.body, h("p", { class: "none", role: "alert" }, error.status === 404 ? "Nothing is known of it, or it is no longer kept." : error.message));
      return null;
    }
  }

  /** Has `draw` called once before the next frame. */
  redraw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.draw();
    });
  }
}

/** A part of the page with a heading. */
export function part(title, ...children) {
  return h("section", {}, h("h3", {}, title), children);
}

/** Pairs of a name and nodes; those without nodes are omitted. */
export function facts(pairs) {
  const known = Object.entries(pairs).filter(([, value]) => value !== null && value !== undefined && value.length !== 0);
  return h("dl", {}, known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}
