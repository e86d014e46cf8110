"""A login with the client of openapi-python-client."""

import os
import time

import httpx
from countersign_client import AuthenticatedClient
from countersign_client.api.login_links import generate_link
from countersign_client.api.requests import get_request
from countersign_client.models import GenerateLinkBody

instance = os.environ["COUNTERSIGN_INSTANCE"]
client = AuthenticatedClient(base_url=os.environ["COUNTERSIGN_URL"], token=os.environ["COUNTERSIGN_TOKEN"])

link = generate_link.sync(instance, client=client, body=GenerateLinkBody(name="Harbour")).data
form = {"from": "447700900123", "text": link.text}
httpx.post(f"{os.environ['COUNTERSIGN_PHONE']}/send", json=form).raise_for_status()
for _ in range(100):
    status = get_request.sync(instance, link.uuid, client=client).data.status
    if status == "verified":
        print("verified")
        break
    time.sleep(0.05)
else:
    raise SystemExit(f"the status stays {status}")
