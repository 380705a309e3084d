// Times and figures for people; in the reader's time zone.
import { h } from "./dom.js";

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const PRECISE = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const WHEN = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** `14:03:22` of a stamp or a Date, in an element with the complete one. */
export function clock(stamp) {
  return time(stamp, CLOCK);
}

/** `14:03:22.118`. */
export function precisely(stamp) {
  return time(stamp, PRECISE);
}

/** `28 Nov, 14:03:22`. */
export function when(stamp) {
  return time(stamp, WHEN);
}

/** `Saturday 28 November 2026`. */
export function day(stamp) {
  return DAY.format(new Date(stamp));
}

function time(stamp, format) {
  const date = new Date(stamp);
  if (Number.isNaN(date.getTime())) return h("span", {}, "?");
  return h("time", { datetime: date.toISOString(), title: date.toISOString() }, format.format(date));
}

/** `27 ms`, `0.9 s`, `4 min 10 s`, `2 h 5 min`: as in `watch`. */
export function duration(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 0.1) return `${Math.round(milliseconds)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return two(Math.floor(whole / 60), "min", whole % 60, "s");
  const minutes = Math.round(whole / 60);
  return two(Math.floor(minutes / 60), "h", minutes % 60, "min");
}

function two(more, large, less, small) {
  return less ? `${more} ${large} ${less} ${small}` : `${more} ${large}`;
}

/** `118 MiB`. */
export function bytes(count) {
  const power = count < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(count) / 10));
  const figure = count / 1024 ** power;
  return `${figure < 10 && power > 0 ? figure.toFixed(1) : Math.round(figure)} ${UNITS[power]}`;
}

/** `1 guest`, `2,000 guests`. */
export function count(number, singular) {
  return `${number.toLocaleString("en")} ${singular}${number === 1 ? "" : "s"}`;
}
