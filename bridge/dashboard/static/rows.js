// Rows: what is kept of an item of the API, and how the lists show it. Texts are the API's, the same as in `watch`.
import { h, link, named } from "./dom.js";
import { bytes, clock, count, duration, when } from "./text.js";

const TREND = { converging: "converging", stalled: "stalled", diverging: "falling behind" };
const SECONDS = { s: 1, m: 60, h: 3600, d: 86400 };

/** What is kept of a migration. */
export function migration({ key, cursor, time, domain, text, mark, tone, running, phase, progress, data }) {
  return {
    ...{ key, cursor, time, text, mark, tone, running, phase, progress },
    ...{ uuid: domain.uuid, name: nameOf(domain), source: data.source.host, destination: data.destination.host },
    ...{ outcome: data.outcome, reason: data.reason, began: data.started_at, downtime: data.downtime_ms, duration: data.duration_ms },
  };
}

/** What is kept of an event. */
export function event({ source, id, cursor, time, kind, domain, where, text, tone, data }) {
  const host = kind === "migration" ? null : data.host;
  return { key: `${source} ${id}`, cursor, time, uuid: domain?.uuid, name: domain ? nameOf(domain) : "", host, where, text, tone };
}

/** A domain's name, or the beginning of its UUID where no message named it. */
export function nameOf({ uuid, name }) {
  return name || uuid.slice(0, 8);
}

/** Whether the URL's filters select a migration. */
export function passes(row, filters) {
  const of = {
    domain: (value) => row.uuid === value || row.name === value,
    host: (value) => row.source === value || row.destination === value,
    outcome: (value) => value.split(",").includes(row.outcome),
    reason: (value) => value.split(",").includes(row.reason),
    since: (value) => Date.parse(row.time) >= moment(value),
    until: (value) => Date.parse(row.time) < moment(value),
    min_downtime_ms: (value) => row.downtime !== null && row.downtime >= Number(value),
  };
  return Object.entries(filters).every(([name, value]) => of[name](value));
}

function moment(value) {
  const [, number, unit] = /^(\d+)([smhd])$/.exec(value) ?? [];
  return unit ? Date.now() - number * SECONDS[unit] * 1000 : Date.parse(value);
}

/** Newest first; at the same moment, the last stored one. */
export function newestFirst(one, other) {
  return one.time < other.time ? 1 : one.time > other.time ? -1 : serial(other) - serial(one);
}

function serial({ cursor }) {
  return cursor === null ? Infinity : Number(cursor.split("-").at(-1));
}

/** A past migration: when, which guest, where, and the outcome. */
export function showPast(row) {
  return [stamped(row.time, clock), mark(row), who({ view: "migration", of: row.key }, row.name), route(row), text(row)];
}

/** An active migration: its progress, rate and expected end. */
export function showRunning(row) {
  const { percent, bandwidth_bytes_per_s: rate, trend, eta_s: eta } = row.progress ?? {};
  const figures = [
    typeof eta === "number" ? `${duration(eta * 1000)} left` : null,
    typeof rate === "number" ? `${bytes(rate)}/s` : null,
    TREND[trend] ?? trend,
  ].filter(Boolean);
  const copied = typeof percent === "number";
  return [
    stamped(row.began ?? row.time, clock),
    mark(row),
    who({ view: "migration", of: row.key }, row.name),
    route(row),
    h("span", { class: `text ${row.tone}`, title: row.text }, [row.phase ?? row.text, copied ? ` ${percent} %` : null]),
    copied
      ? h("progress", { max: 100, value: percent, "aria-label": `${row.name}, copied` }, `${percent} %`)
      : null,
    figures.length ? h("span", { class: "figures" }, figures.join(" · ")) : null,
  ];
}

/** Something that needs attention: {key, at, to, name, text, tone}. */
export function showNeed(row) {
  return [stamped(row.at, when), mark({ mark: "!", tone: row.tone }), who(row.to, row.name), text(row)];
}

/** A host: whether it is blind, and its number of guests. */
export function showHost(row) {
  const tone = row.blind ? "bad" : "good";
  return [
    mark({ mark: row.blind ? "○" : "●", tone }),
    who({ view: "host", of: row.host }, row.host),
    text({ text: row.blind ? `blind: ${row.why}` : row.state, tone }),
    h("span", { class: "figures" }, count(row.domains, "guest")),
  ];
}

/** A guest: where it is, and its state there. */
export function showGuest(row) {
  const tone = { running: "good", paused: "warn", crashed: "bad" }[row.state] ?? "dim";
  return [
    mark({ mark: row.state === "running" ? "●" : "○", tone }),
    who({ view: "guest", of: row.uuid }, nameOf(row)),
    text({ text: [row.state, row.reason].filter(Boolean).join(", ").replaceAll("_", " "), tone }),
    h("span", { class: "figures" }, row.host ? link({ view: "host", of: row.host }, named(row.host)) : "on no host"),
  ];
}

/** An event: when, where, and what happened. */
export function showEvent(row) {
  return [stamped(row.time, when), h("span", { class: "who" }, named(row.where)), text(row)];
}

/** The head of a day, in a list of what is past. */
export function showDay(row) {
  return [h("h3", { class: "day" }, row.day)];
}

function stamped(stamp, format) {
  return h("span", { class: "when" }, stamp ? format(stamp) : "");
}

function mark(row) {
  return h("span", { class: `mark ${row.tone}`, "aria-hidden": "true" }, row.mark);
}

function who(to, name) {
  return h("span", { class: "who" }, link(to, named(name)));
}

function route(row) {
  return h(
    "span",
    { class: "route" },
    named(row.source ?? "?"),
    h("span", { "aria-hidden": "true" }, " → "),
    h("span", { class: "unseen" }, " to "),
    named(row.destination ?? "?"),
  );
}

function text(row) {
  return h("span", { class: `text ${row.tone}`, title: row.text }, row.text);
}
