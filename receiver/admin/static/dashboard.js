// Keeps the page current without a flicker, and leaves open what the reader has opened.
"use strict";

const SECONDS = 5;

// A slot or a deployment that has the keyboard keeps it when the page around it is replaced.
function focused() {
  return document.activeElement.closest("#content [id]")?.id;
}

async function refresh() {
  if (document.hidden || !getSelection().isCollapsed) return; // nobody copies from a page that moves
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
  say(textContent, className);
  document.title = fresh.title;
}

// Set only where it changes: a screen reader says it each time.
function say(text, look) {
  const summary = document.getElementById("summary");
  if (summary.textContent !== text) summary.textContent = text;
  summary.className = look;
}

function unreachable() {
  say("the receiver does not answer", "badge alarm");
}

setInterval(() => refresh().catch(unreachable), SECONDS * 1000);
