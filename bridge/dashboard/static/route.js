// What the URL says: a view and what it is of, or the overview and its filters. The URL is the only place they are in.

export const FILTERS = ["domain", "host", "outcome", "reason", "since", "until", "min_downtime_ms"];

/** The view that the URL names, `overview` where it names none; `of` is what a story, guest or host page is about. */
export function view() {
  const parameters = new URLSearchParams(location.search);
  return { name: parameters.get("view") ?? "overview", of: parameters.get("of") };
}

/** The filters that the URL has: by the API's names, without those that are empty. */
export function filters() {
  const parameters = new URLSearchParams(location.search);
  return Object.fromEntries(FILTERS.map((name) => [name, parameters.get(name)]).filter(([, value]) => value));
}

/** Goes to another URL of this page; `replace` leaves no step for the back button. */
export function go(search, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", search || location.pathname);
  dispatchEvent(new Event("navigate"));
}

/** Follows links within the page without loading it anew, and the back button. */
export function follow() {
  addEventListener("popstate", () => dispatchEvent(new Event("navigate")));
  document.addEventListener("click", (event) => {
    const target = event.target.closest?.('a[href^="?"]');
    if (!target || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(target.getAttribute("href"));
  });
}
