// Keeps the page current without a flicker, and leaves open what the reader has opened.
"use strict";

const SECONDS = 5;

async function refresh() {
  if (document.hidden) return;
  const response = await fetch("/", { cache: "no-store" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const details of document.querySelectorAll("details[id]")) {
    const next = fresh.getElementById(details.id);
    if (next) next.open = details.open;
  }
  for (const id of ["content", "summary"]) {
    document.getElementById(id).replaceWith(fresh.getElementById(id));
  }
  document.title = fresh.title;
}

function unreachable() {
  const summary = document.getElementById("summary");
  summary.textContent = "the receiver does not answer";
  summary.className = "badge alarm";
}

setInterval(() => refresh().catch(unreachable), SECONDS * 1000);
