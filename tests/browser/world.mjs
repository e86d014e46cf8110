// A daemon behind TLS, the gateway and the app it talks to, and a real Chromium in front of it.
import { execFileSync, spawn } from "node:child_process";
import { createHmac, createHash, pbkdf2Sync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync, mkdirSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";

const require = createRequire(path.join(process.env.MODULES, "x.js"));
const { chromium, devices } = require("playwright-core");
const jsqr = require("jsqr").default ?? require("jsqr");
const { PNG } = require("pngjs");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

export const INSTANCE = "5f0c2a90-0000-4000-8000-000000000001";
const TOKEN = "cst_test-token-of-the-first-instance", HMAC = "waha-hmac-key-0123456789abcdef";
export const b64url = (bytes) => Buffer.from(bytes).toString("base64url");
export const s256 = (text) => b64url(createHash("sha256").update(text).digest());

/** As `countersign hash-password` writes it. */
export function pbkdf2(password) {
  const [salt, rounds] = ["0123456789abcdef", 100_000];
  const bare = (bytes) => Buffer.from(bytes).toString("base64").replaceAll("=", "");
  return `$pbkdf2-sha256$i=${rounds}$${bare(salt)}$${bare(pbkdf2Sync(password, salt, rounds, 32, "sha256"))}`;
}

export async function until(what, check, patience = 120_000) {
  for (const end = Date.now() + patience; Date.now() < end;) {
    const found = await check();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("waited in vain for " + what);
}

const listening = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));

