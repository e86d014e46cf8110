"""Twilio's own library: one JSON object a line in, one answer a line out.

{"sign": [url, form or text], "token"} gives the signature that Twilio would send.
{"validate": [url, form or text, signature], "token"} gives accepted or refused.
{"create": {to, from_, body}, "base", "account", "token"} sends a message to `base` in the place of api.twilio.com.
"""

import json
import sys

from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client


class Form(dict):
    """Parameters that may be repeated, as web frameworks give them."""

    def __init__(self, pairs):
        super().__init__((name, [v for n, v in pairs if n == name]) for name, _ in pairs)

    def getall(self, name):
        return self[name]


class Elsewhere(TwilioHttpClient):
    def __init__(self, base):
        super().__init__()
        self.base = base

    def request(self, method, url, *args, **kwargs):
        return super().request(method, url.replace("https://api.twilio.com", self.base), *args, **kwargs)


def parameters(given):
    return given if isinstance(given, str) else Form([tuple(pair) for pair in given])


def answer(claim):
    validator = RequestValidator(claim["token"])
    if "sign" in claim:
        url, given = claim["sign"]
        return validator.compute_signature(url, {} if isinstance(given, str) else parameters(given))
    if "validate" in claim:
        url, given, signature = claim["validate"]
        try:
            return "accepted" if validator.validate(url, parameters(given), signature) else "refused"
        except TypeError:  # A text that is no form, and no hash of it in the URL.
            return "refused"
    client = Client(claim["account"], claim["token"], http_client=Elsewhere(claim["base"]))
    return client.messages.create(**claim["create"]).sid


for line in sys.stdin.buffer:
    print(answer(json.loads(line)), flush=True)
