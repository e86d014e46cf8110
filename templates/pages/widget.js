// <countersign-login start="start_url" events="…/requests/uuid/events" token="poll_token"></countersign-login>
// A button that shows how the login stands. With `qr`, for links made with `challenge` and `qr`, also a QR code on devices
// other than phones, and then a field for the reply's code. Emits, for display only: `verified`, `expired`, `failed` and
// `canceled`; `code`, with `detail.code`, for your server to redeem with its verifier; `renew`, when the person wants a new
// link. Start a session on `redeem`, never on an event. The guide "Your own QR page" describes it all.
{
const { lang, dir, texts } = TEXTS;
const SHEET = `:host{display:inline-block;font:inherit;max-width:100%}
:host([hidden]),[part~=box][hidden]{display:none}
[part~=box]{display:flex;flex-direction:column;gap:.75rem;align-items:flex-start}
[part~=button]{display:inline-flex;align-items:center;justify-content:center;gap:.6rem;min-height:3rem;padding:.6rem 1.4rem;border:2px solid transparent;
border-radius:var(--countersign-radius,12px);background:var(--countersign-color,#0b7a4b);color:var(--countersign-ink,#fff);font:inherit;font-weight:600;text-decoration:none;cursor:pointer;box-sizing:border-box}
[part~=button][aria-disabled]{opacity:.7;cursor:progress}
:focus-visible{outline:3px solid;outline-offset:2px}
[part~=qr]{display:block;width:15rem;height:15rem;max-width:100%;border-radius:12px;background:#fff}
[part~=content]:empty{display:none}
[part~=status]{display:flex;align-items:center;gap:.5rem;min-height:1.5em;margin:0}
[part~=icon]{flex:none;width:1.1em;height:1.1em;fill:none;stroke:currentColor;stroke-width:2.5;stroke-linecap:round;stroke-linejoin:round}
[part~=spinner]{flex:none;width:.9em;height:.9em;border:2px solid;border-inline-end-color:transparent;border-radius:50%;animation:turn 1s linear infinite}
@keyframes turn{to{transform:rotate(1turn)}}
@media (prefers-reduced-motion:reduce){[part~=spinner]{animation:none}}
form{display:flex;flex-wrap:wrap;gap:.5rem;align-items:end;margin:0}
label{display:flex;flex-direction:column;gap:.3rem;font-weight:600}
[part~=input]{box-sizing:border-box;width:11rem;min-height:3rem;padding:.4rem .6rem;border:1.5px solid currentColor;border-radius:var(--countersign-radius,12px);background:Field;color:FieldText;
font:600 1.3rem/1.2 ui-monospace,monospace;letter-spacing:.15em;text-transform:uppercase}`;
const TICK = "M4 12.5l5.5 5.5L20 7", CROSS = "M6 6l12 12M18 6L6 18", CLOCK = "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7.5V12l3 2";
const make = (tag, properties = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};
const icon = (path) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("part", "icon");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  svg.firstChild.setAttribute("d", path);
  return svg;
};
const ENDS = {
  verified: [TICK, texts.finish_title], expired: [CLOCK, texts.expired_title],
  failed: [CROSS, texts.wrong_sender_title], canceled: [CROSS, texts.canceled_title],
};

