// The state in the URL, and only there: a view and its object, or the overview and its filters.

export const FILTERS = ["domain", "host", "outcome", "reason", "since", "until", "min_downtime_ms"];

/** The view that the URL names, by default `overview`; `of` is the object of a story, guest or host page. */
export function view() {
  const parameters = new URLSearchParams(location.search);
  return { name: parameters.get("view") ?? "overview", of: parameters.get("of") };
}

/** The URL's filters by the API's names, without empty ones. */
export function filters() {
  const parameters = new URLSearchParams(location.search);
  return Object.fromEntries(FILTERS.map((name) => [name, parameters.get(name)]).filter(([, value]) => value));
}

/** Goes to another URL of this page; with `replace` the back button skips the present one. */
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
