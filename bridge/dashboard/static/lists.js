// The page's lists: a label, how a row is shown, and the key of a row.
import { h } from "./dom.js";
import { showDay } from "./rows.js";
import "./windowed-list.js";

/** A windowed list with an accessible name, laid out by the style sheet for `kind`; rows with `day` are heads. */
export function listed(kind, label, show, key = (row) => row.key) {
  const element = h("windowed-list", { class: kind, role: "region", "aria-label": label, tabindex: 0 });
  return Object.assign(element, {
    isHead: (row) => row.day !== undefined,
    row: (row) => (row.day ? showDay(row) : show(row)),
    key: (row) => (row.day ? row.key : key(row)),
  });
}
