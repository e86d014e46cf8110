// After samples.js.
{
  const instance = document.getElementById("instance");
  const token = document.getElementById("token");
  document.getElementById("credentials").addEventListener("submit", (event) => event.preventDefault());
  for (const field of [instance, token]) {
    field.value = remembered(field.id) ?? "";
    field.addEventListener("input", () => { remember(field.id, field.value); fill(); });
  }

  const filter = document.getElementById("filter");
  filter.hidden = false;
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    for (const item of all("nav li li")) item.hidden = !item.textContent.toLowerCase().includes(wanted);
    for (const item of all("nav > ul > li")) {
      const inner = all("li", item);
      const own = item.textContent.toLowerCase().includes(wanted);
      item.hidden = inner.length ? inner.every((one) => one.hidden) : !own;
    }
  });

  // Below whatever path the daemon is published at.
  const base = location.href.replace(/[#?].*$/, "").replace(/\/docs$/, "");
  const send = async (form) => {
    const fields = all("[data-in]", form);
    const at = (place) => fields.filter((field) => field.dataset.in === place);
    let path = form.dataset.path.replace("{instance}", encodeURIComponent(instance.value.trim()));
    for (const field of at("path")) path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
    const query = new URLSearchParams(at("query").filter((field) => field.value).map((field) => [field.name, field.value]));
    const headers = new Headers(at("header").filter((field) => field.value).map((field) => [field.name, field.value]));
    if ("token" in form.dataset && !headers.has("authorization")) headers.set("authorization", `Bearer ${token.value.trim()}`);
    const body = form.querySelector("textarea");
    if (body) headers.set("content-type", body.dataset.media);
    return fetch(base + path + (query.size ? `?${query}` : ""), {
      method: form.dataset.method, headers, body: body?.value, redirect: "manual", credentials: "omit",
      signal: AbortSignal.timeout(60000),
    });
  };
  for (const form of all(".try form")) {
    const status = form.querySelector("[role=status]");
    const output = form.querySelector("pre");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const missing = [
        form.dataset.path.includes("{instance}") && !instance.value.trim() && "Instance",
        "token" in form.dataset && !token.value.trim() && "API token",
      ].filter(Boolean);
      if (missing.length) {
        status.className = "bad";
        status.textContent = `Fill in ${missing.join(" and ")} at the top of this page first.`;
        output.hidden = true;
        return;
      }
      status.className = "";
      status.textContent = "…";
      const start = performance.now();
      try {
        const answer = await send(form);
        let text = await answer.text();
        try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* as it is */ }
        const took = Math.round(performance.now() - start);
        status.textContent = answer.type === "opaqueredirect"
          ? `a redirect, ${took} ms` : `${answer.status} ${answer.statusText}, ${took} ms`;
        status.className = answer.status < 400 ? "good" : "bad";
        output.textContent = text;
        output.hidden = !text;
      } catch (error) {
        status.className = "bad";
        status.textContent = location.protocol === "file:" ? "This is a saved page; open /docs of a daemon." : String(error);
        output.hidden = true;
      }
    });
  }

  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  if ("IntersectionObserver" in window) {
    const observer = new IntersectionObserver((entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-10% 0px -75% 0px" });
    for (const id of links.keys()) {
      const section = document.getElementById(id);
      if (section) observer.observe(section);
    }
  }
}
