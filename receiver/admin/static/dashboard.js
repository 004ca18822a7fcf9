// Refreshes the page in place; sections that the reader has opened stay open.
"use strict";

const SECONDS = 5;

const FOCUSABLE = "summary, a, button, [tabindex]";

// Where the keyboard focus is, so that it can stay there when the content is replaced.
function focused() {
  const place = document.activeElement.closest("#content [id]");
  return place && [place.id, [...place.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement)];
}

async function refresh() {
  if (document.hidden || !getSelection().isCollapsed) return; // do not replace text that is being selected
  const response = await fetch(location.href, { cache: "no-store" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const details of document.querySelectorAll("details[id]")) {
    const next = fresh.getElementById(details.id);
    if (next) next.open = details.open;
  }
  const kept = focused();
  document.getElementById("content").replaceWith(fresh.getElementById("content"));
  if (kept) document.getElementById(kept[0])?.querySelectorAll(FOCUSABLE)[kept[1]]?.focus({ preventScroll: true });
  const { textContent, className } = fresh.getElementById("summary");
  showSummary(textContent, className);
  document.title = fresh.title;
  countDown();
  listen();
}

// A time as the reader's clock has it, and how long until then; the text that the server wrote has UTC.
function countDown() {
  for (const time of document.querySelectorAll("time.until")) {
    const at = new Date(time.dateTime), left = Math.round((at - Date.now()) / 1000);
    const far = at.toDateString() !== new Date().toDateString();
    const clock = at.toLocaleTimeString([], { hourCycle: "h23", hour: "2-digit", minute: "2-digit", second: left < 600 ? "2-digit" : undefined });
    const text = `${far ? `${at.toLocaleDateString()} ` : ""}${clock} (${left > 0 ? `in ${duration(left)}` : "now"})`;
    time.title ||= time.textContent;
    if (time.textContent !== text) time.textContent = text;
  }
}

function duration(seconds) {
  const parts = [[Math.floor(seconds / 86400), "d"], [Math.floor(seconds / 3600) % 24, "h"], [Math.floor(seconds / 60) % 60, "min"], [seconds % 60, "s"]];
  const first = parts.findIndex(([count]) => count > 0);
  return parts.slice(first, first + 2).filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

// A running deployment says when something has happened; without that the page is fetched every few seconds anyway.
// Only while it is seen: a browser opens six connections to a host, and tabs that keep them all would stop the next one.
let events = null;
function listen() {
  const url = document.querySelector("[data-events]")?.dataset.events;
  if (!url || events || document.hidden || !window.EventSource) return;
  events = new EventSource(url);
  events.addEventListener("step", () => refresh().catch(unreachable));
  events.addEventListener("end", () => { events.close(); refresh().catch(unreachable); });
}

// Set only on change: a screen reader announces every assignment.
function showSummary(text, look) {
  const summary = document.getElementById("summary");
  if (summary.textContent !== text) summary.textContent = text;
  summary.className = look;
}

function unreachable() {
  showSummary("the receiver does not answer", "badge alarm");
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    events?.close();
    events = null;
  } else {
    refresh().catch(unreachable);
  }
});
countDown();
listen();
setInterval(countDown, 1000);
setInterval(() => refresh().catch(unreachable), SECONDS * 1000);