/** A port below those that the kernel chooses by itself, any of which a connection could take before it is bound. */
async function freePort() {
  for (let port = 10_000 + process.pid % 20_000; ; port++) {
    const probe = http.createServer();
    const free = await new Promise((resolve) => {
      probe.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

/** No violation of WCAG's rules, then a picture. */
export async function inspect(page, name) {
  await page.evaluate(() => document.fonts.ready);
  // The page's policy forbids a script tag; the debugger may evaluate.
  await page.evaluate(axe + ";0");
  const found = await page.evaluate(async () => {
    const report = await window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
    return report.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html + " " + node.failureSummary).join(" | ")}`);
  });
  if (process.env.SHOTS) {
    mkdirSync(process.env.SHOTS, { recursive: true });
    await page.screenshot({ path: path.join(process.env.SHOTS, name + ".png"), fullPage: true });
  }
  if (found.length) throw new Error(`${name}: ${found.join("\n")}`);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  if (wide) throw new Error(`${name}: wider than the window`);
}

/** `countersign dev` with its fake phone, and a browser of an app's developer. */
export class Dev {
  faults = [];
  sizes = new Map();

  static async start() {
    World.last = new Dev();
    await World.last.begin();
    return World.last;
  }

  async begin() {
    this.directory = mkdtempSync(path.join(tmpdir(), "countersign-dev-"));
    const options = ["dev", "--json", "--data", path.join(this.directory, "data")];
    this.child = spawn(process.env.COUNTERSIGN, options, { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    this.child.stdout.on("data", (chunk) => output += chunk);
    this.ready = JSON.parse(await until("the line of dev", () => output.includes("\n") && output));
    this.browser = await chromium.launch({
      executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
    });
  }

  async person(options = {}) {
    const context = await this.browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    context.on("weberror", (error) => this.faults.push(String(error.error())));
    context.setDefaultTimeout(120_000);
    return context.newPage();
  }

  inspect(page, name) { return inspect(page, name); }

  async stop() {
    await this.browser?.close();
    this.child?.kill("SIGTERM");
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export class World {
  replies = [];
  faults = [];
  sizes = new Map();
  messages = 0;

  /** `page` is the table of that name, in which APP stands for the app's address. */
  static async start(settings = "", top = "", page = "") {
    World.last = new World();
    await World.last.begin(settings, top, page);
    return World.last;
  }

  async begin(settings, top, page) {
    this.directory = mkdtempSync(path.join(tmpdir(), "countersign-browser-"));
    const file = (name) => path.join(this.directory, name);
    execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
      "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2", "-keyout", file("key"), "-out", file("cert")],
      { stdio: "ignore" });
    this.gateway = http.createServer((request, response) => {
      let body = "";
      request.on("data", (chunk) => body += chunk).on("end", () => {
        if (request.url === "/api/sendText") this.replies.push(JSON.parse(body).text);
        response.setHeader("content-type", "application/json").end('{"id":"true_1@c.us_A"}');
      });
    });
    const tls = { key: readFileSync(file("key")), cert: readFileSync(file("cert")) };
    this.app = https.createServer(tls, (request, response) => {
      const shown = request.url === "/embedding" ? this.embedding : "<main><h1>The app</h1></main>";
      response.setHeader("content-type", "text/html");
      response.end("<!doctype html><html lang=en><title>App</title><link rel=icon href='data:,'>" + shown);
    });
    this.front = https.createServer(tls, (request, response) => {
      const { method, url, headers } = request;
      const inner = http.request({ port: this.port, host: "127.0.0.1", method, path: url, headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      response.on("close", () => inner.destroy());
      inner.on("error", () => response.destroy());
      request.pipe(inner);
    });
    // A server, and no route of Playwright's: with one the browser aborts, when the page leaves, what it has just sent.
    this.whatsapp = https.createServer(tls, (_, response) => {
      response.setHeader("content-type", "text/html").end("<title>WhatsApp</title>");
    });
    const servers = [this.gateway, this.app, this.front, this.whatsapp];
    const [gateway, app, front, whatsapp] = await Promise.all(servers.map(listening));
    // Python binds it itself, so it is none of those that the kernel gives to anything else.
    this.example = await freePort();
    this.url = `https://localhost:${front}`;
    this.appUrl = `https://localhost:${app}`;
    writeFileSync(file("config.toml"), `
public_url = "${this.url}"
listen = "127.0.0.1:0"
operator_listen = "127.0.0.1:0"
key = "quJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU="
${top}
[store]
url = "embedded:${file("data")}"
[log]
level = "warn,countersign::app=info"
[shutdown]
drain_delay = "0s"
grace = "1s"
[[instance]]
id = "${INSTANCE}"
name = "Harbour"
number = "+447700900999"
tokens = ["sha256:${createHash("sha256").update(TOKEN).digest("hex")}"]
callback_secrets = ["whsec_R2bYkVe+NKb7Q2JVKQIeWFnDBZOD/X5UH/WLMwaJHhc="]
redirect_urls = ["${this.appUrl}/in", "http://localhost:${this.example}/"]
completions_allowed = ["prove_phone", "anywhere"]
expires_min = 10
${settings}
${page && "[instance.page]\n" + page.replaceAll("APP", this.appUrl)}
[instance.gateway]
kind = "waha"
url = "http://127.0.0.1:${gateway}"
api_key = "waha-api-key-0123456789"
webhook_secret = "${HMAC}"
`);
    this.daemon = spawn(process.env.COUNTERSIGN, ["serve", "--config", file("config.toml")], { stdio: ["ignore", "inherit", "pipe"] });
    let log = "";
    this.daemon.stderr.on("data", (chunk) => { process.stderr.write(chunk), log += chunk; });
    const bound = await until("the daemon's ports", () => {
      if (this.daemon.exitCode !== null) throw new Error("the daemon has ended");
      return log.split("\n").slice(0, -1).map((line) => JSON.parse(line)).find((line) => line.message === "listening");
    });
    [this.port, this.operator] = [bound.listen, bound.operator_listen].map((address) => Number(address.split(":").pop()));
    await until("the daemon", () => this.call("GET", "/requests").then((answer) => answer.success, () => false));
    this.browser = await chromium.launch({
      executablePath: process.env.CHROMIUM,
      args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", `--host-resolver-rules=MAP wa.me 127.0.0.1:${whatsapp}`],
    });
  }

  /** The app of deploy/examples. */
  async startExample() {
    const url = `http://localhost:${this.example}`;
    const env = { ...process.env, COUNTERSIGN_URL: `http://127.0.0.1:${this.port}`, COUNTERSIGN_INSTANCE: INSTANCE,
      COUNTERSIGN_TOKEN: TOKEN, APP_URL: url };
    this.python = spawn("python3", ["deploy/examples/login.py"], { env, stdio: ["ignore", "inherit", "ignore"] });
    await until("the example", () => fetch(url + "/in").then(() => true, () => false));
    return url;
  }

  /** The block of the guide *Your own QR page* with this file name. */
  async startGuideApp(name) {
    const guide = readFileSync("templates/docs/guides/qr-page.md", "utf8");
    const file = path.join(this.directory, name);
    writeFileSync(file, guide.split("```python file=" + name + "\n")[1].split("```")[0]);
    const env = { ...process.env, COUNTERSIGN_URL: `http://127.0.0.1:${this.port}`, COUNTERSIGN_INSTANCE: INSTANCE,
      COUNTERSIGN_TOKEN: TOKEN, PORT: String(this.example) };
    this.python = spawn("python3", [file], { env, stdio: ["ignore", "inherit", "ignore"] });
    const url = `http://localhost:${this.example}`;
    await until("the app", () => fetch(url).then(() => true, () => false));
    return url;
  }

  async stop() {
    await this.browser?.close();
    this.python?.kill("SIGTERM");
    this.daemon?.kill("SIGTERM");
    for (const server of [this.gateway, this.app, this.front, this.whatsapp]) server?.close(), server?.closeAllConnections();
    rmSync(this.directory, { recursive: true, force: true });
  }

  call(method, tail, body) {
    return new Promise((resolve, reject) => {
      const headers = { authorization: "Bearer " + TOKEN, "content-type": "application/json" };
      const request = http.request({ port: this.port, host: "127.0.0.1", method, path: `/api/otp/v2/${INSTANCE}${tail}`, headers }, (answer) => {
        let text = "";
        answer.on("data", (chunk) => text += chunk).on("end", () => resolve(JSON.parse(text)));
      }).on("error", reject);
      request.end(body && JSON.stringify(body));
    });
  }

  async mint(body = {}) {
    const answer = await this.call("POST", "/generate-link", { state: "s", ...body });
    if (!answer.success) throw new Error(JSON.stringify(answer));
    return answer.data;
  }

  /** Waits until the tap on the page with this wa.me link is kept: a person needs seconds to press Send. */
  bound(link, place) {
    return until("the tap", async () => {
      const { data } = await this.call("GET", "/requests?status=pending");
      const mine = data.requests.find((request) => link.includes(request.code));
      return mine?.timeline.some((entry) => entry.event === `tapped (${place})`);
    });
  }

  /** A person sends; the reply of the chat. */
  async says(text, number = "447700900123") {
    const id = "M" + ++this.messages, before = this.replies.length;
    const body = JSON.stringify({ id: "evt_" + id, event: "message", session: "default", engine: "NOWEB", payload: {
      id: `false_${number}@c.us_${id}`, timestamp: Math.floor(Date.now() / 1000), from: number + "@c.us", fromMe: false,
      source: "app", body: text, hasMedia: false } });
    const headers = { "content-type": "application/json", "x-webhook-hmac-algorithm": "sha512",
      "x-webhook-hmac": createHmac("sha512", HMAC).update(body).digest("hex") };
    const answer = await fetch(`http://127.0.0.1:${this.port}/webhooks/${INSTANCE}`, { method: "POST", body, headers });
    if (answer.status !== 200) throw new Error("webhook " + answer.status);
    return until("the reply", () => this.replies[before]);
  }

  /** A browser of its own: `phone` or `desktop`. */
  async person(kind, options = {}) {
    const base = kind === "phone" ? devices["Pixel 7"] : { viewport: { width: 1280, height: 860 } };
    const context = await this.browser.newContext({ ...base, ignoreHTTPSErrors: true, ...options });
    await context.grantPermissions(["clipboard-write", "clipboard-read"]).catch(() => {});
    context.on("weberror", (error) => this.faults.push(String(error.error())));
    const watch = (page) => {
      page.on("console", (message) => {
        if (/content security policy|refused to/i.test(message.text())) this.faults.push(message.text());
      });
      if (process.env.TRACE) page.on("request", (r) => console.error(r.method(), r.url()));
      page.on("response", async (response) => {
        if (response.request().method() === "GET" && response.url().startsWith(this.url) && /\/(l|o)\/[^/]+$/.test(response.url()) && response.status() === 200) {
          this.sizes.set(response.url(), (await response.body().catch(() => "")).length);
        }
      });
    };
    context.on("page", watch);
    context.setDefaultTimeout(120_000);
    return context.newPage();
  }

  inspect(page, name) { return inspect(page, name); }

  async scan(page, picture = page.locator(".qr img")) {
    const png = PNG.sync.read(await picture.screenshot());
    return jsqr(new Uint8ClampedArray(png.data), png.width, png.height)?.data;
  }

  landed(page) { return page.waitForURL((url) => url.href.startsWith(this.appUrl + "/in?")); }

  link(reply) { return reply.match(/https:\/\/localhost:\d+\/o\/\S+/)[0]; }

  code(reply) { return reply.match(/\b[0-9A-HJKMNP-TV-Z]{6}\b/)[0]; }
}
