// <countersign-login start="start_url" events="…/requests/uuid/events" token="poll_token"></countersign-login>
// A button with a live status; with `qr`, also a QR code on devices other than phones. Emits `verified` for display
// only: start a session on `redeem`, never on this event.
customElements.define("countersign-login", class extends HTMLElement {
  static observedAttributes = ["start", "events", "token", "qr", "label"];

  connectedCallback() { this.draw(); this.follow(); }
  disconnectedCallback() { this.stop(); }
  attributeChangedCallback() { if (this.isConnected) { this.stop(); this.draw(); this.follow(); } }

  /** Only https, or http for development: an attribute must not become a script. */
  url(name) {
    try {
      const url = new URL(this.getAttribute(name) ?? "", location.href);
      return /^https?:$/.test(url.protocol) ? url.href : null;
    } catch { return null; }
  }

  draw() {
    const start = this.getAttribute("start") && this.url("start");
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    root.replaceChildren();
    if (!start) return;
    const make = (tag, properties, ...children) => {
      const element = Object.assign(document.createElement(tag), properties);
      element.append(...children);
      return element;
    };
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`:host{display:inline-block;font:inherit}a{display:inline-flex;align-items:center;min-height:3rem;
      padding:.6rem 1.4rem;border-radius:12px;background:var(--countersign-color,#0b7a4b);color:var(--countersign-ink,#fff);
      font-weight:600;text-decoration:none}a:focus-visible{outline:3px solid;outline-offset:2px}
      img{display:block;width:15rem;height:15rem;margin:0 0 1rem;border-radius:12px;background:#fff}`);
    root.adoptedStyleSheets = [sheet];
    const label = this.getAttribute("label") ?? "Continue with WhatsApp";
    const link = make("a", { href: start, part: "button" }, label);
    // A QR code of the wa.me link binds no browser, so it is only for links that were created with `challenge` and `qr`.
    if (this.hasAttribute("qr") && matchMedia("(hover: hover) and (pointer: fine)").matches) {
      root.append(make("img", { src: start + "/qr.svg", alt: label, part: "qr" }));
    }
    root.append(link, make("slot"));
  }

  tell(state) {
    if (!state || state === this.state) return;
    this.state = state;
    this.setAttribute("state", state);
    this.dispatchEvent(new CustomEvent(state, { bubbles: true, composed: true }));
  }

  /** Long polls with the request's poll token, which shows the state alone. */
  async follow() {
    const token = this.getAttribute("token"), events = this.getAttribute("events") && this.url("events");
    if (!token || !events) return;
    const control = this.control = new AbortController();
    const headers = { authorization: "Bearer " + token };
    for (let pause = 1000; !control.signal.aborted;) {
      try {
        const url = new URL(events);
        url.searchParams.set("wait", "25");
        const answer = await fetch(url, { headers, signal: control.signal, cache: "no-store" });
        if (answer.status === 401 || answer.status === 404) return;
        if (!answer.ok) throw new Error(answer.status);
        const { data } = await answer.json();
        this.tell(data.status);
        if (data.status !== "pending") return;
        pause = 1000;
      } catch {
        if (control.signal.aborted) return;
        await new Promise((resolve) => setTimeout(resolve, pause));
        pause = Math.min(pause * 2, 30000);
      }
    }
  }

  stop() { this.control?.abort(); }
});
