// openid-client (npm), as its README shows, with Express.
import express from 'express';
import session from 'express-session';
import * as client from 'openid-client';

const { ISSUER, CLIENT_ID, CLIENT_SECRET, PORT } = process.env;
const redirect_uri = `http://127.0.0.1:${PORT}/callback`;
// Only because the issuer of the test has no TLS.
const insecure = { execute: [client.allowInsecureRequests] };
const config = await client.discovery(new URL(ISSUER), CLIENT_ID, CLIENT_SECRET, undefined, insecure);

const app = express();
app.use(session({ secret: 'of the test', resave: false, saveUninitialized: false }));

app.get('/login', async (request, response) => {
  const code_verifier = client.randomPKCECodeVerifier();
  const [state, nonce] = [client.randomState(), client.randomNonce()];
  request.session.login = { code_verifier, state, nonce };
  const code_challenge = await client.calculatePKCECodeChallenge(code_verifier);
  const parameters = {
    redirect_uri, scope: 'openid phone profile', code_challenge, code_challenge_method: 'S256', state, nonce,
  };
  response.redirect(client.buildAuthorizationUrl(config, parameters).href);
});

app.get('/callback', async (request, response) => {
  const { code_verifier, state, nonce } = request.session.login;
  const checks = { pkceCodeVerifier: code_verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true };
  const tokens = await client.authorizationCodeGrant(config, new URL(request.originalUrl, redirect_uri), checks);
  const { sub } = tokens.claims();
  const info = await client.fetchUserInfo(config, tokens.access_token, sub);
  response.json({ sub, phone: info.phone_number, name: info.name });
});

app.listen(PORT, '127.0.0.1');
