// What is live on a page: each event names places, and what they show now.
"use strict";
(() => {
  const status = document.getElementById("live");
  if (!status || !window.EventSource) return;
  const places = new Map();
  for (const element of document.querySelectorAll("[data-live]")) {
    const place = element.dataset.live;
    if (!places.has(place)) places.set(place, []);
    places.get(place).push(element);
  }
  const allowed = new Set(["d", "width", "href", "class"]);
  const stopped = document.getElementById("stopped");
  let source;
  const listen = () => {
    source = new EventSource("/console/events");
    source.onopen = () => { status.classList.add("on"); stopped.textContent = ""; };
    source.onmessage = (event) => {
      const now = JSON.parse(event.data);
      for (const [place, text] of Object.entries(now.text)) {
        for (const element of places.get(place) || []) {
          if (element.textContent !== text) element.textContent = text;
        }
      }
      for (const [place, attributes] of Object.entries(now.attr)) {
        for (const element of places.get(place) || []) {
          for (const [name, value] of Object.entries(attributes)) {
            if (!allowed.has(name) || (name === "href" && !value.startsWith("/console/"))) continue;
            if (element.getAttribute(name) !== value) element.setAttribute(name, value);
          }
        }
      }
    };
    source.onerror = () => {
      status.classList.remove("on");
      if (source.readyState === EventSource.CLOSED) stopped.textContent = ", not live any more: reload the page";
    };
  };
  // A page that is not looked at costs nothing.
  document.addEventListener("visibilitychange", () => {
    source.close();
    if (document.visibilityState === "visible") listen();
  });
  listen();
})();
