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

setInterval(() => refresh().catch(unreachable), SECONDS * 1000);
