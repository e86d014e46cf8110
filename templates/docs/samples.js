"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
// Credentials are remembered in this tab alone, the language in this browser.
const store = (name) => (name === "language" ? localStorage : sessionStorage);
const remembered = (name) => { try { return store(name).getItem(name); } catch { return null; } };
const remember = (name, value) => { try { store(name).setItem(name, value); } catch { /* a saved page */ } };

// Samples with the reader's own address, instance and token.
const fill = () => {
  const values = {
    COUNTERSIGN_URL: location.href.replace(/[#?].*$/, "").replace(/\/docs(\/[^/]*)?$/, ""),
    COUNTERSIGN_INSTANCE: remembered("instance"),
    COUNTERSIGN_TOKEN: remembered("token"),
  };
  for (const code of all("pre code")) {
    const walker = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      node.written ??= node.data;
      if (!node.written.includes("$COUNTERSIGN_")) continue;
      const filled = node.written.replace(/\$(COUNTERSIGN_[A-Z]+)/g, (all, name) => values[name]?.trim() || all);
      if (filled !== node.data) node.data = filled;
    }
  }
};

{
  // Frameworks of the guides, by the language of the reference.
  const families = { Express: "Node", "Next.js": "Node", FastAPI: "Python", Django: "Python" };
  const family = (label) => families[label] ?? label;

  const choose = (label) => {
    for (const group of all(".samples")) {
      const samples = all("[data-sample]", group);
      const shown = samples.find((sample) => sample.dataset.sample === label)
        ?? samples.find((sample) => family(sample.dataset.sample) === family(label)) ?? samples[0];
      for (const sample of samples) sample.hidden = sample !== shown;
      for (const tab of all("[role=tab]", group)) {
        const selected = tab.textContent === shown.dataset.sample;
        tab.setAttribute("aria-selected", String(selected));
        tab.tabIndex = selected ? 0 : -1;
      }
    }
    remember("language", label);
  };
  all(".samples").forEach((group, number) => {
    const bar = document.createElement("div");
    bar.className = "tabs";
    const tabs = document.createElement("div");
    bar.append(tabs);
    tabs.setAttribute("role", "tablist");
    tabs.setAttribute("aria-label", group.getAttribute("aria-label"));
    all("[data-sample]", group).forEach((sample, index) => {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.textContent = sample.dataset.sample;
      tab.setAttribute("role", "tab");
      tab.id = `tab-${number}-${index}`;
      sample.id = `sample-${number}-${index}`;
      tab.setAttribute("aria-controls", sample.id);
      sample.setAttribute("role", "tabpanel");
      sample.setAttribute("aria-labelledby", tab.id);
      tab.addEventListener("click", () => choose(sample.dataset.sample));
      tabs.append(tab);
    });
    tabs.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const list = all("[role=tab]", tabs);
      const next = list[(list.indexOf(document.activeElement) + step + list.length) % list.length];
      next.click();
      next.focus();
    });
    if (navigator.clipboard) {
      const copy = document.createElement("button");
      copy.type = "button";
      copy.className = "copy";
      copy.textContent = "Copy";
      copy.addEventListener("click", async () => {
        const shown = all("[data-sample]", group).find((sample) => !sample.hidden);
        await navigator.clipboard.writeText(shown.querySelector("code").textContent);
        copy.textContent = "Copied";
        setTimeout(() => { copy.textContent = "Copy"; }, 1500);
      });
      bar.append(copy);
    }
    group.classList.add("tabbed");
    group.prepend(bar);
  });
  choose(remembered("language") ?? "curl");
  fill();
}
