"""Verifies callbacks with the standardwebhooks library: a JSON object per line in, `accepted`, `refused` or `misread` out."""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

for line in sys.stdin.buffer:
    claim = json.loads(line)
    try:
        read = Webhook(claim["secret"]).verify(claim["body"].encode(), claim["headers"])
    except WebhookVerificationError:
        print("refused")
    else:
        print("accepted" if read == json.loads(claim["body"]) else "misread")
