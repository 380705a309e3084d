// The page: the overview, over it the view that the URL names, and in the head the age of the data.
import { onPassword } from "./api.js";
import { h, refill } from "./dom.js";
import { GuestPage } from "./guest.js";
import { GuestsPage, HostPage } from "./guests.js";
import { MigrationPage } from "./migration.js";
import { FleetOverview } from "./overview.js";
import { follow, go, view } from "./route.js";
import { clock } from "./text.js";

const DETAILS = { migration: MigrationPage, guest: GuestPage, host: HostPage, guests: GuestsPage };
const TITLE = document.title;

const main = document.querySelector("main");
const asOf = document.querySelector("#as-of");
const trouble = document.querySelector("#trouble");
const overview = new FleetOverview();
let summary = null;
let left = null; // where on the overview the reader was

function show() {
  const { name, of } = view();
  const Page = DETAILS[name];
  if (Page && !overview.hidden) left = { focus: document.activeElement, scrolled: scrollY };
  document.querySelector(".detail")?.remove();
  overview.hidden = Page !== undefined;
  if (Page) {
    main.append(new Page(of ?? ""));
    scrollTo(0, 0);
  } else {
    document.title = TITLE;
    overview.show();
    left?.focus.focus({ preventScroll: true });
    if (left) scrollTo(0, left.scrolled);
    left = null;
  }
}

/** Shows why no new data arrive, and how old the shown data are. */
function tellAge(why) {
  trouble.hidden = why === null;
  asOf.hidden = why !== null;
  if (why === null) refill(asOf, "Live, as of ", clock(overview.stream.heardAt));
  else if (trouble.dataset.why !== why) {
    const since = summary?.as_of ?? overview.stream.heardAt;
    refill(trouble, since ? ["As of ", clock(since), ": "] : "", why);
  }
  trouble.dataset.why = why ?? "";
}

function told(news) {
  summary = news;
  const { broker, store } = news;
  tellAge(broker.connected ? (store.why ? `writes to the store fail, ${store.why}` : null) : `no connection to the broker, ${broker.why}`);
}

/** Asks for the password until it is correct. */
function askPassword() {
  const input = h("input", { type: "password", name: "password", autocomplete: "current-password", required: true });
  const wrong = h("p", { class: "bad", role: "alert" });
  const form = h("form", {}, h("label", {}, "Password", input), wrong, h("button", {}, "Sign in"));
  const dialog = h("dialog", { "aria-label": "Password" }, form);
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      const answer = await fetch("login", { method: "POST", body: new URLSearchParams(new FormData(form)) }).catch(() => null);
      if (answer?.ok) {
        dialog.remove();
        resolve();
      } else wrong.textContent = answer?.status === 401 ? "Wrong password." : "No response; try again.";
      input.select();
    });
  });
}

onPassword(askPassword);
follow();
main.append(overview);
addEventListener("navigate", show);
document.querySelector("#find").addEventListener("submit", (event) => {
  event.preventDefault();
  go(`?${new URLSearchParams({ view: "guests", of: event.target.elements.of.value })}`);
});
show();
overview.start(told);
overview.stream.addEventListener("stale", () => tellAge("no data from the dashboard, reconnecting"));
