
"use strict";
// Moves the bar on from where the server drew it, and loads the page again. Nothing is asked in the background:
// the paths are the nodes' own, and the answer that comes when the node is ready must be the one that is shown.
const { elapsed, expected, most, reload } = document.querySelector("main").dataset;
const bar = document.querySelector("progress[value]");
const left = document.querySelector("[data-left]");

function duration(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}

function move() {
  const now = Number(elapsed) + performance.now() / 1000;
  const rest = Number(expected) - now;
  bar.value = Math.min(now / Number(expected), Number(most));
  left.textContent = rest > 0 ? `About ${duration(rest)} left` : "Taking longer than usual";
}

if (bar) setInterval(move, matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 250);
if (reload) setTimeout(() => location.reload(), 1000 * Number(reload));