customElements.define("countersign-login", class extends HTMLElement {
  static observedAttributes = ["start", "events", "token", "qr", "label", "code-state"];

  connectedCallback() { this.begin(); }
  disconnectedCallback() { this.stop(); }
  attributeChangedCallback(name, before, after) {
    if (!this.isConnected || before === after) return;
    if (name === "code-state") this.draw(); else this.begin();
  }

  /** Draws the element and follows the request. An app sets several attributes in a row: they take effect together. */
  begin() {
    this.stop();
    clearTimeout(this.beginning);
    this.beginning = setTimeout(() => {
      this.tapped = this.cut = false;
      this.state = "pending";
      this.removeAttribute("state");
      this.draw();
      this.follow();
    });
  }

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
    if (!this.box) {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(SHEET);
      root.adoptedStyleSheets = [sheet];
      this.shown = make("div", { part: "content" });
      this.status = make("p", { part: "status", role: "status" });
      this.box = make("div", { part: "box", lang, dir }, make("slot", { name: "before" }), this.shown, this.status, make("slot"));
      root.append(this.box);
    }
    this.box.hidden = !start;
    if (!start) return;
    // The QR code of the wa.me link binds no browser, so it is only for links that were created with `challenge` and `qr`.
    const qr = this.hasAttribute("qr") && matchMedia("(hover: hover) and (pointer: fine)").matches;
    this.typing = this.state === "verified" && this.hasAttribute("qr") && this.getAttribute("code-state") !== "done";
    if (this.state === "pending") this.show("pending", () => this.button(start, qr));
    else if (this.typing) this.show("code", () => [this.form()]);
    else if (this.state === "expired") this.show("expired", () => [this.renewal(start)]);
    else this.show(this.state, () => []);
    this.say();
  }

  /** Replaces the content if another one is due, so that a field keeps what was typed. */
  show(what, parts) {
    const key = what + this.getAttribute("start") + this.getAttribute("label") + this.hasAttribute("qr");
    if (this.key === key) return;
    this.key = key;
    this.shown.replaceChildren(...parts());
  }

  button(start, qr) {
    const label = this.getAttribute("label") ?? texts.pending_title;
    const link = make("a", { href: start, part: "button", click: () => { this.tapped = true; this.say(); } }, make("slot", { name: "label" }, label));
    return qr ? [make("img", { src: start + "/qr.svg", alt: texts.qr_label, part: "qr", width: 240, height: 240 }), link] : [link];
  }

  form() {
    const input = make("input", { part: "input", dir: "ltr", autocomplete: "one-time-code", autocapitalize: "characters", autocorrect: "off",
      spellcheck: "false", minlength: 6, maxlength: 12, required: "" });
    const submit = (event) => {
      event.preventDefault();
      if (this.getAttribute("code-state") === "checking") return;
      this.setAttribute("code-state", "checking");
      this.dispatchEvent(new CustomEvent("code", { bubbles: true, composed: true, detail: { code: input.value } }));
    };
    return make("form", { submit }, make("label", {}, texts.code_label, input), make("button", { part: "button" }, texts.continue));
  }

  /** The app makes a new link and sets the attributes; else the start page says what the person can do. */
  renewal(start) {
    const click = () => {
      if (this.dispatchEvent(new CustomEvent("renew", { bubbles: true, composed: true, cancelable: true }))) location.href = start;
    };
    return make("button", { type: "button", part: "button renew", click }, texts.new_link);
  }

  /** The sentence below, with its sign. */
  say() {
    const code = this.getAttribute("code-state");
    let sign = null, text = "";
    if (this.typing) {
      if (code === "checking") [sign, text] = ["spinner", texts.one_moment];
      else [sign, text] = code === "wrong" ? [CROSS, texts.code_retry] : [TICK, texts.code_lead];
    } else if (this.state !== "pending") [sign, text] = ENDS[this.state] ?? ENDS.failed;
    else if (this.cut) [sign, text] = ["spinner", navigator.onLine ? texts.slow : texts.offline];
    else if (this.tapped || this.hasAttribute("qr")) [sign, text] = ["spinner", texts.waiting];
    if (this.said === text) return;
    this.said = text;
    const first = sign === "spinner" ? make("i", { part: "spinner", "aria-hidden": "true" }) : sign && icon(sign);
    this.status.replaceChildren(...[first, text].filter(Boolean));
    for (const element of this.shown.querySelectorAll("form button")) element.toggleAttribute("aria-disabled", code === "checking");
  }

  tell(state) {
    if (!state || state === this.state) return;
    this.state = state;
    this.setAttribute("state", state);
    this.draw();
    this.dispatchEvent(new CustomEvent(state, { bubbles: true, composed: true }));
  }

  /** Long polls with the request's poll token, which shows the state alone. */
  async follow() {
    const token = this.getAttribute("token"), events = this.getAttribute("events") && this.url("events");
    if (!token || !events) return;
    const control = this.control = new AbortController();
    const headers = { authorization: "Bearer " + token };
    const reached = (good) => { this.cut = !good; this.say(); };
    for (let pause = 1000; !control.signal.aborted;) {
      try {
        const url = new URL(events);
        url.searchParams.set("wait", "25");
        const answer = await fetch(url, { headers, signal: control.signal, cache: "no-store" });
        if (answer.status === 401 || answer.status === 404) return;
        if (!answer.ok) throw new Error(answer.status);
        const { data } = await answer.json();
        reached(true);
        this.tell(data.status);
        if (data.status !== "pending") return;
        pause = 1000;
      } catch {
        if (control.signal.aborted) return;
        reached(false);
        await new Promise((resolve) => setTimeout(resolve, pause));
        pause = Math.min(pause * 2, 30000);
      }
    }
  }

  stop() { this.control?.abort(); }
});
}
