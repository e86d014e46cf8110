// A login with the client of hey-api.
import { client } from "./generated/hey-api/client.gen";
import { generateLink, getRequest } from "./generated/hey-api/sdk.gen";
import { instance, send, token, url, verified } from "./login";

client.setConfig({ baseUrl: url, auth: token });
const minted = await generateLink({ path: { instance }, body: { name: "Harbour" } });
if (!minted.data?.data.text) throw new Error(JSON.stringify(minted.error));
const { uuid, text } = minted.data.data;
await send(text);
await verified(async () => (await getRequest({ path: { instance, uuid } })).data?.data.status);
