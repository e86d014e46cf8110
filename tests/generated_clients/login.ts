// What the clients share: where the daemon is, and the person's part.
const variable = (name: string) => process.env[name] ?? "";

export const url = variable("COUNTERSIGN_URL");
export const instance = variable("COUNTERSIGN_INSTANCE");
export const token = variable("COUNTERSIGN_TOKEN");

/** The person presses Send on the fake phone of `countersign dev`. */
export async function send(text: string): Promise<void> {
  const body = JSON.stringify({ from: "447700900123", text });
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${variable("COUNTERSIGN_PHONE")}/send`, { method: "POST", headers, body });
  if (!answer.ok) throw new Error(await answer.text());
}

/** Waits until a status is "verified". */
export async function verified(status: () => Promise<string | undefined>): Promise<void> {
  let seen: string | undefined;
  for (let tries = 0; tries < 100; tries++) {
    seen = await status();
    if (seen === "verified") return console.log("verified");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`the status stays ${seen}`);
}
