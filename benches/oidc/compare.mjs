// The OpenID provider beside panva's oidc-provider, in one run on the same machine: `benches/run --oidc`.
//
// Both serve the same clients with the same keys, and get the same requests from the same generator. countersign keeps
// its records in the embedded store, on the disk; oidc-provider keeps its own in memory, as it does out of the box.
import { execFileSync, fork, spawn } from "node:child_process";
import { createHash, createHmac, createPrivateKey, randomBytes, sign } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const INSTANCE = "5f0c2a90-0000-4000-8000-000000000001";
const [HMAC, SECRET] = [randomBytes(24).toString("hex"), randomBytes(24).toString("hex")];
const REDIRECT = "https://shop.example.org/in";
const CLIENTS = { RS256: "rsa", ES256: "ecdsa" };
const quick = process.argv.includes("--quick");
const [ROUNDS, LOGINS, PAGES, CONNECTIONS] = quick ? [1, 20, 50, 8] : [5, 400, 2000, 16];

const listening = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
const freePort = async () => {
  const server = http.createServer(), port = await listening(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
};

// --- the other provider, in a process of its own

async function serveOther({ port, keys, secret }) {
  // Its entry exports only `import`, which a path finds.
  const entry = path.join(process.env.MODULES, "oidc-provider/lib/index.js");
  const { default: Provider } = await import(pathToFileURL(entry));
  const jwks = { keys: Object.entries(keys).map(([alg, pem]) => ({ ...createPrivateKey(pem).export({ format: "jwk" }), alg, use: "sig" })) };
  const client = ([alg, client_id]) => ({
    client_id, client_secret: secret, redirect_uris: [REDIRECT], grant_types: ["authorization_code"],
    response_types: ["code"], id_token_signed_response_alg: alg,
  });
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    jwks, clients: Object.entries(CLIENTS).map(client), pkce: { required: () => false },
    features: { devInteractions: { enabled: false } }, interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    enabledJWA: { idTokenSigningAlgValues: ["RS256", "ES256"] }, cookies: { keys: ["k"] },
    ttl: { AccessToken: 3600, AuthorizationCode: 60, Grant: 3600, IdToken: 3600, Interaction: 1800, Session: 3600 },
    findAccount: (_, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
    async loadExistingGrant({ oidc }) {
      const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
      grant.addOIDCScope("openid");
      await grant.save();
      return grant;
    },
  });
  const handle = provider.callback();
  http.createServer((request, response) => {
    if (!request.url.startsWith("/interaction/")) return handle(request, response);
    provider.interactionFinished(request, response, { login: { accountId: randomBytes(8).toString("hex") } });
  }).listen(port, "127.0.0.1", () => process.send("ready"));
}

// --- the generator

class Server {
  agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });

  constructor(port, pid) { Object.assign(this, { port, pid }); }

  send(method, target, headers = {}, body = "") {
    return new Promise((resolve, reject) => {
      const length = body ? { "content-length": Buffer.byteLength(body) } : {};
      const options = { agent: this.agent, port: this.port, host: "127.0.0.1", method, path: target, headers: { ...headers, ...length } };
      http.request(options, (answer) => {
        let text = "";
        answer.setEncoding("utf8").on("data", (chunk) => text += chunk)
          .on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, text }));
      }).on("error", reject).end(body);
    });
  }

  form(target, fields, headers = {}) {
    const type = { "content-type": "application/x-www-form-urlencoded" };
    return this.send("POST", target, { ...type, ...headers }, new URLSearchParams(fields).toString());
  }

  /** Processor time of its process in ms. */
  cpu() {
    const fields = readFileSync(`/proc/${this.pid}/stat`, "utf8").split(") ")[1].split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10;
  }
}

const authorization = (client) => new URLSearchParams({
  response_type: "code", client_id: client, redirect_uri: REDIRECT, scope: "openid", state: "state", nonce: "nonce",
});
const expect = (answer, status) => {
  if (answer.status !== status) throw new Error(`${answer.status} instead of ${status}: ${answer.text}`);
  return answer;
};
const cookies = (answer) => (answer.headers["set-cookie"] ?? []).map((one) => one.split(";")[0]);

class Ours {
  name = "countersign";
  people = 0;
  replies = new Map();

