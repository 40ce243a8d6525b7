"use strict";
// Fetches the page again and replaces its main element. Open details, focus and scroll stay.
(() => {
  const note = document.getElementById("note");
  const pause = document.getElementById("pause");
  let paused = false;
  let asking = false;

  document.documentElement.dataset.script = "";

  const keep = (old, fresh) => {
    for (const before of old.querySelectorAll("details[id]")) {
      const now = fresh.querySelector("#" + CSS.escape(before.id));
      if (now) now.open = before.open;
    }
    const typed = old.querySelector("#filter");
    const field = fresh.querySelector("#filter");
    if (typed && field) field.value = typed.value;
    const focused = document.activeElement && document.activeElement.id;
    const [left, top] = [scrollX, scrollY];
    old.replaceWith(fresh);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    scrollTo(left, top);
  };

  const refresh = async () => {
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch(location.href, {
        headers: { Accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(10000),
      });
      if (!answer.ok) throw new Error("HTTP status " + answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      keep(document.querySelector("main"), page.querySelector("main"));
      note.textContent = "";
    } catch (error) {
      // Set once, because a screen reader reads each change aloud.
      if (!note.textContent) note.textContent = "Cannot refresh, showing the last state: " + error.message;
    } finally {
      asking = false;
    }
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume" : "Pause";
    if (!paused) refresh();
  });
  document.getElementById("again").addEventListener("click", (event) => {
    event.preventDefault();
    refresh();
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Cannot copy";
    }
  });
  setInterval(() => { if (!paused && !document.hidden) refresh(); }, 5000);
})();
