"""Runs the Compose files: reads every overlay, then starts base and WAHA's overlay and completes one login.

usage: compose.py IMAGE

Needs `docker compose` with its engine. Variables name other images: REDIS_IMAGE, PYTHON_IMAGE (used instead of WAHA's),
and CADDY_IMAGE, which adds a login through the TLS overlay. The last line counts the checks.
"""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BASE, TLS, WAHA = (DEPLOY / name for name in ["compose.yaml", "compose.tls.yaml", "compose.waha.yaml"])
PERSON = "447700900123"

checks = 0


def check(holds, what):
    global checks
    if not holds:
        raise SystemExit(f"compose: {what}")
    checks += 1


def compose(files, *arguments, environment, capture=False, may_fail=False):
    command = ["docker", "compose", "--project-name", "countersign-tests"]
    for path in files:
        command += ["--file", str(path)]
    done = subprocess.run(command + list(arguments), env=environment, capture_output=capture, text=True)
    if done.returncode and not may_fail:
        raise SystemExit(f"compose: {' '.join(arguments)}: {done.stderr or done.returncode}")
    return done


def ask(method, url, body=None, headers=None):
    data = json.dumps(body).encode() if body is not None else None
    headers = {"Content-Type": "application/json", **(headers or {})}
    # The proxy has a self-signed certificate.
    unchecked = ssl._create_unverified_context() if url.startswith("https:") else None
    try:
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=20, context=unchecked) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def until(what, probe, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(0.2)
    raise SystemExit(f"compose: {what}: not within {seconds} s")


def signed(callback, secret):
    headers = callback["headers"]
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{callback['body']}"
    mine = "v1," + base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
    return mine in headers["webhook-signature"].split()


def read_overlays(environment):
    """Every combination is valid, variables without a default are required, and ports are published on loopback only."""
    full = {**environment, "COUNTERSIGN_HOST": "wa.example.org"}
    for files in [[BASE], [BASE, TLS], [BASE, WAHA], [BASE, TLS, WAHA]]:
        said = compose(files, "config", "--format", "json", environment=full, capture=True)
        services = json.loads(said.stdout)["services"]
        for name, service in services.items():
            for port in service.get("ports", []):
                public = name == "proxy" and port["published"] in ["80", "443"]
                check(public or port.get("host_ip") == "127.0.0.1", f"{name} opens {port}")
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("COUNTERSIGN_", "WAHA_"))}
    with tempfile.TemporaryDirectory() as empty:
        # Ignores a deploy/.env of the developer.
        bare["COMPOSE_ENV_FILES"] = str(pathlib.Path(empty) / "env")
        pathlib.Path(bare["COMPOSE_ENV_FILES"]).touch()
        for files, missing in [([BASE, TLS], "COUNTERSIGN_HOST"), ([BASE, WAHA], "WAHA_API_KEY|WAHA_HMAC_KEY|COUNTERSIGN_INSTANCE")]:
            said = compose(files, "config", "--quiet", environment=bare, capture=True, may_fail=True)
            check(said.returncode != 0 and re.search(missing, said.stderr), f"{missing} is not required: {said.stderr}")


def login(base, instance, token, secret):
    """Creates a link, sends its message, and checks the reply, the callback and the status."""
    api = f"{base}/api/otp/v2/{instance}"
    bearer = {"Authorization": f"Bearer {token}"}
    status, _ = ask("POST", f"{api}/generate-link", {}, {"Authorization": "Bearer wrong"})
    check(status == 401, f"a wrong token is answered {status}")
    status, body = ask("POST", f"{api}/generate-link", {"client_ref": "compose"}, bearer)
    check(status == 200, f"mint: {status} {body}")
    link = json.loads(body)["data"]
    standin = "http://127.0.0.1:3000"
    before = json.loads(ask("GET", f"{standin}/seen")[1])

    message = {"number": PERSON, "name": "Mara", "text": link["text"]}
    status, body = ask("POST", f"{standin}/person", {**message, "forge": True})
    check(json.loads(body)["status"] == 401, f"a forged webhook is answered {body}")
    status, body = ask("POST", f"{standin}/person", message)
    check(json.loads(body)["status"] == 200, f"the webhook is answered {body}")

    def answered():
        seen = json.loads(ask("GET", f"{standin}/seen")[1])
        fresh = {key: seen[key][len(before[key]):] for key in ["sent", "callbacks"]}
        return fresh if fresh["sent"] and fresh["callbacks"] else None

    fresh = until("a reply and a callback", answered)
    check(fresh["sent"][0]["chat"] == f"{PERSON}@c.us" and "/o/" in fresh["sent"][0]["text"], f"the reply: {fresh}")
    callback = json.loads(fresh["callbacks"][0]["body"])
    check(callback["type"] == "link.verified" and callback["data"]["uuid"] == link["uuid"], f"the callback: {callback}")
    check(callback["data"]["subject"]["value"] == f"+{PERSON}", f"the subject: {callback}")
    check(signed(fresh["callbacks"][0], secret), "the callback's signature")
    status, body = ask("GET", f"{api}/requests/{link['uuid']}", None, bearer)
    check(status == 200 and json.loads(body)["data"]["status"] == "verified", f"status: {body}")
    return link["uuid"]


