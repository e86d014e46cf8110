// oauth4webapi (npm), as its example for the code flow of OpenID Connect shows.
import express from 'express';
import session from 'express-session';
import * as oauth from 'oauth4webapi';

const { ISSUER, CLIENT_ID, CLIENT_SECRET, PORT } = process.env;
const redirect_uri = `http://127.0.0.1:${PORT}/callback`;
// Only because the issuer of the test has no TLS.
const insecure = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(ISSUER);
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure));
const client = { client_id: CLIENT_ID };
const clientAuth = oauth.ClientSecretPost(CLIENT_SECRET);

const app = express();
app.use(session({ secret: 'of the test', resave: false, saveUninitialized: false }));

app.get('/login', async (request, response) => {
  const code_verifier = oauth.generateRandomCodeVerifier();
  const [state, nonce] = [oauth.generateRandomState(), oauth.generateRandomNonce()];
  request.session.login = { code_verifier, state, nonce };
  const url = new URL(as.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: CLIENT_ID, redirect_uri, response_type: 'code', scope: 'openid phone profile', state, nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(code_verifier), code_challenge_method: 'S256',
  });
  response.redirect(url.href);
});

app.get('/callback', async (request, response) => {
  const { code_verifier, state, nonce } = request.session.login;
  const parameters = oauth.validateAuthResponse(as, client, new URL(request.originalUrl, redirect_uri), state);
  const answer = await oauth.authorizationCodeGrantRequest(
    as, client, clientAuth, parameters, redirect_uri, code_verifier, insecure,
  );
  const result = await oauth.processAuthorizationCodeResponse(as, client, answer, {
    expectedNonce: nonce, requireIdToken: true,
  });
  await oauth.validateApplicationLevelSignature(as, answer, insecure);
  const { sub } = oauth.getValidatedIdTokenClaims(result);
  const claims = await oauth.userInfoRequest(as, client, result.access_token, insecure);
  const info = await oauth.processUserInfoResponse(as, client, sub, claims);
  response.json({ sub, phone: info.phone_number, name: info.name });
});

app.listen(PORT, '127.0.0.1');
