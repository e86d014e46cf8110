const desktop = matchMedia("(hover: hover) and (pointer: fine)").matches, root = document.documentElement;
// There the QR code moves to the top. Nothing is painted before, so that nothing is seen to move.
if (desktop) root.classList.add("load");
document.addEventListener("DOMContentLoaded", () => {
  const main = document.querySelector("main"), { stage, path, reload, form } = main.dataset;
  const by = (id) => document.getElementById(id), all = (query) => document.querySelectorAll(query);
  const net = by("net");
  let failing = false, over = false;
  const say = () => {
    const text = navigator.onLine ? (failing ? main.dataset.slow : "") : main.dataset.offline;
    if (net.textContent !== text) net.textContent = text;
    main.classList.toggle("cut", !!text);
  };
  addEventListener("offline", say);
  say();

  for (const button of all("[data-copy]")) {
    const label = button.textContent, source = by(button.dataset.copy);
    const done = () => {
      button.textContent = button.dataset.done;
      setTimeout(() => { button.textContent = label; }, 3000);
    };
    const select = () => getSelection().selectAllChildren(source);
    button.addEventListener("click", () => { navigator.clipboard ? navigator.clipboard.writeText(source.textContent).then(done, select) : select(); });
  }

  // Once: a second tap, or an event that the form causes, must not navigate the browser elsewhere.
  document.addEventListener("submit", (event) => {
    if (over || !navigator.onLine) { event.preventDefault(); say(); return; }
    over = true;
    const button = event.submitter, label = button?.textContent;
    const slow = setTimeout(() => { failing = true; say(); }, 4000);
    if (button) { button.textContent = main.dataset.busy; button.setAttribute("aria-disabled", "true"); }
    // Nothing came, or the person stopped it.
    setTimeout(() => {
      over = failing = false;
      clearTimeout(slow);
      if (button) { button.textContent = label; button.removeAttribute("aria-disabled"); }
      say();
    }, 15000);
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.replace(reload || location.href); });
  if (!path) { addEventListener("online", say); return; }

  // Again where the network broke: without it nothing binds this browser.
  const tap = (place, auto, tries = 3) => {
    const body = new URLSearchParams({ form, place });
    if (auto) body.set("auto", "1");
    return fetch(path, { method: "POST", body, keepalive: true, headers: { accept: "application/json" } })
      .then((answer) => (answer.ok ? answer.json() : {}), () => (tries > 1 ? tap(place, auto, tries - 1) : {}));
  };
  const seen = (state) => {
    if (over || !state || state === stage) return;
    over = true;
    location.replace(reload);
  };
  const reached = (good) => { failing = !good; say(); };
  const ask = () => fetch(path + "/events?now", { headers: { accept: "application/json" } })
    .then((answer) => { reached(answer.ok); return answer.json(); }).then((answer) => seen(answer.state))
    .catch(() => reached(false));
  let polling = 0, broken = 0;
  const poll = () => { polling = polling || setInterval(ask, 3000); };
  if (window.EventSource) {
    const source = new EventSource(path + "/events");
    const good = () => { clearTimeout(broken); broken = 0; reached(true); };
    source.addEventListener("open", good);
    source.addEventListener("state", (event) => { good(); seen(JSON.parse(event.data).state); });
    source.onerror = () => {
      if (source.readyState === 2) poll();
      // A stream that ends is opened again at once; only a longer break is worth a word.
      broken = broken || setTimeout(() => { if (!over) ask(); broken = 0; }, 4000);
    };
    addEventListener("pagehide", () => source.close());
  } else poll();
  addEventListener("online", () => { say(); ask(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });

  const left = by("left"), skew = Date.now() - main.dataset.now;
  if (left) {
    const tick = () => {
      const rest = Math.max(0, Math.ceil((main.dataset.until - Date.now() + skew) / 1000));
      left.classList.toggle("near", rest <= 120);
      left.querySelector("time").textContent = Math.floor(rest / 60) + ":" + String(rest % 60).padStart(2, "0");
      if (rest === 0) { clearInterval(clock); setTimeout(ask, 500); }
    };
    const clock = setInterval(tick, 1000);
    tick();
  }
  if (stage === "finish" && "automatic" in main.dataset) by("finish").querySelector("button").click();
  const open = by("open");
  if (!open) return;

  const here = by("here"), scan = by("scan"), hand = by("hand");
  open.addEventListener("click", () => {
    tap("here");
    const steps = all(".steps li");
    steps[0].removeAttribute("aria-current");
    steps[1].setAttribute("aria-current", "step");
    for (const element of all("[data-sent]")) element.textContent = element.dataset.sent;
  });
  hand.addEventListener("toggle", () => { if (hand.open) tap(desktop && scan ? "qr" : "here"); });
  if (desktop) {
    const label = open.querySelector("span");
    open.target = "_blank";
    if (label.textContent !== label.dataset.sent) label.textContent = label.dataset.here;
  }
  if (!scan) return;
  let automatic = scan.open;
  scan.addEventListener("toggle", () => { if (scan.open && !automatic) tap("qr"); automatic = false; });
  const title = by("title");
  if (desktop && title.textContent !== title.dataset.sent) {
    here.before(scan);
    main.classList.add("wide");
    // The place of the QR code is kept from the start; the code itself appears once its reply is for this browser.
    automatic = scan.open = true;
    scan.classList.add("veil");
    const show = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", show);
      tap("qr", true).then((answer) => {
        scan.classList.remove("veil");
        if (answer.place !== "qr") scan.open = false;
      });
    };
    document.addEventListener("visibilitychange", show);
    show();
  }
});
document.addEventListener("DOMContentLoaded", () => { root.classList.remove("load"); });
