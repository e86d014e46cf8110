import { createHmac, timingSafeEqual } from "node:crypto";

// `body` is the raw body; `headers` have lower-case names.
export function verify(secret, headers, body) {
  const { "webhook-id": id, "webhook-timestamp": at, "webhook-signature": given = "" } = headers;
  if (!(Math.abs(Date.now() / 1000 - Number(at)) < 300)) return false;
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const mine = Buffer.from("v1," + createHmac("sha256", key).update(`${id}.${at}.${body}`).digest("base64"));
  return given.split(" ").some((one) => one.length === mine.length && timingSafeEqual(Buffer.from(one), mine));
}