  async start(directory, keys) {
    const gateway = http.createServer((request, response) => {
      let body = "";
      request.on("data", (chunk) => body += chunk).on("end", () => {
        const { chatId, text } = JSON.parse(body);
        this.replies.get(chatId)?.(text);
        response.setHeader("content-type", "application/json").end('{"id":"true_1@c.us_A"}');
      });
    });
    const [gatewayPort, port] = [await listening(this.gateway = gateway), await freePort()];
    const file = (name, text) => { writeFileSync(path.join(directory, name), text); return path.join(directory, name); };
    const keyFiles = Object.entries(keys).map(([name, pem]) => file(name + ".pem", pem));
    const digest = "sha256:" + createHash("sha256").update(SECRET).digest("hex");
    const client = ([alg, id]) => `[[instance.client]]\nid = "${id}"\nsecrets = ["${digest}"]\nredirect_uris = ["${REDIRECT}"]\nid_token_alg = "${alg}"\n`;
    const config = file("countersign.toml", `
public_url = "http://127.0.0.1:${port}"
listen = "127.0.0.1:${port}"
operator_listen = "127.0.0.1:0"
key = "${randomBytes(32).toString("base64")}"
[store]
url = "embedded:${path.join(directory, "data")}"
[log]
level = "error"
[limits]
pages_per_minute = 0
taps_per_minute = 0
[oidc]
signing_key_files = ${JSON.stringify(keyFiles)}
subject_key = "${randomBytes(32).toString("base64")}"
[[instance]]
id = "${INSTANCE}"
name = "Harbour"
number = "+447700900999"
tokens = ["${digest}"]
callback_secrets = ["whsec_${randomBytes(32).toString("base64")}"]
lang = "en"
${Object.entries(CLIENTS).map(client).join("")}
[instance.limits]
mint_per_second = 0
instance_mint_per_second = 0
replies_per_second = 0
[instance.gateway]
kind = "waha"
url = "http://127.0.0.1:${gatewayPort}"
api_key = "${randomBytes(12).toString("hex")}"
webhook_secret = "${HMAC}"
`);
    this.child = spawn(process.env.COUNTERSIGN_BINARY, ["serve", "--config", config], { stdio: ["ignore", "ignore", "inherit"] });
    this.server = new Server(port, this.child.pid);
    this.path = `/oidc/${INSTANCE}`;
    for (let tries = 0; ; tries++) {
      const answer = await this.server.send("GET", `${this.path}/jwks`).catch(() => null);
      if (answer?.status === 200) return;
      if (tries > 200 || this.child.exitCode !== null) throw new Error("countersign does not start");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  authorize(client) { return this.server.send("GET", `${this.path}/authorize?${authorization(client)}`).then((answer) => expect(answer, 200)); }

  token(client, code) { return exchange(this.server, `${this.path}/token`, client, code); }

  /** A whole login of a new person. */
  async code(client) {
    const number = `4477009${String(++this.people).padStart(5, "0")}`, chat = `${number}@c.us`;
    const page = await this.authorize(client), cookie = cookies(page).join("; ");
    const field = (text, name) => text.match(new RegExp(`name="${name}" value="([^"]*)"`))[1];
    const own = { cookie, "sec-fetch-site": "same-origin" };
    const begun = expect(await this.server.form(`${this.path}/continue`, { request: field(page.text, "request") }, own), 303);
    const start = expect(await this.server.send("GET", new URL(begun.headers.location).pathname, { cookie }), 200);
    const open = new URL(start.text.match(/href="(https:\/\/wa\.me\/[^"]*)"/)[1].replaceAll("&#38;", "&"));
    const reply = new Promise((resolve) => this.replies.set(chat, resolve));
    const body = JSON.stringify({ id: "evt_" + number, event: "message", session: "default", engine: "NOWEB", payload: {
      id: `false_${chat}_${number}`, timestamp: Math.floor(Date.now() / 1000), from: chat, fromMe: false, source: "app",
      body: open.searchParams.get("text"), hasMedia: false } });
    const signature = createHmac("sha512", HMAC).update(body).digest("hex");
    const headers = { "content-type": "application/json", "x-webhook-hmac-algorithm": "sha512", "x-webhook-hmac": signature };
    expect(await this.server.send("POST", `/webhooks/${INSTANCE}`, headers, body), 200);
    const link = new URL((await reply).match(/http:\/\/\S+\/o\/\S+/)[0]).pathname;
    this.replies.delete(chat);
    const confirm = expect(await this.server.send("GET", link, { cookie, accept: "text/html" }), 200);
    const done = expect(await this.server.form(link, { form: field(confirm.text, "form") }, { ...own, accept: "text/html" }), 303);
    return new URL(done.headers.location).searchParams.get("code");
  }

  stop() { this.child?.kill("SIGKILL"); this.gateway?.close(); }
}

class Other {
  name = "oidc-provider";

  async start(_, keys) {
    const port = await freePort();
    this.child = fork(fileURLToPath(import.meta.url), ["provider"]);
    this.child.send({ port, keys, secret: SECRET });
    await new Promise((resolve, reject) => this.child.once("message", resolve).once("exit", () => reject(new Error("oidc-provider does not start"))));
    this.server = new Server(port, this.child.pid);
  }

  authorize(client) { return this.server.send("GET", `/auth?${authorization(client)}`).then((answer) => expect(answer, 303)); }

  token(client, code) { return exchange(this.server, "/token", client, code); }

  async code(client) {
    const jar = new Map();
    let target = `/auth?${authorization(client)}`;
    for (let hops = 0; hops < 5; hops++) {
      const answer = expect(await this.server.send("GET", target, { cookie: [...jar.values()].join("; ") }), 303);
      for (const pair of cookies(answer)) jar.set(pair.split("=")[0], pair);
      const location = new URL(answer.headers.location, `http://127.0.0.1:${this.server.port}`);
      if (location.href.startsWith(REDIRECT)) return location.searchParams.get("code");
      target = location.pathname + location.search;
    }
    throw new Error("oidc-provider redirects without end");
  }

  stop() { this.child?.kill("SIGKILL"); }
}

async function exchange(server, target, client, code) {
  const authorization = "Basic " + Buffer.from(`${client}:${SECRET}`).toString("base64");
  const fields = { grant_type: "authorization_code", code, redirect_uri: REDIRECT };
  const answer = expect(await server.form(target, fields, { authorization }), 200);
  if (!JSON.parse(answer.text).id_token) throw new Error(answer.text);
}

/** Does all of it with a fixed number at a time; the results in their order. */
async function all(items, work) {
  const results = [];
  let next = 0;
  const worker = async () => { for (let at; (at = next++) < items.length;) results[at] = await work(items[at]); };
  await Promise.all(Array.from({ length: CONNECTIONS }, worker));
  return results;
}

/** Requests a second, and processor time of the server for each in µs. */
async function measure(provider, items, work) {
  const [cpu, begun] = [provider.server.cpu(), performance.now()];
  await all(items, work);
  const seconds = (performance.now() - begun) / 1000;
  return { rate: items.length / seconds, cpu: (provider.server.cpu() - cpu) * 1000 / items.length };
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

function signatures(keys) {
  const count = quick ? 20 : 2000, text = Buffer.alloc(600, "a");
  return Object.entries(keys).map(([alg, pem]) => {
    const key = { key: createPrivateKey(pem), dsaEncoding: "ieee-p1363" }, begun = performance.now();
    for (let n = 0; n < count; n++) sign("sha256", text, key);
    return `${alg} ${Math.round((performance.now() - begun) * 1000 / count)} µs`;
  });
}

async function main() {
  const directory = mkdtempSync(path.join(path.dirname(process.env.COUNTERSIGN_BINARY), "bench-oidc-"));
  const openssl = (...options) => execFileSync("openssl", ["genpkey", ...options], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const keys = {
    RS256: openssl("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    ES256: openssl("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
  };
  const providers = [new Ours(), new Other()];
  const found = new Map();
  const note = (provider, what, figures) => {
    const key = `${what}|${provider.name}`;
    found.set(key, [...found.get(key) ?? [], figures]);
  };
  try {
    for (const provider of providers) await provider.start(directory, keys);
    for (let round = 0; round <= ROUNDS; round++) {
      for (const provider of providers) {
        const pages = await measure(provider, Array(PAGES).fill(CLIENTS.RS256), (client) => provider.authorize(client));
        // The first round warms both up.
        if (round > 0) note(provider, "authorize", pages);
        for (const [alg, client] of Object.entries(CLIENTS)) {
          const codes = await all(Array(LOGINS).fill(client), (client) => provider.code(client));
          const tokens = await measure(provider, codes, (code) => provider.token(client, code));
          if (round > 0) note(provider, `token ${alg}`, tokens);
        }
      }
    }
  } finally {
    for (const provider of providers) provider.stop();
    rmSync(directory, { recursive: true, force: true });
  }
  console.log(`median of ${ROUNDS} rounds, ${CONNECTIONS} connections`);
  for (const what of ["authorize", "token RS256", "token ES256"]) {
    for (const { name } of providers) {
      const rounds = found.get(`${what}|${name}`);
      const [rate, cpu] = ["rate", "cpu"].map((figure) => Math.round(median(rounds.map((one) => one[figure]))));
      console.log(`${what.padEnd(12)} ${name.padEnd(14)} ${String(rate).padStart(6)}/s  ${String(cpu).padStart(5)} µs of processor time each`);
    }
  }
  console.log(`one signature by OpenSSL: ${signatures(keys).join(", ")}`);
}

if (process.argv[2] === "provider") process.once("message", serveOther);
else await main();
