// One scenario: node drive.mjs NAME. COUNTERSIGN, CHROMIUM and MODULES say where things are; SHOTS takes pictures.
import assert from "node:assert/strict";
import { Dev, INSTANCE, World, pbkdf2, s256, until } from "./world.mjs";

const here = (page) => page.locator("#open");

/** The tap is sent while the browser leaves for WhatsApp. */
async function tap(page) {
  await here(page).tap();
  await page.waitForURL(/^https:\/\/wa\.me\//);
  await World.last.bound(decodeURIComponent(page.url()), "here");
}

/** Takes a picture of the README anew, if PICTURES names its directory. */
async function picture(page, name, options) {
  if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/${name}`, ...options });
}

/** All built-in languages, and those whose pages are looked at in every state. */
const LANGUAGES = process.env.LANGUAGES.split(" "), SHOWN = ["en", "ar", "hi", "zh"].filter((tag) => LANGUAGES.includes(tag));
const WAYS = 'home_url = "APP/home"\nother_way_url = "APP/other"';

/** A login on a desktop whose page waits for the reply's code. */
async function codeAwaited(world) {
  const minted = await world.mint(), page = await world.person("desktop");
  await page.goto(minted.start_url);
  await page.waitForSelector("#scan[open] .qr img");
  const code = world.code(await world.says(minted.text));
  await page.waitForSelector('main[data-stage="code"]');
  return { minted, page, code };
}

/** In the page: what moved without a tap. */
function watchShifts() {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (!entry.hadRecentInput) window.shifts.push(entry.value + " " + entry.sources.map((one) => one.node?.outerHTML?.slice(0, 80)));
    }
  }).observe({ type: "layout-shift", buffered: true });
}

/** Brings one login into each state; the browser of `storage` is the one that waits. */
async function everyState(world) {
  const owner = await world.person("phone"), other = await world.person("phone");
  const pages = [];
  const start = async (name, body, act) => {
    const minted = await world.mint(body), page = await owner.context().newPage();
    await page.goto(minted.start_url);
    const shown = (await act?.(minted, page)) ?? minted.start_url;
    pages.push([name, shown]);
    await page.close();
    return minted;
  };
  const bind = async (minted, page, place, auto = {}) => {
    await page.evaluate(([place, auto]) => {
      const { form, path } = document.querySelector("main").dataset;
      return fetch(path, { method: "POST", body: new URLSearchParams({ form, place, ...auto }), headers: { accept: "application/json" } });
    }, [place, auto]);
  };
  const sent = async (minted, page, place = "here", number = undefined) => {
    await bind(minted, page, place);
    const reply = await world.says(minted.text, number);
    // A page that is closed while it loads again can keep the browser waiting.
    await page.waitForSelector('main:not([data-stage="pending"])');
    await page.waitForLoadState();
    return reply;
  };
  const stage = (page, name) => page.waitForSelector(`main[data-stage="${name}"]`);
  const type = async (page, code) => { await page.fill("#code", code); await page.keyboard.press("Enter"); };
  const wrong = (reply) => (world.code(reply) === "000000" ? "111111" : "000000");
  await start("pending");
  await start("purpose", { purpose: "Pay 9,000 EUR" });
  await start("sent", {}, (minted, page) => bind(minted, page, "here").then(() => {}));
  await start("other-number", { chatId: "447700900123" }, (minted, page) => sent(minted, page, "here", "447700900777").then(() => {}));
  await start("link", {}, (minted, page) => sent(minted, page).then(() => {}));
  await start("code-spent", {}, async (minted, page) => {
    const reply = await sent(minted, page, "qr");
    for (let n = 0; n < 5; n++) {
      await stage(page, "code");
      if (n) await page.waitForSelector("#error");
      await type(page, wrong(reply));
      await until("the next page", async () => n === 4 || (await page.locator("#error").textContent({ timeout: 500 }).catch(() => "")).includes(String(4 - n)));
    }
    await stage(page, "code_spent");
  });
  // Bound by a script only, so that the page does not go on by itself.
  await start("finish", { completion: "prove_phone", chatId: "447700900123" }, async (minted, page) => {
    await bind(minted, page, "qr", { auto: "1" });
    await world.says(minted.text);
    await stage(page, "finish");
  });
  await start("failed", { chatId: "447700900123", max_attempts: 1 }, (minted, page) => sent(minted, page, "here", "447700900777").then(() => {}));
  await start("canceled", {}, async (minted, page) => { await world.call("POST", `/requests/${minted.uuid}/cancel`); await stage(page, "canceled"); });
  await start("expired", { expires: 10 }, async (minted, page) => { await bind(minted, page, "here"); await stage(page, "expired"); });
  await start("expired-final", { expires: 10, renewable: false }, async (minted, page) => { await stage(page, "expired"); });
  let link;
  await start("confirm", {}, async (minted, page) => link = world.link(await sent(minted, page)));
  await start("told", {}, async (minted, page) => {
    const link = world.link(await sent(minted, page));
    await other.goto(link);
    await other.locator("button.go").tap();
    await other.waitForSelector("#code");
    return link + "?tapped";
  });
  // The waiting page goes on by itself first.
  const opened = async (minted, page) => {
    const link = world.link(await sent(minted, page));
    await stage(page, "link");
    await page.goto("about:blank");
    await page.goto(link);
    return link;
  };
  await start("done", {}, async (minted, page) => {
    await opened(minted, page);
    await page.locator("button.go").tap();
    await world.landed(page);
    return minted.start_url;
  });
  await start("used", {}, async (minted, page) => {
    const link = await opened(minted, page);
    await page.locator("button.go").tap();
    await world.landed(page);
    await world.call("POST", "/redeem", { token: new URL(page.url()).searchParams.get("token") });
    return link;
  });
  for (const name of ["dispute", "disputed", "disputed-start"]) {
    await start(name, {}, async (minted, page) => {
      await opened(minted, page);
      await page.locator("a.no").tap();
      await page.waitForURL(/\/d\//);
      if (name === "dispute") return page.url();
      await page.locator("button.go").tap();
      await page.waitForSelector(".icon.shield");
      return name === "disputed" ? page.url() : minted.start_url;
    });
  }
  pages.push(["unknown", `${world.url}/l/AAAA`]);
  const others = pages.splice(0);
  // A code is valid for five minutes, so these are made last and looked at first.
  await start("code", {}, (minted, page) => sent(minted, page, "qr").then(() => {}));
  await start("code-wrong", {}, async (minted, page) => {
    const reply = await sent(minted, page, "qr");
    await stage(page, "code");
    await type(page, wrong(reply));
    await page.waitForSelector("#error");
  });
  pages.push(...others);
  const storage = await owner.context().storageState();
  await owner.context().close();
  await other.context().close();
  return { pages, storage };
}

const scenarios = {
  async button() {
    const world = await World.start();
    const minted = await world.mint(), page = await world.person("phone");
    await page.goto(minted.start_url);
    assert.equal(await here(page).getAttribute("href"), minted.whatsapp_link);
    await world.inspect(page, "phone-pending");
    await tap(page);
    assert.equal(page.url(), minted.whatsapp_link);
    await page.goto(minted.start_url);
    const reply = await world.says(minted.text);
    await page.waitForSelector('main[data-stage="link"]');
    await world.inspect(page, "phone-link");
    const chat = await page.context().newPage();
    await chat.goto(world.link(reply));
    await world.inspect(chat, "phone-confirm");
    await chat.locator("button.go").tap();
    await world.landed(chat);
    await page.waitForSelector('main[data-stage="done"]');
    await world.inspect(page, "phone-done");
    return world;
  },

  async scan() {
    const world = await World.start();
    const minted = await world.mint(), page = await world.person("desktop");
    await page.goto(minted.start_url);
    await page.waitForSelector("#scan[open] .qr img");
    assert.equal(await world.scan(page), minted.whatsapp_link);
    await world.inspect(page, "desktop-pending");
    await picture(page, "start-page.png", { clip: { x: 390, y: 30, width: 500, height: 720 } });
    const reply = await world.says(minted.text);
    assert(!reply.includes("/o/"), reply);
    await page.waitForSelector('main[data-stage="code"]');
    await world.inspect(page, "desktop-code");
    await page.fill("#code", "000000");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#error");
    await world.inspect(page, "desktop-code-wrong");
    await page.fill("#code", world.code(reply).toLowerCase());
    await page.click("button.go");
    await world.landed(page);
    return world;
  },

  async phone_scan() {
    const world = await World.start();
    const minted = await world.mint(), page = await world.person("phone");
    await page.goto(minted.start_url);
    const response = page.waitForResponse((one) => one.request().method() === "POST");
    await page.locator("#scan summary").tap();
    assert.equal((await (await response).json()).place, "qr");
    assert.equal(await world.scan(page), minted.whatsapp_link);
    await page.locator("#hand summary").tap();
    assert.equal(await page.locator("#text").textContent(), minted.text);
    await page.locator("#copy").tap();
    await until("the copy", async () => (await page.locator("#copy").textContent()) === "Copied");
    await world.inspect(page, "phone-scan");
    return world;
  },

  async crawler() {
    const world = await World.start();
    const minted = await world.mint(), crawler = await world.person("desktop"), page = await world.person("desktop");
    const bound = async (page, act) => {
      const response = page.waitForResponse((one) => one.request().method() === "POST");
      await act();
      return (await (await response).json()).place;
    };
    assert.equal(await bound(crawler, () => crawler.goto(minted.start_url)), "qr");
    assert.equal(await bound(page, () => page.goto(minted.start_url)), null, "a script does not replace another browser");
    await until("no QR code whose reply this browser could not use", async () => (await page.locator("#scan[open]").count()) === 0);
    assert.equal(await bound(page, () => page.click("#hand summary")), "qr", "a person does");
    const reply = await world.says(minted.text);
    await page.waitForSelector('main[data-stage="code"]');
    await crawler.waitForSelector('main[data-stage="link"]');
    assert.equal(await crawler.locator("#code").count(), 0);
    await page.fill("#code", world.code(reply));
    await page.keyboard.press("Enter");
    await world.landed(page);
    return world;
  },

  async wrong_browser() {
    const world = await World.start();
    const minted = await world.mint(), owner = await world.person("phone"), other = await world.person("phone");
    await owner.goto(minted.start_url);
    await tap(owner);
    await owner.goto(minted.start_url);
    const reply = await world.says(minted.text);
    await owner.waitForSelector('main[data-stage="link"]');
    await other.goto(world.link(reply));
    await other.locator("button.go").tap();
    const code = await other.locator(".code strong").textContent();
    await world.inspect(other, "phone-told");
    await owner.waitForSelector('main[data-stage="code"]');
    await owner.fill("#code", code);
    await owner.locator("button.go").tap();
    await world.landed(owner);
    assert.equal(world.browser.contexts().length, 2);
    return world;
  },

  async strict() {
    const world = await World.start("strict_browser = true");
    const minted = await world.mint(), owner = await world.person("phone"), other = await world.person("desktop");
    await owner.goto(minted.start_url);
    assert.equal(await owner.locator("#scan").count(), 0);
    await tap(owner);
    const link = world.link(await world.says(minted.text));
    await other.goto(link);
    await other.click("button.go");
    await other.waitForSelector(".icon.devices");
    assert.equal(await other.locator(".code").count(), 0);
    await world.inspect(other, "desktop-wrong-browser");
    await owner.goto(link);
    await owner.locator("button.go").tap();
    await world.landed(owner);
    return world;
  },

  async other_device() {
    const world = await World.start();
    const minted = await world.mint({ challenge: s256("v") }), phone = await world.person("phone");
    await phone.goto(world.link(await world.says(minted.text)));
    await world.inspect(phone, "phone-confirm-elsewhere");
    await phone.locator("button[name=elsewhere]").tap();
    const code = await phone.locator(".code strong").textContent();
    const redeemed = await world.call("POST", "/redeem", { uuid: minted.uuid, code, verifier: "v" });
    assert.equal(redeemed.data?.subject.value, "+447700900123", JSON.stringify(redeemed));
    return world;
  },

  async expired() {
    const world = await World.start();
    const minted = await world.mint({ expires: 10 }), page = await world.person("phone");
    await page.goto(minted.start_url);
    await tap(page);
    await page.goto(minted.start_url);
    await page.waitForSelector('main[data-stage="expired"]');
    await world.inspect(page, "phone-expired");
    await page.locator("button.go").tap();
    await page.waitForSelector('main[data-stage="pending"]');
    assert.notEqual(page.url(), minted.start_url);
    const fresh = new URL(await here(page).getAttribute("href")).searchParams.get("text");
    assert.notEqual(fresh, minted.text);
    await tap(page);
    const renewed = page;
    await renewed.goto(world.link(await world.says(fresh)));
    await renewed.locator("button.go").tap();
    await world.landed(renewed);
    return world;
  },

  async right_to_left() {
    const world = await World.start();
    for (const lang of ["ar", "ur"]) {
      const minted = await world.mint({ lang }), page = await world.person("phone"), desk = await world.person("desktop");
      await page.goto(minted.start_url);
      assert.equal(await page.locator("html").getAttribute("dir"), "rtl");
      await world.inspect(page, `phone-pending-${lang}`);
      await desk.goto(minted.start_url);
      await desk.waitForSelector("#scan[open]");
      await world.inspect(desk, `desktop-pending-${lang}`);
      await tap(page);
      await page.goto(world.link(await world.says(minted.text)));
      assert.match(await page.locator("dd bdi").first().textContent(), /^\+44/);
      await world.inspect(page, `phone-confirm-${lang}`);
    }
    return world;
  },

  async every_language() {
    const world = await World.start();
    const page = await world.person("phone");
    for (const lang of LANGUAGES) {
      await page.goto((await world.mint({ lang })).start_url);
      assert.equal(await page.locator("html").getAttribute("lang"), lang);
      await world.inspect(page, `language-${lang}`);
    }
    return world;
  },

  // Every page and state, at the width of a phone and of a desktop, light and dark. Nothing moves while a page loads.
  async states() {
    const world = await World.start("", "", WAYS);
    const paths = await everyState(world);
    const looks = [];
    for (const [size, viewport] of [["phone", { width: 360, height: 740 }], ["desktop", { width: 1280, height: 860 }]]) {
      for (const scheme of ["light", "dark"]) {
        const page = await world.person(size, { viewport, colorScheme: scheme, storageState: paths.storage });
        await page.addInitScript(watchShifts);
        looks.push([`${size}-${scheme}`, page]);
      }
    }
    for (const [name, url] of paths.pages) {
      for (const [look, page] of looks) {
        for (const lang of SHOWN) {
          const requests = [], where = `${name}-${look}-${lang}`;
          const count = (request) => { if (request.url().startsWith("https:")) requests.push(request.method() + " " + request.url()); };
          page.on("request", count);
          await page.goto(`${url}${url.includes("?") ? "&" : "?"}lang=${lang}`);
          await page.waitForLoadState("networkidle", { timeout: 1000 }).catch(() => {});
          page.off("request", count);
          await world.inspect(page, where);
          assert(requests.length <= 3, `${where}: ${requests}`);
          assert.deepEqual(await page.evaluate(() => window.shifts), [], `${where}: moved`);
          assert.equal(await page.locator("html").getAttribute("lang"), lang);
          assert(!(await page.title()).endsWith("· WhatsApp"), "the page is ours");
        }
      }
    }
    return world;
  },

  async wrong_number() {
    const world = await World.start("", "", WAYS);
    const minted = await world.mint({ chatId: "447700900123", max_attempts: 2 }), page = await world.person("phone");
    await page.goto(minted.start_url);
    await tap(page);
    await page.goto(minted.start_url);
    await world.says(minted.text, "447700900777");
    await page.waitForSelector('main[data-stage="other_number"] .alert');
    assert(await here(page).isVisible(), "the right number can still send it");
    await world.inspect(page, "phone-other-number");
    await world.says(minted.text, "447700900777");
    await page.waitForSelector('main[data-stage="failed"]');
    await page.waitForSelector(".icon.number");
    assert.equal(await page.locator(".ways .go").getAttribute("href"), world.appUrl + "/home");
    assert.equal(await page.locator(".ways .quiet").getAttribute("href"), world.appUrl + "/other");
    await world.inspect(page, "phone-failed");
    return world;
  },

  async five_wrong_codes() {
    const world = await World.start("", "", WAYS);
    const { minted, page, code } = await codeAwaited(world);
    const wrong = code === "000000" ? "111111" : "000000";
    for (let left = 4; left > 0; left--) {
      await page.fill("#code", wrong);
      await page.keyboard.press("Enter");
      await until(`${left} tries`, async () => (await page.locator("#error").textContent({ timeout: 500 }).catch(() => "")).includes(String(left)));
      assert.equal(page.url(), minted.start_url, "a form leads back to its page");
      await page.reload();
      assert.match(await page.locator("#error").textContent(), new RegExp(left), "reloading sends nothing again");
    }
    await page.fill("#code", wrong);
    await page.keyboard.press("Enter");
    await page.waitForSelector('main[data-stage="code_spent"] .icon');
    assert.equal(page.url(), minted.start_url);
    await world.inspect(page, "desktop-code-spent");
    await page.click("button.go");
    await page.waitForSelector('main[data-stage="pending"]');
    assert.notEqual(page.url(), minted.start_url);
    await page.waitForSelector("#scan[open] .qr img");
    const text = new URL(await here(page).getAttribute("href")).searchParams.get("text");
    const fresh = world.code(await world.says(text));
    await page.waitForSelector('main[data-stage="code"]');
    await page.fill("#code", fresh);
    await page.keyboard.press("Enter");
    await world.landed(page);
    return world;
  },

  // A phone drops a tab, and loads its address again.
  async restored_tab() {
    const world = await World.start("", "", WAYS);
    const { minted, page, code } = await codeAwaited(world);
    const restored = await world.person("desktop", { storageState: await page.context().storageState() });
    await page.close();
    await restored.goto(minted.start_url + "/code");
    assert.equal(restored.url(), minted.start_url);
    await restored.fill("#code", code);
    await restored.keyboard.press("Enter");
    await world.landed(restored);
    await restored.goto(minted.start_url);
    await restored.waitForSelector('main[data-stage="done"] ~ *, main[data-stage="done"]');
    assert.equal(await restored.locator(".ways .go").getAttribute("href"), world.appUrl + "/home");
    return world;
  },

  async offline() {
    const world = await World.start("", "", WAYS);
    const minted = await world.mint(), page = await world.person("phone");
    await page.goto(minted.start_url);
    await tap(page);
    await page.goto(minted.start_url);
    assert.equal(await page.locator("#title").textContent(), "Now press Send", "it remembers the tap");
    await page.context().setOffline(true);
    await until("the notice", async () => /offline/.test(await page.locator("#net").textContent()));
    await world.inspect(page, "phone-offline");
    const reply = await world.says(minted.text);
    await page.context().setOffline(false);
    await page.waitForSelector('main[data-stage="link"]');
    assert.equal(await page.locator("#net").textContent(), "");
    const chat = await page.context().newPage();
    await chat.goto(world.link(reply));
    await page.context().setOffline(true);
    await chat.locator("button.go").tap();
    await until("the notice", async () => /offline/.test(await chat.locator("#net").textContent()));
    assert.equal(chat.url(), world.link(reply), "a tap without a network loses nothing");
    await page.context().setOffline(false);
    await until("no notice", async () => (await chat.locator("#net").textContent()) === "");
    await chat.locator("button.go").tap();
    await world.landed(chat);
    return world;
  },

  async slow() {
    const world = await World.start("", "", WAYS);
    const minted = await world.mint(), page = await world.person("phone");
    await page.route(/\/events/, (route) => route.abort());
    await page.goto(minted.start_url);
    await until("the notice", async () => /slow/.test(await page.locator("#net").textContent()));
    await world.inspect(page, "phone-slow");
    await page.unroute(/\/events/);
    await until("no notice", async () => (await page.locator("#net").textContent()) === "");
    await world.says(minted.text);
    await page.waitForSelector('main[data-stage="link"]');
    return world;
  },

  async double_tap() {
    const world = await World.start("", "", WAYS);
    const minted = await world.mint({ expires: 10 }), page = await world.person("phone");
    await page.goto(minted.start_url);
    await here(page).dblclick();
    await page.waitForURL(/^https:\/\/wa\.me\//);
    await world.bound(decodeURIComponent(page.url()), "here");
    await page.goto(minted.start_url);
    await page.waitForSelector('main[data-stage="expired"]');
    await page.locator("button.go").dblclick();
    await page.waitForSelector('main[data-stage="pending"]');
    const { data } = await world.call("GET", "/requests");
    assert.equal(data.requests.length, 2, "one new link");
    const text = new URL(await here(page).getAttribute("href")).searchParams.get("text");
    await tap(page);
    await page.goto(world.link(await world.says(text)));
    await page.locator("button.go").dblclick();
    await world.landed(page);
    const token = new URL(page.url()).searchParams.get("token");
    assert((await world.call("POST", "/redeem", { token })).success, "the token that the browser ends with is good");
    return world;
  },

  async languages() {
    const world = await World.start('lang = "fr"', "", WAYS);
    const lang = (page) => page.locator("html").getAttribute("lang");
    const minted = await world.mint(), named = await world.mint({ lang: "de" });
    const page = await world.person("phone", { locale: "es-MX" });
    await page.goto(minted.start_url);
    assert.equal(await lang(page), "es", "the browser's");
    await page.goto(named.start_url);
    assert.equal(await lang(page), "de", "the request's");
    const other = await world.person("phone", { locale: "sv-SE" });
    await other.goto(minted.start_url);
    assert.equal(await lang(other), "fr", "the instance's");
    await page.locator(".lang summary").tap();
    await world.inspect(page, "phone-languages");
    await page.locator(".lang a", { hasText: "العربية" }).tap();
    await page.waitForURL(/lang=ar/);
    assert.equal(await lang(page), "ar", "the chosen one");
    await tap(page);
    await page.goBack();
    await page.waitForSelector("#title");
    const reply = await world.says(named.text);
    await page.waitForSelector('main[data-stage="link"]');
    assert.equal(await lang(page), "ar", "and it stays");
    await page.goto(world.link(reply) + "?lang=ar");
    await page.locator("a.no").tap();
    await page.waitForURL(/\/d\/.*lang=ar/);
    await page.locator("button.go").tap();
    await page.waitForSelector(".icon.shield");
    assert.equal(await lang(page), "ar");
    const plain = await world.person("phone", { javaScriptEnabled: false, locale: "es-MX" });
    await plain.goto((await world.mint()).start_url + "?lang=zh");
    await plain.locator("button[value=here]").tap();
    await plain.waitForSelector("#here:not(.js)");
    assert.equal(await lang(plain), "zh", "without a script as well");
    return world;
  },

  async forced_colors() {
    const world = await World.start("", "", WAYS);
    const page = await world.person("phone", { forcedColors: "active" });
    await page.goto((await world.mint()).start_url);
    const width = await here(page).evaluate((element) => getComputedStyle(element).borderTopWidth);
    assert.notEqual(width, "0px", "a button that is not only its colour");
    await world.inspect(page, "phone-forced-colors");
    return world;
  },

  async without_script() {
    const world = await World.start();
    const minted = await world.mint(), page = await world.person("phone", { javaScriptEnabled: false });
    await page.goto(minted.start_url);
    assert.equal(await here(page).isVisible(), false, "a button that binds no browser is hidden");
    if (process.env.SHOTS) await page.screenshot({ path: process.env.SHOTS + "/phone-plain.png", fullPage: true });
    await page.locator("button[value=here]").tap();
    await page.waitForSelector("#here:not(.js)");
    assert.equal(await here(page).getAttribute("href"), minted.whatsapp_link);
    assert(await here(page).isVisible());
    if (process.env.SHOTS) await page.screenshot({ path: process.env.SHOTS + "/phone-plain-here.png", fullPage: true });
    await world.says(minted.text);
    await page.waitForSelector('main[data-stage="link"]');
    const second = await world.mint(), desk = await world.person("desktop", { javaScriptEnabled: false });
    await desk.goto(second.start_url);
    await desk.click("button[value=qr]");
    await desk.waitForSelector("#scan[open]:not(.js)");
    assert.equal(await world.scan(desk), second.whatsapp_link);
    const reply = await world.says(second.text);
    await desk.waitForSelector('main[data-stage="code"]');
    await desk.fill("#code", world.code(reply));
    await desk.click("button.go");
    await world.landed(desk);
    return world;
  },

  async back_button() {
    const world = await World.start("", "", WAYS);
    const minted = await world.mint(), page = await world.person("phone");
    await page.goto(minted.start_url);
    await tap(page);
    await page.goBack();
    await page.reload();
    assert.equal(await page.locator("#title").textContent(), "Now press Send", "back from WhatsApp, and reloaded");
    assert(await here(page).isVisible(), "WhatsApp can be opened again");
    const reply = await world.says(minted.text);
    // The page loads itself again, which would interrupt the next navigation.
    await page.waitForSelector('main[data-stage="link"]');
    await page.goto(world.link(reply));
    await page.locator("button.go").tap();
    await world.landed(page);
    const token = new URL(page.url()).searchParams.get("token");
    await page.goBack();
    await page.waitForLoadState();
    assert.equal(await page.locator("form").count(), 0, "a used link has nothing to press");
    assert.match(await page.locator(".lead").textContent(), /Everything worked\. You can close this page/);
    assert.equal(await page.locator(".ways .go").getAttribute("href"), world.appUrl + "/home");
    await world.inspect(page, "phone-used");
    assert((await world.call("POST", "/redeem", { token })).success, "the token of the redirect is still good");
    return world;
  },

  async not_me() {
    const world = await World.start();
    const minted = await world.mint(), page = await world.person("phone");
    await page.goto(minted.start_url);
    await tap(page);
    await page.goto(world.link(await world.says(minted.text)));
    await page.locator("a.no").tap();
    await page.waitForURL(/\/d\//);
    await world.inspect(page, "phone-dispute");
    await page.locator("button.go").tap();
    await page.waitForSelector(".icon.shield");
    await world.inspect(page, "phone-disputed");
    return world;
  },

  async prove_phone() {
    const world = await World.start();
    const minted = await world.mint({ completion: "prove_phone", chatId: "447700900123" });
    const page = await world.person("desktop");
    await page.goto(minted.start_url);
    await page.waitForSelector("#scan[open]");
    await world.says(minted.text);
    // No button was pressed, so the page does not continue automatically.
    await page.waitForSelector('main[data-stage="finish"]');
    await world.inspect(page, "desktop-finish");
    await page.click("button.go");
    await world.landed(page);
    return world;
  },

  async example() {
    const world = await World.start();
    const url = await world.startExample(), page = await world.person("desktop");
    await page.goto(url);
    const shown = await page.locator("countersign-login").evaluate((element) => {
      element.addEventListener("verified", () => { document.title = "verified"; });
      return element.getAttribute("start");
    });
    const start = await page.context().newPage();
    await start.goto(shown);
    await start.waitForSelector("#scan[open]");
    const text = new URL(await here(start).getAttribute("href")).searchParams.get("text");
    const reply = await world.says(text);
    await until("the event", async () => (await page.title()) === "verified");
    await page.reload();
    assert.equal(await page.locator("h1").textContent(), "Sign in", "`verified` alone signs no one in");
    await start.fill("#code", world.code(reply));
    await start.click("button.go");
    await start.waitForURL(url + "/");
    assert.equal(await start.locator("h1").textContent(), "Hello +447700900123");
    const other = await world.person("desktop");
    await other.goto(url);
    await other.locator("countersign-login a").click();
    await other.waitForURL(/\/l\//);
    return world;
  },

  async widget_qr() {
    const world = await World.start();
    const verifier = "a-verifier-that-stays-in-the-session-0123456789";
    const minted = await world.mint({ challenge: s256(verifier), qr: true });
    const events = `${world.url}/api/otp/v2/${INSTANCE}/requests/${minted.uuid}/events`;
    world.embedding = `<main><h1>Sign in</h1><countersign-login qr label="Scan with WhatsApp" start="${minted.start_url}" events="${events}"
 token="${minted.poll_token}"></countersign-login></main><script src="${world.url}/widget.js"></script>`;
    const [desktop, phone] = [await world.person("desktop"), await world.person("phone")];
    for (const page of [desktop, phone]) {
      await page.goto(`${world.appUrl}/embedding`);
      await page.locator("countersign-login a").waitFor();
    }
    const picture = desktop.locator("countersign-login img");
    await until("the picture", () => picture.evaluate((image) => image.complete && image.naturalWidth > 0));
    assert.equal(await world.scan(desktop, picture), minted.whatsapp_link);
    await world.inspect(desktop, "widget-qr");
    assert.equal(await phone.locator("countersign-login img").count(), 0, "a phone shows no QR code");
    const reply = await world.says(minted.text);
    assert(!reply.includes("/o/"), reply);
    await desktop.waitForSelector('countersign-login[state="verified"]');
    await world.inspect(desktop, "widget-code");
    await desktop.evaluate(() => addEventListener("code", (event) => { window.typed = event.detail.code; }));
    await desktop.locator("countersign-login input").fill(world.code(reply));
    await desktop.keyboard.press("Enter");
    assert.equal(await desktop.evaluate(() => window.typed), world.code(reply));
    const redeemed = await world.call("POST", "/redeem", { uuid: minted.uuid, code: world.code(reply), verifier });
    assert.equal(redeemed.data.subject.value, "+447700900123");
    return world;
  },

  // The app of the guide "Your own QR page", with a wrong code first, and a link that expires.
  async widget_app() {
    const world = await World.start("expires = 20");
    const url = await world.startGuideApp("app.py"), page = await world.person("desktop");
    await page.goto(url);
    const login = page.locator("countersign-login"), status = page.locator("countersign-login p");
    const text = async () => decodeURIComponent(new URL(await world.scan(page, page.locator("countersign-login img"))).searchParams.get("text"));
    await until("the picture", () => page.locator("countersign-login img").evaluate((image) => image.complete && image.naturalWidth > 0));
    const first = await text();
    await page.waitForSelector('countersign-login[state="expired"]');
    assert.match(await status.textContent(), /expired/);
    await world.inspect(page, "widget-expired");
    await page.locator("countersign-login button").click();
    await until("a new picture", () => page.locator("countersign-login img").evaluate((image) => image.complete && image.naturalWidth > 0).catch(() => false));
    const second = await text();
    assert.notEqual(second, first);
    const code = world.code(await world.says(second));
    const input = page.locator("countersign-login input");
    await input.fill(code === "000000" ? "111111" : "000000");
    await input.press("Enter");
    await page.waitForSelector('countersign-login[code-state="wrong"]');
    assert.match(await status.textContent(), /not right/);
    await world.inspect(page, "widget-code-wrong");
    await input.fill(code);
    await input.press("Enter");
    await page.waitForFunction(() => document.body.textContent.includes("Hello +447700900123"));
    return world;
  },

  async widget_languages() {
    const world = await World.start();
    const states = ["pending", "verified", "expired", "failed", "canceled"];
    const page = await world.person("desktop");
    for (const lang of LANGUAGES) {
      world.embedding = `<main lang="${lang}"><h1>App</h1>${states.map((state) => `<p><countersign-login id="${state}" start="${world.url}/l/x"></countersign-login></p>`).join("")}
<p><countersign-login id="code" qr start="${world.url}/l/x"></countersign-login></p></main><script src="${world.url}/widget.js?lang=${lang}"></script>`;
      await page.goto(`${world.appUrl}/embedding`);
      await page.locator("#code a").waitFor();
      const said = await page.evaluate((states) => {
        for (const state of states) document.getElementById(state).tell(state);
        document.getElementById("code").tell("verified");
        return states.map((state) => document.getElementById(state).shadowRoot.textContent.trim());
      }, states);
      assert.equal(new Set(said).size, states.length, `${lang}: ${said}`);
      assert.equal(await page.locator("#code").evaluate((element) => element.shadowRoot.querySelector("[dir]").dir), ["ar", "ur"].includes(lang) ? "rtl" : "ltr");
      await world.inspect(page, `widget-${lang}`);
    }
    return world;
  },

  async polling() {
    const world = await World.start();
    const minted = await world.mint(), page = await world.person("phone");
    await page.route(/\/events$/, (route) => route.fulfill({ status: 503 }));
    await page.goto(minted.start_url);
    await world.says(minted.text);
    await page.waitForSelector('main[data-stage="link"]');
    return world;
  },

  async brand() {
    const world = await World.start('[instance.page]\nname = "Häfen & Söhne"\ncolor = "#ffcc00"');
    const minted = await world.mint(), page = await world.person("desktop", { colorScheme: "dark" });
    await page.goto(minted.start_url);
    await page.waitForSelector("#scan[open]");
    await world.inspect(page, "desktop-brand-dark");
    const phone = await world.person("phone", { colorScheme: "dark" });
    await phone.goto(minted.start_url);
    await world.inspect(phone, "phone-brand-dark");
    const [cookie] = (await phone.context().cookies()).filter((cookie) => cookie.domain === "localhost");
    assert.deepEqual([cookie.name, cookie.secure, cookie.httpOnly, cookie.sameSite, cookie.path], ["__Host-cs", true, true, "Lax", "/"]);
    return world;
  },

  async documentation() {
    const world = await World.start();
    for (const [kind, scheme] of [["desktop", "light"], ["phone", "dark"]]) {
      const page = await world.person(kind, { colorScheme: scheme });
      await page.goto(world.url + "/docs");
      await world.inspect(page, `${kind}-docs`);
      const guides = await page.locator(".guides a").evaluateAll((links) => links.map((link) => link.href));
      assert(guides.length > 5, String(guides));
      for (const guide of guides) {
        await page.goto(guide);
        await world.inspect(page, `${kind}-docs-${guide.split("/").pop()}`);
      }
      await page.fill("#q", "code_locked");
      await page.keyboard.press("Enter");
      await page.waitForURL(/search\?q=code_locked/);
      await world.inspect(page, `${kind}-docs-search`);
      await page.locator(".hits a", { hasText: /^code_locked$/ }).first().click();
      await page.waitForURL(/\/docs#code_locked$/);
      assert.match(await page.locator(":target").textContent(), /Retry-After/);
    }
    return world;
  },

  // The steps of the README's quick start.
  async first_steps() {
    const dev = await Dev.start();
    const page = await dev.person({ reducedMotion: "reduce" });
    await page.goto(dev.ready.phone_url);
    await dev.inspect(page, "dev-phone");
    const [start] = await Promise.all([page.waitForEvent("popup"), page.click("#mint-form .primary")]);
    await start.waitForSelector("#scan[open]");
    assert.match(await start.locator("main").textContent(), /a fake phone stands in for WhatsApp/);
    await dev.inspect(start, "dev-start");
    const [phone] = await Promise.all([start.waitForEvent("popup"), start.click("#open")]);
    assert.equal(new URL(phone.url()).origin, new URL(dev.ready.phone_url).origin, "not real WhatsApp");
    await phone.waitForFunction(() => document.getElementById("composer-text").value);
    await phone.click(".send");
    await phone.waitForSelector(".bubble:not(.person) .words a");
    await phone.waitForSelector("#callbacks .badge.good");
    await dev.inspect(phone, "dev-phone-answered");
    await picture(phone, "fake-phone.jpg", { type: "jpeg", quality: 45, clip: { x: 368, y: 80, width: 892, height: 720 } });
    const link = await phone.locator(".bubble:not(.person) .words a").first().getAttribute("href");
    await start.goto(link);
    await start.click("button.go");
    await start.waitForURL(/\/landed\?/);
    await dev.inspect(start, "dev-landed");
    await start.click("#redeem-form .primary");
    await start.waitForFunction(() => /\+447700900123/.test(document.getElementById("answer").textContent));
    return dev;
  },

  // The page of `dev` that shows a login at the OpenID provider: every request, and the tokens decoded.
  async openid() {
    const dev = await Dev.start();
    const page = await dev.person(), start = new URL("/oidc", dev.ready.phone_url).href;
    await page.goto(start);
    await dev.inspect(page, "dev-openid");
    await page.click("#start");
    await page.waitForURL(/\/oidc\/[^/]+\/authorize\?/);
    const asked = new URL(page.url()).searchParams, issuer = page.url().split("/authorize?")[0];
    assert.deepEqual([asked.get("client_id"), asked.get("code_challenge_method")], ["demo", "S256"]);
    await page.click("button.go");
    await page.waitForSelector("#open");
    const [phone] = await Promise.all([page.waitForEvent("popup"), page.click("#open")]);
    await phone.waitForFunction(() => document.getElementById("composer-text").value);
    await phone.click(".send");
    await phone.waitForSelector(".bubble:not(.person) .words a");
    await page.goto(await phone.locator(".bubble:not(.person) .words a").first().getAttribute("href"));
    await page.click("button.go");
    await page.waitForFunction(() => /Logged in|Failed/.test(document.getElementById("steps").textContent));
    assert.equal(page.url(), start, "the code is gone from the address");
    const steps = await page.locator("#steps li").evaluateAll((items) =>
      items.map((item) => [item.querySelector("b").textContent, item.querySelector("pre").textContent]));
    assert.deepEqual(steps.map(([title]) => title),
      ["Returned to the app with", "Code exchanged", "Public keys", "ID token", "Claims about the person", "Logged in"]);
    const shown = Object.fromEntries(steps);
    const returned = JSON.parse(shown["Returned to the app with"]);
    assert.deepEqual([returned.state, returned.iss], [asked.get("state"), issuer]);
    const exchange = shown["Code exchanged"];
    assert.match(exchange, /^POST \S+\/token\n\ngrant_type=authorization_code&client_id=demo&/);
    assert(exchange.includes(`code=${returned.code}`) && exchange.includes("code_verifier=") && exchange.includes("\n200\n"), exchange);
    const token = JSON.parse(shown["ID token"]);
    assert.deepEqual([token.signature, token.header.alg], ["valid", "RS256"]);
    const { iss, aud, nonce, amr, sub } = token.claims;
    assert.deepEqual([iss, aud, nonce, amr], [issuer, "demo", asked.get("nonce"), ["mca"]]);
    assert(shown["Public keys"].includes(token.header.kid), shown["Public keys"]);
    const person = JSON.parse(shown["Claims about the person"].split("\n200\n")[1]);
    assert.deepEqual([person.sub, person.phone_number], [sub, "+447700900123"]);
    assert.equal(shown["Logged in"], "+447700900123");
    await dev.inspect(page, "dev-openid-done");
    // An answer to a request of another browser is refused, and nothing is exchanged.
    const other = await dev.person();
    await other.goto(`${start}?code=${returned.code}&state=${returned.state}&iss=${encodeURIComponent(iss)}`);
    await other.waitForFunction(() => /Failed/.test(document.getElementById("steps").textContent));
    assert.match(await other.locator("#steps").textContent(), /state is not the one of this browser/);
    assert.equal(await other.locator("#steps li").count(), 2);
    return dev;
  },

  // The documentation shows the reader's own values and language, on every page of it.
  async samples() {
    const dev = await Dev.start();
    const page = await dev.person();
    const home = await page.goto(dev.ready.base_url + "/");
    assert.match(home.url(), /\/docs$/);
    await page.fill("#instance", dev.ready.instance);
    await page.fill("#token", dev.ready.token);
    const filled = await page.locator("pre code").allTextContents();
    assert(!filled.some((code) => /\$COUNTERSIGN_(URL|INSTANCE|TOKEN)/.test(code)), "every sample is filled in");
    assert(filled.some((code) => code.includes(`${dev.ready.base_url}/api/otp/v2/${dev.ready.instance}/generate-link`)));
    await page.locator("[role=tab]", { hasText: /^Python$/ }).first().click();
    await page.click('.guides a[href="docs/log-in"]');
    assert.equal(await page.locator("[role=tab][aria-selected=true]").first().textContent(), "FastAPI");
    await page.locator("[role=tab]", { hasText: /^PHP$/ }).first().click();
    await page.goto(dev.ready.base_url + "/docs/confirm-a-number");
    const command = await page.locator("pre code", { hasText: "generate-link" }).first().textContent();
    assert(command.includes(dev.ready.token) && command.includes(dev.ready.instance), command);
    await page.goto(dev.ready.base_url + "/docs/callbacks");
    assert.equal(await page.locator("[role=tab][aria-selected=true]").first().textContent(), "PHP");
    // Without values, nothing is sent, and the page says what is missing.
    const stranger = await dev.person();
    await stranger.goto(dev.ready.base_url + "/docs#generateLink");
    const form = stranger.locator(".try form").first();
    await form.locator("xpath=ancestor::details").evaluate((details) => { details.open = true; });
    await form.locator("button[type=submit]").click();
    await until("the sentence", async () => /Instance and API token/.test(await form.locator("[role=status]").textContent()));
    return dev;
  },

  async operator() {
    const world = await World.start('callback_allow_networks = ["127.0.0.0/8", "::1/128"]', `operator_password = "${pbkdf2("correct horse battery")}"`);
    const refs = ["cart 7", "5f0c2a90-1111-4222-8333-444455556666", "order-" + "2291".repeat(14), "<b>not bold</b>"];
    for (let n = 0; n < 28; n++) {
      await world.mint({ client_ref: refs[n % 4], purpose: n % 3 ? "login" : "checkout of a basket with a long name", chatId: n % 2 ? "447700900123" : undefined });
    }
    // The app's certificate is not trusted, so that its callback is retried; the second receiver is closed to callbacks.
    const proved = await world.mint({ client_ref: "cart 12", purpose: "login", metadata: { order: 2291, items: ["lamp", "<script>"] }, callback: { success: world.appUrl + "/hook" } });
    await world.says(proved.text);
    const dead = await world.mint({ client_ref: "cart 15", callback: { success: "https://10.255.0.1/hook" } });
    await world.says(dead.text);
    const failed = await world.mint({ client_ref: "cart 16", chatId: "447700900789", max_attempts: 1 });
    await world.says(failed.text);
    await world.call("POST", `/requests/${(await world.mint({ client_ref: "cart 13" })).uuid}/cancel`);
    await world.call("POST", "/request-code", { chatId: "447700900456", purpose: "step up" });
    const mine = await world.mint({ client_ref: "cart 14", chatId: "447700900123" });
    const url = `http://127.0.0.1:${world.operator}/requests`, overview = url + "/overview";
    const page = await world.person("desktop", { timezoneId: "Asia/Kolkata" });
    await page.goto(url.replace("/requests", "/"));
    await world.inspect(page, "operator-home");
    assert.equal((await page.goto(url)).status(), 401);
    await world.inspect(page, "operator-login");
    await page.fill("#password", "wrong horse battery");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#error");
    await world.inspect(page, "operator-login-wrong");
    await page.fill("#password", "correct horse battery");
    await page.click("button.go");
    await page.waitForURL(overview);
    const [cookie] = (await page.context().cookies(url)).filter((cookie) => cookie.name === "cs-operator");
    assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/requests"]);

    // The figures arrive while the page is open: its script fetches them.
    await page.locator(".figures tr", { hasText: "Minted" }).getByText("33", { exact: true }).first().waitFor();
    await page.locator(".alarms a", { hasText: "Harbour has 1 dead callback" }).waitFor();
    assert.match(await page.locator("#zone").textContent(), /Asia\/(Kolkata|Calcutta)/);
    const time = page.locator("main time").first();
    const shown = (await time.textContent()).replace(" ", "T");
    assert.equal(Date.parse(shown + "+05:30") / 1000, Math.floor(Date.parse(await time.getAttribute("datetime")) / 1000));
    await page.click("#live");
    assert.equal(await page.locator("#live").getAttribute("aria-pressed"), "false");

    await page.click(".menu >> text=Requests");
    await page.waitForURL(url);
    assert.equal(await page.locator(".rows tbody tr").count(), 25);
    const whole = await page.locator(".rows").evaluate((table) => [...table.querySelectorAll("td, th")].every((cell) => {
      const style = getComputedStyle(cell);
      return style.whiteSpace === "nowrap" && cell.getBoundingClientRect().height < 60;
    }));
    assert(whole, "no word is broken");
    await page.locator(".copy").first().click();
    await page.locator(".copy", { hasText: "Copied" }).waitFor();
    await page.click("a[rel=next]");
    await page.waitForURL(/cursor=/);
    assert.equal(await page.locator(".rows tbody tr").count(), 9);
    await page.fill("#since", "2026-01-02T05:30");
    await page.fill("#phone_last", "0123");
    await page.selectOption("#status", "verified");
    await page.click("button.go");
    await page.waitForURL(/phone_last=0123/);
    assert.equal(new URL(page.url()).searchParams.get("since"), "2026-01-02T00:00", "the URL has UTC");
    assert.equal(await page.locator("#since").inputValue(), "2026-01-02T05:30");
    assert.equal(await page.locator(".rows tbody tr").count(), 2);
    await world.inspect(page, "operator-filtered");
    const shared = page.url();
    await page.click(".rows tbody tr:last-child a");
    await page.waitForSelector(".callbacks");
    const verified = page.url();
    await page.goto(shared);
    assert.equal(await page.locator(".rows tbody tr").count(), 2, "the URL is the filter");

    await page.goto(`${url}/${INSTANCE}/${mine.uuid}`);
    await page.click("button.no");
    await page.waitForSelector(".notice");
    assert.equal((await world.call("GET", "/requests/" + mine.uuid)).data.status, "canceled");
    const times = await page.locator("main .facts time").evaluateAll((all) => all.map((one) => [one.textContent, one.dateTime]));
    assert.equal(times.length, 3, "created, expires, ended");
    for (const [text, at] of times) assert.equal(Date.parse(text.replace(" ", "T") + "+05:30"), Date.parse(at), "local time");
    await world.inspect(page, "operator-canceled");
    await page.click(".crumb a");
    await page.fill("#phone_last", "12");
    await page.click("button.go");
    await page.waitForSelector(".fault");
    await world.inspect(page, "operator-fault");
    await page.fill("#q", proved.uuid);
    await page.click(".ask button");
    await page.waitForSelector(".sentence");
    await world.inspect(page, "operator-explained");

    // Every page of the desk on a desktop, a small window and a phone, light and dark.
    const callbacks = `${url}/callbacks?instance=${INSTANCE}`, storageState = await page.context().storageState();
    for (const [kind, width] of [["desktop", 1280], ["desktop", 1024], ["phone", 360]]) {
      for (const colorScheme of ["light", "dark"]) {
        const other = await world.person(kind, { colorScheme, storageState, viewport: { width, height: 800 } });
        for (const [name, address] of [["overview", overview], ["list", url], ["request", verified],
          ["callbacks", callbacks], ["waiting", callbacks + "&status=pending"], ["delivered", callbacks + "&status=delivered"]]) {
          await other.goto(address);
          await other.evaluate(() => document.querySelectorAll(".failures").forEach((one) => { one.open = true; }));
          await world.inspect(other, `operator-${name}-${width}-${colorScheme}`);
        }
        await other.context().close();
      }
    }

    await page.goto(callbacks);
    await page.click("text=Replay all");
    await page.waitForSelector(".notice");
    await until("it has died again", async () => {
      await page.goto(callbacks);
      return await page.locator(".rows tbody tr").count() === 1;
    });
    await page.click(".rows .small");
    await page.waitForURL(/replayed=1/);

    const plain = await world.person("desktop", { javaScriptEnabled: false });
    await plain.goto(url);
    await plain.fill("#password", "correct horse battery");
    await plain.click("button.go");
    await plain.waitForURL(overview);
    await plain.goto(url);
    assert.equal(await plain.locator(".rows tbody tr").count(), 25, "without a script");
    assert(!await plain.locator("#live").isVisible());
    await page.click("button.plain");
    await page.waitForURL(url + "/login");
    await page.goto(url);
    assert.equal(await page.locator("#password").count(), 1, "logged out");
    return world;
  },
};

const [, , name] = process.argv;
if (!name) {
  console.log(Object.keys(scenarios).join("\n"));
} else {
  try {
    const world = await scenarios[name]();
    assert.deepEqual(world.faults, [], "no violation of the policy, no error on a page");
    for (const [url, size] of world.sizes) assert(size < 30_000, `${size} bytes: ${url}`);
    console.log(`${name}: passed; largest page ${Math.max(0, ...world.sizes.values())} bytes`);
  } finally {
    await World.last?.stop();
  }
}
