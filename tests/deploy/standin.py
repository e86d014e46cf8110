"""A stand-in for WAHA and for the app that receives callbacks, for the Compose test. Standard library only.

It reads the same environment variables as WAHA, so the test covers those that compose.waha.yaml sets. In addition to
WAHA's API, POST /person sends a message as a person would, POST /hooks receives callbacks, and GET /seen returns what
was received.
"""

import hashlib
import hmac
import itertools
import json
import os
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API_KEY = os.environ["WAHA_API_KEY"]
HOOK_URL = os.environ["WHATSAPP_HOOK_URL"]
HMAC_KEY = os.environ["WHATSAPP_HOOK_HMAC_KEY"].encode()
EVENTS = os.environ["WHATSAPP_HOOK_EVENTS"].split(",")

seen = {"sent": [], "callbacks": [], "refused": 0}
numbers = itertools.count(1)


def event(person):
    number = person["number"]
    name = f"false_{number}@c.us_3EB0{next(numbers):012X}"
    payload = {
        "id": name, "timestamp": int(time.time()), "from": f"{number}@c.us", "fromMe": False, "source": "app",
        "body": person["text"], "hasMedia": False, "_data": {"pushName": person["name"]},
    }
    assert "message" in EVENTS
    return {"id": f"evt_{name}", "timestamp": int(time.time() * 1000), "event": "message", "session": "default",
            "engine": "NOWEB", "payload": payload}


def deliver(body, key=HMAC_KEY):
    request = urllib.request.Request(HOOK_URL, data=body, headers={
        "Content-Type": "application/json",
        "X-Webhook-Timestamp": str(int(time.time() * 1000)),
        "X-Webhook-Hmac": hmac.new(key, body, hashlib.sha512).hexdigest(),
        "X-Webhook-Hmac-Algorithm": "sha512",
    })
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


class Standin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self):
        self.answer(200, seen) if self.path == "/seen" else self.answer(404, {})

    def do_POST(self):
        body = self.body()
        if self.path == "/hooks":
            names = ["webhook-id", "webhook-timestamp", "webhook-signature"]
            headers = {name: self.headers.get(name) for name in names}
            seen["callbacks"].append({"headers": headers, "body": body.decode()})
            self.answer(200, {})
        elif self.path == "/person":
            person = json.loads(body)
            message = json.dumps(event(person)).encode()
            keys = [HMAC_KEY, b"a-key-that-is-not-configured"] if person.get("forge") else [HMAC_KEY]
            self.answer(200, {"status": deliver(message, keys[-1])})
        elif self.path == "/api/sendText":
            if not hmac.compare_digest(self.headers.get("X-Api-Key", ""), API_KEY):
                seen["refused"] += 1
                return self.answer(401, {"message": "Unauthorized", "statusCode": 401})
            message = json.loads(body)
            seen["sent"].append({"chat": message["chatId"], "text": message["text"]})
            self.answer(201, {"id": f"true_{message['chatId']}_3EB0FFFF"})
        else:
            self.answer(404, {"path": self.path})

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("0.0.0.0", 3000), Standin).serve_forever()
