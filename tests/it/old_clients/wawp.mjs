// Requests as Wawp documents them for Node: the parameters in the query, or the credentials there and the others in
// JSON. BASE_URL, INSTANCE_ID and ACCESS_TOKEN are all that an app changes.
const { BASE_URL, INSTANCE_ID, ACCESS_TOKEN } = process.env;
const credentials = { instance_id: INSTANCE_ID, access_token: ACCESS_TOKEN };
const [, , endpoint, method, values] = process.argv;
const parameters = JSON.parse(values);

const inQuery = method === "GET" ? { ...credentials, ...parameters } : credentials;
const response = await fetch(`${BASE_URL}${endpoint}?${new URLSearchParams(inQuery)}`, {
  method,
  headers: { "Content-Type": "application/json" },
  ...(method === "POST" && { body: JSON.stringify(parameters) }),
});
if (response.ok) {
  console.log(JSON.stringify({ ok: await response.json() }));
} else {
  // As the samples report it.
  const reasons = { 401: "Unauthorized", 429: "Rate Limit Exceeded" };
  console.log(JSON.stringify({ status: response.status, reason: reasons[response.status], text: await response.text() }));
}
