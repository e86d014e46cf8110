"use strict";
(() => {
  const EVERY = 10_000;
  const two = (number) => String(number).padStart(2, "0");
  const day = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const clock = (at) => `${two(at.getHours())}:${two(at.getMinutes())}`;

  async function copy(text) {
    // Browsers have a clipboard only over https and on this machine itself.
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("the browser does not copy");
  }

  function copyButton(value) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy " + value.dataset.label);
    button.addEventListener("click", async () => {
      button.textContent = await copy(value.dataset.copy).then(() => "Copied", () => "Failed");
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    return button;
  }

  function prepare(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      time.textContent = `${day(at)} ${clock(at)}:${two(at.getSeconds())}`;
      time.title = time.dateTime;
    }
    for (const value of root.querySelectorAll("[data-copy]")) value.after(copyButton(value));
  }

  const zone = document.getElementById("zone");
  if (zone) zone.textContent = "Times in " + Intl.DateTimeFormat().resolvedOptions().timeZone;
  prepare(document);

  // The URL has UTC; the field shows the time of this place.
  const since = document.getElementById("since");
  if (since) {
    const at = new Date(since.value + "Z");
    if (since.value && !isNaN(at)) since.value = `${day(at)}T${clock(at)}`;
    document.querySelector("label[for=since]").textContent = "Created since";
    since.form.addEventListener("formdata", ({ formData }) => {
      if (since.value) formData.set("since", new Date(since.value).toISOString().slice(0, 16));
    });
  }

  const button = document.getElementById("live");
  const regions = [...document.querySelectorAll("[data-live]")];
  if (!button || !regions.length) return;
  const shown = new Map();
  const isOn = () => button.getAttribute("aria-pressed") === "true";
  const set = (on) => {
    button.setAttribute("aria-pressed", String(on));
    sessionStorage.setItem("live", on ? "on" : "off");
  };
  button.hidden = false;
  set(sessionStorage.getItem("live") !== "off");
  button.addEventListener("click", () => { set(!isOn()); if (isOn()) refresh(); });

  // Nothing moves under the hand of someone who selects text or is about to press a button.
  const inUse = (region) => region.contains(document.activeElement) || !getSelection().isCollapsed;

  async function refresh() {
    const answer = await fetch(location.href).catch(() => null);
    if (answer?.status === 401) return location.reload();
    if (!answer?.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const region of regions) {
      const next = fresh.getElementById(region.id);
      if (!next || next.innerHTML === shown.get(region.id) || inUse(region)) continue;
      shown.set(region.id, next.innerHTML);
      const open = [...region.querySelectorAll("details")].map((one) => one.open);
      region.replaceChildren(...next.childNodes);
      region.querySelectorAll("details").forEach((one, index) => { one.open = open[index] ?? one.open; });
      prepare(region);
    }
  }
  setInterval(() => { if (isOn() && !document.hidden) refresh(); }, EVERY);
})();
