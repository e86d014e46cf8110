"""Gives the contract to the tools that people use: linters, Postman's runner and generators of clients.

usage: tests/contract_tools.py COUNTERSIGN NODE_MODULES

Linters must find no error. The Postman collection runs from top to bottom twice with three variables set; every status
must be documented, and a success unless it needs what only a person or a gateway has.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request

# A person's message, a link in a reply, a gateway's signature, or a chat that got a code a moment ago.
NEEDS_A_PERSON = {
    "Answer the gateway's handshake",
    "Answer the gateway's handshake, secret in the path",
    "Check a code",
    "Exchange the redirect's token",
    "Send a callback again",
    "Send a code",
    "Send it again",
    "Show one callback",
    "Take a message",
    "Take a message, more in the path",
    "Take a message, secret in the path",
    "The link in the reply",
    "The reply's code",
    "The tap on Continue",
    "The tap on the start page",
    "The tap on “This wasn't me”",
    "“This wasn't me”",
}


def main(daemon, modules):
    tools = os.path.join(os.path.abspath(modules), ".bin")
    with tempfile.TemporaryDirectory() as home:
        command = [daemon, "dev", "--json", "--data", f"{home}/data", "--listen", "127.0.0.1:0"]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            ready = json.loads(running.stdout.readline())
            for name in ("openapi.json", "postman.json"):
                with urllib.request.urlopen(f"{ready['base_url']}/{name}") as answer:
                    open(f"{home}/{name}", "wb").write(answer.read())
            lint(tools, home)
            for _ in range(2):
                newman(tools, home, ready)
        finally:
            running.terminate()
            running.wait()


def lint(tools, home):
    with open(f"{home}/.spectral.json", "w") as file:
        # Spectral knows scopes of OAuth only; OpenAPI 3.1 allows them for every scheme.
        json.dump({"extends": ["spectral:oas"], "rules": {"oas3-operation-security-defined": "off", "info-contact": "off"}}, file)
    check([f"{tools}/spectral", "lint", "--ruleset", ".spectral.json", "--fail-severity", "warn", "openapi.json"], home)
    check([f"{tools}/redocly", "lint", "openapi.json"], home, REDOCLY_TELEMETRY="off")


def newman(tools, home, ready):
    variables = {"url": ready["base_url"], "instance": ready["instance"], "token": ready["token"]}
    command = [f"{tools}/newman", "run", "postman.json", "--reporters", "json", "--reporter-json-export", "run.json"]
    for name, value in variables.items():
        command += ["--env-var", f"{name}={value}"]
    subprocess.run(command, cwd=home, stdout=subprocess.DEVNULL)
    report = json.load(open(f"{home}/run.json"))["run"]
    for failure in report["failures"]:
        print(failure["source"].get("name"), failure["error"]["message"], file=sys.stderr)
    answers = {one["item"]["name"]: one["response"]["code"] for one in report["executions"] if "response" in one}
    refused = {name for name, status in answers.items() if status >= 400}
    print(f"newman: {len(answers)} answers, refused: {sorted(refused)}", flush=True)
    if report["failures"] or len(answers) < 40 or refused - NEEDS_A_PERSON:
        sys.exit("the Postman collection does not run from top to bottom")


def check(command, home, **more):
    result = subprocess.run(command, cwd=home, env=os.environ | more)
    if result.returncode:
        sys.exit(f"{os.path.basename(command[0])} ended with {result.returncode}")


main(*sys.argv[1:])
