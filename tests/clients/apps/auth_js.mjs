// Auth.js (@auth/express, npm) with a custom OIDC provider, as its documentation shows.
import { ExpressAuth, getSession } from '@auth/express';
import express from 'express';

const { ISSUER, CLIENT_ID, CLIENT_SECRET, PORT } = process.env;
const config = {
  secret: 'secret-of-the-test-0123456789abcdef',
  trustHost: true,
  providers: [
    {
      id: 'countersign',
      name: 'WhatsApp',
      type: 'oidc',
      issuer: ISSUER,
      clientId: CLIENT_ID,
      clientSecret: CLIENT_SECRET,
      authorization: { params: { scope: 'openid phone profile' } },
      checks: ['pkce', 'state', 'nonce'],
      // The phone is at the userinfo endpoint.
      idToken: false,
      profile: (profile) => ({ id: profile.sub, name: profile.name, phone: profile.phone_number }),
    },
  ],
  callbacks: {
    jwt: ({ token, user, profile }) => (profile ? { ...token, sub: profile.sub, phone: profile.phone_number } : token),
    session: ({ session, token }) => ({ ...session, sub: token.sub, phone: token.phone }),
  },
};

const app = express();
app.set('trust proxy', true);
app.use('/auth', ExpressAuth(config));

// The page's button is a form with Auth.js's own token against CSRF.
app.get('/', async (request, response) => {
  const session = await getSession(request, config);
  if (session) return response.json({ sub: session.sub, phone: session.phone, name: session.user.name });
  response.send('not signed in');
});

app.listen(PORT, '127.0.0.1');
