// Judges claims: one JSON object a line in, `accepted`, `refused` or `misread` a line out.
"use strict";

const { readFileSync } = require("node:fs");
const { isDeepStrictEqual } = require("node:util");
const { Webhook, WebhookVerificationError } = require("standardwebhooks");

for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const { secret, headers, body } = JSON.parse(line);
  try {
    const read = new Webhook(secret).verify(body, headers);
    console.log(isDeepStrictEqual(read, JSON.parse(body)) ? "accepted" : "misread");
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    console.log("refused");
  }
}
