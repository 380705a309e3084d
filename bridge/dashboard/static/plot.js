// <duration-plot>: the duration or downtime of each migration over time.
import { h, link, refill, svg } from "./dom.js";
import { go } from "./route.js";
import { count, duration } from "./text.js";

const WIDTH = 600;
const HEIGHT = 120;
const EDGE = 6;

/** Set `label` (`Downtime`) and `points`: {at, milliseconds, tone, migration}, in any order. */
export class DurationPlot extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", ({ target }) => {
      if (target.dataset.migration) go(`?${new URLSearchParams({ view: "migration", of: target.dataset.migration })}`);
    });
  }

  set points(points) {
    if (points.length === 0) {
      refill(this, h("h3", {}, this.label), h("p", { class: "none" }, "no figures yet"));
      return;
    }
    const figures = points.map((point) => point.milliseconds).sort((a, b) => a - b);
    const [least, most] = [Math.max(1, figures[0]), Math.max(2, figures.at(-1))];
    const times = points.map((point) => Date.parse(point.at));
    const [first, last] = [Math.min(...times), Math.max(...times)];
    const x = (at) => EDGE + ((Date.parse(at) - first) / (last - first || 1)) * (WIDTH - 2 * EDGE);
    const y = (ms) => HEIGHT - EDGE - (Math.log(Math.max(1, ms) / least) / (Math.log(most / least) || 1)) * (HEIGHT - 2 * EDGE);
    const median = figures[Math.floor(figures.length / 2)];
    const words = `${count(points.length, "migration")}: median ${duration(median)}, longest ${duration(figures.at(-1))}`;
    const dots = points.map((point) =>
      svg("circle", { cx: x(point.at), cy: y(point.milliseconds), r: 3.5, class: point.tone, "data-migration": point.migration }),
    );
    const longest = points.find((point) => point.milliseconds === figures.at(-1));
    refill(
      this,
      h("h3", {}, this.label),
      svg(
        "svg",
        { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${this.label} of ${words}`, preserveAspectRatio: "none" },
        svg("line", { x1: 0, x2: WIDTH, y1: y(median), y2: y(median) }),
        ...dots,
      ),
      h("p", {}, words, " (", link({ view: "migration", of: longest.migration }, "that one"), ")"),
    );
  }
}

customElements.define("duration-plot", DurationPlot);
