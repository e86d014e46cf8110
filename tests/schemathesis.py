"""Runs schemathesis against a daemon of its own: all phases, three seeds, every response checked by /openapi.json.

usage: tests/schemathesis.py COUNTERSIGN SCHEMATHESIS [EXAMPLES] [SEED…]
"""

import json
import os
import subprocess
import sys
import tempfile

# Without the checks that invalid requests are refused: for old clients, the API also accepts numbers for strings, null
# for absent fields, and unknown fields. Other tests check what is refused.
CHECKS = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "ignored_auth",
    ]
)

# With limits, most responses would be 429.
UNLIMITED = """
[limits]
pages_per_minute = 0
taps_per_minute = 0
wrong_tokens_per_minute = 0
[instance_default.limits]
mint_per_second = 0
instance_mint_per_second = 0
links_per_chat_10m = 0
codes_per_chat_10m = 0
wrong_codes_per_chat_15m = 0
"""


def main(daemon, schemathesis, examples="200", *seeds):
    with tempfile.TemporaryDirectory() as home:
        running, _ = start(daemon, home)
        running.terminate()
        running.wait()
        with open(f"{home}/dev.toml", "a") as settings:
            settings.write(UNLIMITED)
        running, ready = start(daemon, home)
        try:
            failed = [seed for seed in seeds or ("1", "2", "3") if not run(schemathesis, ready, home, examples, seed)]
            if running.poll() is not None:
                sys.exit(f"the daemon ended with {running.returncode}")
        finally:
            running.terminate()
            running.wait()
    if failed:
        sys.exit(f"failed with the seeds {', '.join(failed)}")


def start(daemon, home):
    command = [daemon, "dev", "--json", "--data", home, "--listen", "127.0.0.1:0"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return running, json.loads(running.stdout.readline())


def run(schemathesis, ready, home, examples, seed):
    """Runs one seed, with the id of the instance: random ids would end most requests at a 404."""
    print(f"-- seed {seed}", flush=True)
    base = ready["base_url"]
    command = [os.path.abspath(schemathesis), "run", f"{base}/openapi.json", "--url", base, "--checks", CHECKS, "--seed", seed]
    command += ["--max-examples", examples, "--header", f"Authorization: Bearer {ready['token']}", "--no-color"]
    command += ["--continue-on-failure", "--warnings", "off", "--suppress-health-check", "all", "--request-timeout", "60"]
    with open(f"{home}/schemathesis.toml", "w") as file:
        # Otherwise event streams stay open while a request is pending.
        file.write(f'[parameters]\n"path.instance" = "{ready["instance"]}"\n"query.wait" = 0\n"query.now" = "1"\n')
    command[1:1] = ["--config-file", f"{home}/schemathesis.toml"]
    return subprocess.run(command, cwd=home).returncode == 0


main(*sys.argv[1:])
