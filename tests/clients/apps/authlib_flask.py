"""Authlib (PyPI) with Flask, as its documentation shows."""

import os

from authlib.integrations.flask_client import OAuth
from flask import Flask, jsonify

app = Flask(__name__)
app.secret_key = "of the test"
oauth = OAuth(app)
oauth.register(
    "countersign",
    client_id=os.environ["CLIENT_ID"],
    client_secret=os.environ["CLIENT_SECRET"],
    server_metadata_url=os.environ["ISSUER"] + "/.well-known/openid-configuration",
    client_kwargs={"scope": "openid phone profile", "code_challenge_method": "S256"},
)


@app.get("/login")
def login():
    return oauth.countersign.authorize_redirect(f"http://127.0.0.1:{os.environ['PORT']}/callback")


@app.get("/callback")
def callback():
    token = oauth.countersign.authorize_access_token()
    info = oauth.countersign.userinfo(token=token)
    return jsonify(sub=token["userinfo"]["sub"], phone=info["phone_number"], name=info["name"])


app.run(host="127.0.0.1", port=int(os.environ["PORT"]))
