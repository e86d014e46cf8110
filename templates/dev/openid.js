'use strict';

const $ = (id) => document.getElementById(id);
const issuer = $('main').dataset.issuer;
const client = 'demo';
const redirectUri = `${location.origin}/oidc`;

function step(title, text) {
  const item = document.createElement('li');
  const heading = document.createElement('b');
  heading.textContent = title;
  const body = document.createElement('pre');
  // Long ones scroll, which the keyboard can do only where it can be.
  body.tabIndex = 0;
  body.textContent = typeof text === 'string' ? text : JSON.stringify(text, null, 2);
  item.append(heading, body);
  $('steps').append(item);
}

const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const decoded = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const json = (part) => JSON.parse(new TextDecoder().decode(decoded(part)));

async function read(title, url, options) {
  const response = await fetch(url, options);
  const body = await response.json();
  const sent = options?.body ? `\n\n${options.body}` : '';
  step(title, `${options?.method ?? 'GET'} ${url}${sent}\n\n${response.status}\n${JSON.stringify(body, null, 2)}`);
  if (!response.ok) throw new Error(body.error_description ?? response.statusText);
  return body;
}

async function begin() {
  const metadata = await read('Configuration of the issuer', `${issuer}/.well-known/openid-configuration`);
  const kept = { verifier: random(), state: random(), nonce: random(), metadata };
  sessionStorage.setItem('login', JSON.stringify(kept));
  const challenge = base64url(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(kept.verifier)));
  const url = new URL(metadata.authorization_endpoint);
  url.search = new URLSearchParams({
    response_type: 'code', client_id: client, redirect_uri: redirectUri, scope: 'openid phone profile',
    state: kept.state, nonce: kept.nonce, code_challenge: challenge, code_challenge_method: 'S256',
  });
  location.assign(url);
}

async function verify(token, metadata) {
  const [header, claims, signature] = token.split('.');
  const keys = await read('Public keys', metadata.jwks_uri);
  const jwk = keys.keys.find((key) => key.kid === json(header).kid);
  const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['verify']);
  const valid = await crypto.subtle.verify(algorithm, key, decoded(signature), new TextEncoder().encode(`${header}.${claims}`));
  step('ID token', { signature: valid ? 'valid' : 'INVALID', header: json(header), claims: json(claims) });
  return json(claims);
}

async function finish(returned) {
  const { verifier, state, nonce, metadata } = JSON.parse(sessionStorage.getItem('login') ?? '{}');
  sessionStorage.removeItem('login');
  step('Returned to the app with', Object.fromEntries(returned));
  if (!state || returned.get('state') !== state) throw new Error('state is not the one of this browser');
  if (returned.get('iss') !== issuer) throw new Error('iss is another issuer');
  if (returned.has('error')) throw new Error(returned.get('error_description'));
  const body = new URLSearchParams({
    grant_type: 'authorization_code', client_id: client, redirect_uri: redirectUri, code: returned.get('code'),
    code_verifier: verifier,
  });
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const tokens = await read('Code exchanged', metadata.token_endpoint, { method: 'POST', headers, body: body.toString() });
  const claims = await verify(tokens.id_token, metadata);
  if (claims.nonce !== nonce) throw new Error('nonce is not the one of this browser');
  const bearer = { authorization: `Bearer ${tokens.access_token}` };
  const person = await read('Claims about the person', metadata.userinfo_endpoint, { headers: bearer });
  step('Logged in', person.phone_number ?? person.sub);
}

const returned = new URLSearchParams(location.search);
history.replaceState(null, '', '/oidc');
$('start').addEventListener('click', () => begin().catch((error) => step('Failed', error.message)));
if (returned.size > 0) finish(returned).catch((error) => step('Failed', error.message));