def main():
    image = sys.argv[1]
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="countersign-compose-"))
    environment = {
        **os.environ,
        "COUNTERSIGN_DIR": str(scratch / "local"), "COUNTERSIGN_ENV": str(scratch / "env"),
        "COMPOSE_ENV_FILES": str(scratch / "env"), "COUNTERSIGN_IMAGE": image,
        "WAHA_IMAGE": os.environ.get("PYTHON_IMAGE", "docker.io/library/python:3-alpine"),
    }
    made = subprocess.run([DEPLOY / "init", "--name", "Harbour", "--number", "+447700900999"], env=environment,
                          capture_output=True, text=True, check=True).stdout
    again = subprocess.run([DEPLOY / "init", "--name", "X", "--number", "+1"], env=environment, capture_output=True)
    check(again.returncode == 1, "init overwrites existing files")
    instance = re.search(r"instance: (\S+)", made)[1]
    token = re.search(r"API token, shown only now: (\S+)", made)[1]
    secret = (scratch / "local/secrets/callbacks").read_text().strip()
    files = [BASE, WAHA, pathlib.Path(__file__).with_name("compose.override.yaml")]
    if "CADDY_IMAGE" in os.environ:
        files.insert(1, TLS)
        environment["COUNTERSIGN_HOST"] = "localhost"
    try:
        read_overlays(environment)
        print("every overlay is valid")
        start = time.monotonic()
        compose(files, "up", "--detach", "--wait", "--quiet-pull", environment=environment)
        print(f"up after {time.monotonic() - start:.1f} s")
        uuid = login("http://127.0.0.1:8080", instance, token, secret)
        print("a login succeeded")
        if "CADDY_IMAGE" in os.environ:
            until("the proxy", lambda: reaches("https://localhost/openapi.json"))
            login("https://localhost", instance, token, secret)
            print("a login through the proxy succeeded")
        check(ask("GET", "http://127.0.0.1:9090/metrics")[0] == 200, "metrics on loopback")

        # Data survives a kill of both processes.
        compose(files, "kill", environment=environment, capture=True)
        compose(files, "up", "--detach", "--wait", environment=environment, capture=True)
        bearer = {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:8080/api/otp/v2/{instance}/requests/{uuid}"
        status, body = ask("GET", url, None, bearer)
        check(status == 200 and json.loads(body)["data"]["status"] == "verified", f"after a kill: {status} {body}")
        print("a killed Redis kept the record")
        stop = time.monotonic()
        compose(files, "stop", "countersign", environment=environment, capture=True)
        took = time.monotonic() - stop
        state = compose(files, "ps", "--all", "--format", "json", "countersign", environment=environment, capture=True)
        check('"ExitCode":0' in state.stdout.replace(" ", ""), f"the daemon ended with {state.stdout}")
        check(took < 30, f"the daemon took {took:.0f} s to stop")
        print(f"stopped after {took:.1f} s, status 0")
    except BaseException:
        compose(files, "logs", "--no-color", "--tail", "40", environment=environment, may_fail=True)
        raise
    finally:
        compose(files, "down", "--volumes", "--timeout", "5", environment=environment, capture=True, may_fail=True)
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{checks} checks of Compose passed")


def reaches(url):
    try:
        return ask("GET", url)[0] < 500
    except OSError:
        return False


main()
