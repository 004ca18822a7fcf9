// Refreshes the page in place; sections that the reader has opened stay open.
"use strict";

const SECONDS = 5;

// The slot or deployment with keyboard focus keeps it when the content is replaced.
function focused() {
  return document.activeElement.closest("#content [id]")?.id;
}

async function refresh() {
  if (document.hidden || !getSelection().isCollapsed) return; // do not replace text that is being selected
  const response = await fetch("/", { cache: "no-store" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const details of document.querySelectorAll("details[id]")) {
    const next = fresh.getElementById(details.id);
    if (next) next.open = details.open;
  }
  const kept = focused();
  document.getElementById("content").replaceWith(fresh.getElementById("content"));
  if (kept) document.getElementById(kept)?.querySelector("summary, a")?.focus({ preventScroll: true });
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
