"""Runs Twilio's library: a JSON object per line in, a result per line out.

{"sign": [url, form or text], "token"} returns the signature that Twilio would send.
{"validate": [url, form or text, signature], "token"} returns accepted or refused.
{"create": {to, from_, body}, "base", "account", "token"} sends a message to `base` instead of api.twilio.com.
"""

import json
import sys

from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client


class Form(dict):
    """Form parameters that may be repeated, with the interface of web frameworks."""

    def __init__(self, pairs):
        super().__init__((name, [v for n, v in pairs if n == name]) for name, _ in pairs)

    def getall(self, name):
        return self[name]


class RedirectedClient(TwilioHttpClient):
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
        except TypeError:  # The body is no form, and the URL has no bodySHA256.
            return "refused"
    client = Client(claim["account"], claim["token"], http_client=RedirectedClient(claim["base"]))
    return client.messages.create(**claim["create"]).sid


for line in sys.stdin.buffer:
    print(answer(json.loads(line)), flush=True)
