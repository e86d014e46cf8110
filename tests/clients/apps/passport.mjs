// passport-openidconnect (npm), as its README shows.
import express from 'express';
import session from 'express-session';
import passport from 'passport';
import OpenIDConnectStrategy from 'passport-openidconnect';

const { ISSUER, CLIENT_ID, CLIENT_SECRET, PORT } = process.env;
const options = {
  issuer: ISSUER,
  authorizationURL: `${ISSUER}/authorize`,
  tokenURL: `${ISSUER}/token`,
  userInfoURL: `${ISSUER}/userinfo`,
  clientID: CLIENT_ID,
  clientSecret: CLIENT_SECRET,
  callbackURL: `http://127.0.0.1:${PORT}/callback`,
  scope: ['profile', 'phone'],
};
// The library's profile has only the id; the access token reads the claims.
const verify = async (issuer, profile, context, idToken, accessToken, refreshToken, done) => {
  const headers = { authorization: `Bearer ${accessToken}` };
  const claims = await (await fetch(`${ISSUER}/userinfo`, { headers })).json();
  done(null, { sub: profile.id, name: claims.name, phone: claims.phone_number });
};
passport.use(new OpenIDConnectStrategy(options, verify));
passport.serializeUser((user, done) => done(null, user));
passport.deserializeUser((user, done) => done(null, user));

const app = express();
app.use(session({ secret: 'of the test', resave: false, saveUninitialized: false }));
app.use(passport.session());
app.get('/login', passport.authenticate('openidconnect'));
app.get('/callback', passport.authenticate('openidconnect', { failureMessage: true }), (request, response) =>
  response.json(request.user),
);
app.listen(PORT, '127.0.0.1');
