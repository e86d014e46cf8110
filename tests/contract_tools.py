"""Gives the contract to the tools that people use: linters, Postman's runner and generators of clients.

usage: tests/contract_tools.py COUNTERSIGN NODE_MODULES VENV

Linters must find no error. The Postman collection runs from top to bottom twice with three variables set; every status
must be documented, and a success unless it needs what only a person or a gateway has. Each generated client is compiled
and logs a person in; see `tests/generated_clients`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request

CLIENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "generated_clients")

# A person's message, a link in a reply, a gateway's signature, or a chat that got a code a moment ago.
NEEDS_A_PERSON = {
    "Answer the gateway's handshake",
    "Answer the gateway's handshake, secret in the path",
    "Ask for an approval",
    "Check a code",
    "Exchange the redirect's token",
    "Send a callback again",
    "Send a code",
    "Send it again",
    "Show one callback",
    "Show the answer",
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


def main(daemon, modules, venv):
    modules, venv = os.path.abspath(modules), os.path.abspath(venv)
    tools = os.path.join(modules, ".bin")
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
            variables = {
                "COUNTERSIGN_URL": ready["base_url"],
                "COUNTERSIGN_INSTANCE": ready["instance"],
                "COUNTERSIGN_TOKEN": ready["token"],
                "COUNTERSIGN_PHONE": ready["phone_url"],
            }
            typescript(modules, home, variables)
            python(venv, home, variables)
            go(venv, home, variables)
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
    if report["failures"] or len(answers) < 35 or refused - NEEDS_A_PERSON:
        sys.exit("the Postman collection does not run from top to bottom")


def typescript(modules, home, variables):
    clients = shutil.copytree(CLIENTS, f"{home}/typescript")
    os.symlink(modules, f"{clients}/node_modules")
    tools = f"{modules}/.bin"
    check([f"{tools}/openapi-typescript", f"{home}/openapi.json", "-o", "generated/openapi-typescript.d.ts"], clients)
    check([f"{tools}/openapi-ts", "-i", f"{home}/openapi.json", "-o", "generated/hey-api", "-c", "@hey-api/client-fetch"], clients)
    check([f"{tools}/tsc", "--project", "."], clients)
    for client in ("openapi_typescript.ts", "hey_api.ts"):
        check([f"{tools}/tsx", client], clients, **variables)


def python(venv, home, variables):
    # It formats its output with ruff, which is beside it.
    path = f"{venv}/bin:{os.environ['PATH']}"
    check([f"{venv}/bin/openapi-python-client", "generate", "--path", "openapi.json", "--output-path", "python"], home, PATH=path)
    check([f"{venv}/bin/python3", f"{CLIENTS}/login.py"], home, PYTHONPATH=f"{home}/python", **variables)


def go(venv, home, variables):
    missing = [program for program in ("go", "java") if not shutil.which(program)]
    if missing:
        print(f"skipped: openapi-generator (Go), without {' and '.join(missing)}", flush=True)
        return
    os.mkdir(f"{home}/go")
    options = "packageName=countersign,withGoMod=false"
    command = [f"{venv}/bin/openapi-generator-cli", "generate", "-i", "openapi.json", "-g", "go", "-o", "go/countersign"]
    check(command + ["--additional-properties", options], home, stdout=subprocess.DEVNULL)
    # Tests of the generated client, which need packages of their own.
    shutil.rmtree(f"{home}/go/countersign/test", ignore_errors=True)
    shutil.copy(f"{CLIENTS}/login.go", f"{home}/go/main.go")
    with open(f"{home}/go/go.mod", "w") as file:
        file.write("module example.org/login\n\ngo 1.19\n")
    check(["go", "run", "."], f"{home}/go", GOFLAGS="-mod=mod", **variables)


def check(command, home, stdout=None, **more):
    result = subprocess.run(command, cwd=home, stdout=stdout, env=os.environ | more)
    if result.returncode:
        sys.exit(f"{os.path.basename(command[0])} ended with {result.returncode}")


main(*sys.argv[1:])
