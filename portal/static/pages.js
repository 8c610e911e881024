// What every page does beyond plain HTML. Each part is an addition: without it the page still works.
"use strict";

// --- One click, one request ---------------------------------------------------------------------
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  // Disabled only after the form was read: the button's own name and address are part of it.
  setTimeout(() => event.submitter?.setAttribute("aria-busy", "true"));
  setTimeout(() => delete form.dataset.sent, 4000);
});

window.addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
  for (const button of document.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
});

// --- Shown once: not even when the browser restores the page from its cache ---------------------
window.addEventListener("pagehide", () => {
  for (const part of document.querySelectorAll("[data-shown-once]")) part.remove();
});

// --- Live pieces --------------------------------------------------------------------------------
const offline = document.getElementById("offline");

document.addEventListener("htmx:beforeRequest", (event) => {
  const piece = event.detail.elt;
  const selecting = piece.hasAttribute("data-live") && !document.getSelection().isCollapsed;
  if (piece.hasAttribute("data-live") && (document.hidden || selecting)) event.preventDefault();
});

for (const kind of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(kind, () => { offline.hidden = false; });
}

document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.xhr?.status > 0 && event.detail.xhr.status < 500) offline.hidden = true;
});

document.addEventListener("htmx:responseError", (event) => {
  const gone = event.detail.elt.closest("[data-gone]");
  if (event.detail.xhr.status === 404 && gone) location.assign(gone.dataset.gone);
  if (event.detail.xhr.status >= 500) offline.hidden = false;
});

// --- Said aloud only when it is new -------------------------------------------------------------
const announcer = document.getElementById("announcer");
let said = document.querySelector("[data-announce]")?.dataset.announce;

document.addEventListener("htmx:afterSettle", () => {
  const text = document.querySelector("[data-announce]")?.dataset.announce;
  if (announcer && text && text !== said) announcer.textContent = said = text;
  showElapsed();
});

// --- A search keeps its address: for reloading, and for the way back ----------------------------
document.addEventListener("htmx:afterSettle", () => {
  const found = document.querySelector("[data-address]");
  if (found) history.replaceState(null, "", found.dataset.address);
});

// --- How long it has been moving ----------------------------------------------------------------
function showElapsed() {
  for (const place of document.querySelectorAll("[data-since]")) {
    const seconds = Math.max(0, Math.round((Date.now() - Date.parse(place.dataset.since)) / 1000));
    const minutes = Math.floor(seconds / 60);
    place.textContent = `For ${minutes ? `${minutes} min ${seconds % 60}` : seconds} s`;
  }
}
showElapsed();
setInterval(showElapsed, 1000);
