import base64, hashlib, hmac, time


def verify(secret: str, headers: dict, body: bytes) -> bool:
    """`body` is the raw body; `headers` have lower-case names."""
    message_id, at = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(at)) > 300:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
    mine = "v1," + base64.b64encode(digest).decode()
    return any(hmac.compare_digest(mine, one) for one in headers["webhook-signature"].split(" "))
