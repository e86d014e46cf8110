// A login with the types of openapi-typescript and the client of openapi-fetch.
import createClient from "openapi-fetch";
import type { paths } from "./generated/openapi-typescript";
import { instance, send, token, url, verified } from "./login";

const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
const minted = await client.POST("/api/otp/v2/{instance}/generate-link", {
  params: { path: { instance } },
  body: { name: "Harbour" },
});
if (!minted.data?.data.text) throw new Error(JSON.stringify(minted.error));
const { uuid, text } = minted.data.data;
await send(text);
await verified(async () => {
  const shown = await client.GET("/api/otp/v2/{instance}/requests/{uuid}", { params: { path: { instance, uuid } } });
  return shown.data?.data.status;
});
