// <windowed-list>: a list of any length, of which only the rows in view are in the document.
import { h, refill } from "./dom.js";

const SPARE = 8; // rows drawn beyond each edge, so that a flick of the wheel finds them there

/**
 * Set `label`, `key` (item to text), `row` (item to an array of nodes) and `items`; all rows are as high as `--row` says.
 *
 * Rows that come or go never move the ones under the reader's hand: while the list is scrolled, or the pointer or the
 * focus is in it, the row there, or the first in view, stays where it is, and a row that is over stays, marked `over`,
 * until the hand has left. "end" is dispatched when the reader nears the end, for more rows to be fetched.
 */
export class WindowedList extends HTMLElement {
  #items = [];
  #rows = new Map(); // key to {item, element}, of what is drawn
  #over = new Set(); // keys of rows that are over and still shown
  #latest = []; // items as they were last given, without the ones that are over
  #scrolled = 0;
  #list = h("ol");
  #fresh = h("button", { type: "button", class: "fresh", hidden: true });
  #freshCount = 0;
  isHead = () => false; // of an item: whether it stands for those after it, and stays above them
  complete = true; // whether there is nothing after the last item

  connectedCallback() {
    if (this.#list.isConnected) return;
    this.append(this.#fresh, this.#list);
    this.#fresh.addEventListener("click", () => this.#toTop());
    this.addEventListener("scroll", () => this.#draw(), { passive: true });
    this.addEventListener("keydown", (event) => this.#move(event));
    this.addEventListener("pointerleave", () => this.#released());
    this.addEventListener("focusout", () => setTimeout(() => this.#released()));
    new ResizeObserver(() => this.#resized()).observe(this);
  }

  /** The items: an array, each with a unique key. */
  get items() {
    return this.#latest;
  }

  set items(items) {
    const held = this.scrollTop > 0 || this.#isHeld();
    const before = this.#latest;
    this.#latest = items;
    const shown = this.#isHeld() ? this.#withOver(items) : (this.#over.clear(), items);
    const anchor = held ? this.#anchor() : null;
    this.#items = shown;
    this.#list.style.height = `${shown.length * this.#height()}px`;
    if (anchor !== null) this.#keepInPlace(anchor, before);
    this.#draw();
  }

  /** Drops all rows: the next items are another list's. */
  clear() {
    this.#over.clear();
    this.#items = this.#latest = [];
    this.scrollTop = this.#scrolled = 0;
    this.#list.replaceChildren();
    this.#rows.clear();
  }

  #withOver(items) {
    const there = new Set(items.map(this.key));
    const merged = [...items];
    let before = null;
    for (const item of this.#items) {
      const key = this.key(item);
      if (!there.has(key)) {
        this.#over.add(key);
        merged.splice(before === null ? 0 : merged.findIndex((each) => this.key(each) === before) + 1, 0, item);
      } else this.#over.delete(key);
      before = key;
    }
    return merged;
  }

  #released() {
    if (this.#over.size > 0 && !this.#isHeld()) this.items = this.#latest;
  }

  #isHeld() {
    return this.matches(":hover") || this.contains(document.activeElement);
  }

  #height() {
    return parseFloat(getComputedStyle(this).getPropertyValue("--row")) * parseFloat(getComputedStyle(document.documentElement).fontSize);
  }

  /** The row in use (pointer or focus), else the first one entirely in view, and its distance from the top. */
  #anchor() {
    const height = this.#height();
    const inHand = [...this.#rows].find(([, { element }]) => element.matches(":hover, :focus-within"));
    const from = inHand ? this.#items.findIndex((item) => this.key(item) === inHand[0]) : Math.ceil(this.scrollTop / height);
    const index = this.#items.findIndex((item, at) => at >= from && !this.isHead(item));
    return index < 0 ? null : { key: this.key(this.#items[index]), offset: this.scrollTop - index * height };
  }

  #keepInPlace({ key, offset }, before) {
    const index = this.#items.findIndex((item) => this.key(item) === key);
    if (index < 0) return;
    this.scrollTop = index * this.#height() + offset;
    const known = new Set(before.map(this.key));
    this.#freshCount += this.#items.slice(0, index).filter((item) => !known.has(this.key(item))).length;
    this.#tellFresh();
  }

  #tellFresh() {
    if (this.scrollTop === 0) this.#freshCount = 0;
    this.#fresh.hidden = this.#freshCount === 0;
    this.#fresh.textContent = `${this.#freshCount} new`;
  }

  #toTop() {
    this.scrollTop = 0;
    this.#draw();
    this.#focus(0, 1);
  }

  #resized() {
    if (this.clientHeight === 0) return; // hidden: where the reader was is kept
    this.#list.style.height = `${this.#items.length * this.#height()}px`;
    this.scrollTop = this.#scrolled;
    this.#draw();
  }

  #draw() {
    if (this.clientHeight === 0 && this.#items.length > 0) return; // hidden
    this.#scrolled = this.scrollTop;
    const height = this.#height();
    const first = Math.max(0, Math.floor(this.scrollTop / height) - SPARE);
    const last = Math.min(this.#items.length, Math.ceil((this.scrollTop + this.clientHeight) / height) + SPARE);
    const kept = new Set();
    let after = null;
    for (let index = first; index < last; index += 1) {
      const element = this.#drawn(this.#items[index], index, height);
      kept.add(this.key(this.#items[index]));
      const place = after === null ? this.#list.firstChild : after.nextSibling;
      if (place !== element) this.#list.insertBefore(element, place);
      after = element;
    }
    for (const [key, { element }] of this.#rows) {
      if (!kept.has(key) && !element.contains(document.activeElement)) {
        element.remove();
        this.#rows.delete(key);
      }
    }
    this.#tellFresh();
    if (!this.complete && last >= this.#items.length - SPARE) this.dispatchEvent(new Event("end"));
  }

  #drawn(item, index, height) {
    const key = this.key(item);
    let row = this.#rows.get(key);
    if (row === undefined) this.#rows.set(key, (row = { item: null, element: h("li") }));
    if (row.item !== item && !row.element.matches(":active")) {
      row.item = item;
      refill(row.element, this.row(item));
    }
    row.element.classList.toggle("over", this.#over.has(key));
    row.element.style.transform = `translateY(${index * height}px)`;
    row.element.setAttribute("aria-posinset", index + 1);
    row.element.setAttribute("aria-setsize", this.complete ? this.#items.length : -1);
    return row.element;
  }

  #move(event) {
    const page = Math.max(1, Math.floor(this.clientHeight / this.#height()) - 1);
    const current = [...this.#rows].find(([, { element }]) => element.contains(document.activeElement));
    const index = current ? this.#items.findIndex((item) => this.key(item) === current[0]) : -1;
    const last = this.#items.length - 1;
    const down = { ArrowDown: index + 1, PageDown: index + page, Home: 0 }[event.key];
    const up = { ArrowUp: index - 1, PageUp: index - page, End: last }[event.key];
    if ((down === undefined && up === undefined) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (up === undefined) this.#focus(Math.min(down, last), 1);
    else this.#focus(Math.max(up, 0), -1);
  }

  /** Scrolls the row into view, and focuses the link in it, or in the next row in that direction. */
  #focus(index, direction) {
    const height = this.#height();
    for (let at = index; at >= 0 && at < this.#items.length; at += direction) {
      if (at * height < this.scrollTop) this.scrollTop = at * height;
      else if ((at + 1) * height > this.scrollTop + this.clientHeight) this.scrollTop = (at + 1) * height - this.clientHeight;
      this.#draw();
      const target = this.#rows.get(this.key(this.#items[at]))?.element.querySelector("a, button");
      target?.focus({ preventScroll: true });
      if (target) return;
    }
  }
}

customElements.define("windowed-list", WindowedList);
