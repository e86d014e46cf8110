document.addEventListener("DOMContentLoaded", () => {
  const main = document.querySelector("main"), { stage, path, form } = main.dataset;
  const by = (id) => document.getElementById(id);
  // Again where the network broke: without it nothing binds this browser.
  const tap = (place, auto, tries = 3) => {
    const body = new URLSearchParams({ form, place });
    if (auto) body.set("auto", "1");
    return fetch(path, { method: "POST", body, keepalive: true, headers: { accept: "application/json" } })
      .then((answer) => (answer.ok ? answer.json() : {}), () => (tries > 1 ? tap(place, auto, tries - 1) : {}));
  };
  let over = false;
  // A form was submitted: events that it causes must not navigate the browser back.
  document.addEventListener("submit", () => { over = true; });
  const seen = (state) => {
    if (over || !state || state === stage) return;
    over = true;
    location.replace(path);
  };
  const ask = () => fetch(path + "/events?now", { headers: { accept: "application/json" } })
    .then((answer) => answer.json()).then((answer) => seen(answer.state), () => {});
  let polling = 0;
  const poll = () => { polling = polling || setInterval(ask, 3000); };
  if (window.EventSource) {
    const source = new EventSource(path + "/events");
    source.addEventListener("state", (event) => seen(JSON.parse(event.data).state));
    source.onerror = () => { if (source.readyState === 2) poll(); };
    addEventListener("pagehide", () => source.close());
  } else poll();
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  addEventListener("pageshow", (event) => { if (event.persisted) location.replace(path); });

  const left = by("left"), skew = Date.now() - main.dataset.now;
  if (left) {
    const tick = () => {
      const rest = Math.max(0, Math.ceil((main.dataset.until - Date.now() + skew) / 1000));
      left.textContent = Math.floor(rest / 60) + ":" + String(rest % 60).padStart(2, "0");
      if (rest === 0) { clearInterval(clock); setTimeout(ask, 500); }
    };
    const clock = setInterval(tick, 1000);
    tick();
  }
  if (stage === "finish" && "automatic" in main.dataset) by("finish").querySelector("button").click();
  if (stage !== "pending") return;

  const desktop = matchMedia("(hover: hover) and (pointer: fine)").matches;
  const here = by("here"), scan = by("scan"), hand = by("hand"), open = by("open"), copy = by("copy");
  open.addEventListener("click", () => { tap("here"); });
  hand.addEventListener("toggle", () => { if (hand.open) tap(desktop && scan ? "qr" : "here"); });
  copy.addEventListener("click", () => {
    const done = () => { copy.textContent = copy.dataset.done; };
    navigator.clipboard?.writeText(by("text").textContent).then(done, () => getSelection().selectAllChildren(by("text")));
  });
  if (desktop) open.target = "_blank";
  if (!scan) return;
  let automatic = false;
  scan.addEventListener("toggle", () => { if (scan.open && !automatic) tap("qr"); automatic = false; });
  if (desktop) {
    here.before(scan);
    main.classList.add("wide");
    const show = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", show);
      tap("qr", true).then((answer) => {
        if (answer.place === "qr" && !scan.open) { automatic = true; scan.open = true; }
      });
    };
    document.addEventListener("visibilitychange", show);
    show();
  }
});
