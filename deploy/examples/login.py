#!/usr/bin/env python3
"""Signs users in over WhatsApp: python3 login.py, with COUNTERSIGN_URL, COUNTERSIGN_INSTANCE, COUNTERSIGN_TOKEN.

A user is signed in only after `redeem` with the verifier of the same session, never on `verified`. Add
http://localhost:3000/ to the instance's redirect_urls. Needs only Python's standard library.
"""
import base64, hashlib, hmac, html, json, os, secrets, urllib.error, urllib.request
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BASE, INSTANCE, TOKEN = (os.environ["COUNTERSIGN_" + name] for name in ("URL", "INSTANCE", "TOKEN"))
SELF = os.environ.get("APP_URL", "http://localhost:3000")
sessions = {}  # cookie -> {"verifier", "state", "user"}; keep them in a store of yours

def call(path, body):
    request = urllib.request.Request(f"{BASE}/api/otp/v2/{INSTANCE}/{path}", json.dumps(body).encode(), {
        "Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        print("countersign:", error.code, error.read().decode()[:300])

def begin(user=None):
    sid = secrets.token_urlsafe(32)
    sessions[sid] = {"verifier": secrets.token_urlsafe(32), "state": secrets.token_urlsafe(16), "user": user}
    return sid

class App(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("sid")
        sid = cookie.value if cookie and cookie.value in sessions else begin()
        session = sessions[sid]
        if url.path == "/in":
            ours = hmac.compare_digest(query.get("state", "").encode(), session["state"].encode())
            proof = ours and call("redeem", {"token": query.get("token", ""), "verifier": session["verifier"]})
            if proof:  # a new id for a new right
                sessions.pop(sid)
                sid = begin(proof["subject"]["value"])
            return self.answer(303, sid, location="/")
        if session["user"]:
            return self.answer(200, sid, f"<h1>Hello {html.escape(session['user'])}</h1>")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(session["verifier"].encode()).digest()).rstrip(b"=").decode()
        link = call("generate-link", {"challenge": challenge, "state": session["state"], "redirect_url": f"{SELF}/in"})
        if not link:
            return self.answer(503, sid, "<h1>Please try again</h1>")
        events = f"{BASE}/api/otp/v2/{INSTANCE}/requests/{link['uuid']}/events"
        self.answer(200, sid, f"""<h1>Sign in</h1><script src="{BASE}/widget.js" defer></script>
<countersign-login start="{link['start_url']}" events="{events}" token="{link['poll_token']}"></countersign-login>""")

    def answer(self, status, sid, body="", **headers):
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Set-Cookie", f"sid={sid}; Path=/; HttpOnly; SameSite=Lax")  # and Secure, over https
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(f"<!doctype html><html lang=en><title>Example</title>{body}".encode())

ThreadingHTTPServer(("127.0.0.1", urlsplit(SELF).port), App).serve_forever()
