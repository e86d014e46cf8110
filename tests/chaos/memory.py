#!/usr/bin/env python3
"""Measures the memory of the binary under hostile clients, open event streams and hostile receivers.

    tests/chaos/memory.py [--binary target/dist/countersign] [--streams 10000] [--clients 5000] [--limit 256]

Runs the daemon with the embedded store in a memory cgroup of --limit MiB (v1 or v2, as root). Where no cgroup can be
created, the limit is only compared with the resident memory of the process. Prints figures, and exits with 1 if a bound
is exceeded. Uses loopback only. Takes about two minutes.
"""

import argparse
import hashlib
import hmac
import json
import os
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

INSTANCE = "5f0c2a90-0000-4000-8000-000000000001"
TOKEN = "wk_test_token_0123456789abcdefghij"
SECRET = "0f3a91c7d25e48b6a7c1f09e4d82b356"
MIB = 1024 * 1024
PER_RECORD = 32
FAILURES = []


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def check(what, value, bound, unit):
    kept = value <= bound
    print(f"{'ok  ' if kept else 'MISS'} {what}: {value:.1f} {unit} (bound {bound} {unit})", flush=True)
    if not kept:
        FAILURES.append(what)


def require(what, holds):
    print(f"{'ok  ' if holds else 'MISS'} {what}", flush=True)
    if not holds:
        FAILURES.append(what)


class Cgroup:
    """A memory cgroup, if one can be created."""

    def __init__(self, limit):
        self.path = None
        candidates = [
            (pathlib.Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes"),
            (pathlib.Path("/sys/fs/cgroup"), "memory.max", "memory.current", "memory.peak"),
        ]
        for root, maximum, usage, peak in candidates:
            path = root / f"countersign-memory-{os.getpid()}"
            try:
                path.mkdir()
                (path / maximum).write_text(str(limit))
            except OSError:
                try:
                    path.rmdir()
                except OSError:
                    pass
                continue
            self.path, self.usage_file, self.peak_file = path, path / usage, path / peak
            return

    def enter(self):
        if self.path:
            (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def usage(self):
        return int(self.usage_file.read_text()) if self.path else None

    def peak(self):
        return int(self.peak_file.read_text()) if self.path and self.peak_file.exists() else None

    def remove(self):
        if self.path:
            for _ in range(50):
                try:
                    self.path.rmdir()
                    return
                except OSError:
                    time.sleep(0.1)


class Daemon:
    def __init__(self, binary, cgroup, home, callback="http://127.0.0.1:9/", extra=""):
        self.port, self.operator = free_port(), free_port()
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        common = f"""
number = "+447700900999"
tokens = ["sha256:{digest}"]
callback_secrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"]
callback_url = "{callback}"
allow_http_callbacks = true
callback_allow_networks = ["127.0.0.0/8"]
"""
        config = home / "config.toml"
        config.write_text(f"""
public_url = "http://127.0.0.1:{self.port}"
listen = "127.0.0.1:{self.port}"
operator_listen = "127.0.0.1:{self.operator}"
key = "quJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU="
{extra}
[store]
url = "embedded:{home}/store"
[log]
level = "warn"
[shutdown]
drain_delay = "0s"
grace = "5s"
[[instance]]
id = "{INSTANCE}"
name = "Harbour"
{common}
[instance.gateway]
kind = "waha"
url = "http://127.0.0.1:9"
api_key = "a-key-of-the-gateway-0123456789"
webhook_secret = "{SECRET}"
""")
        self.log = open(home / "log", "wb")
        self.process = subprocess.Popen(
            [binary, "serve", "--config", str(config)], preexec_fn=cgroup.enter, stdout=self.log, stderr=self.log)
        self.home = home
        for _ in range(500):
            if self.get("/readyz") == 200:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        sys.exit("the daemon did not start:\n" + (home / "log").read_text())

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.operator}{path}", timeout=10) as answer:
                answer.read()
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def metrics(self, *names):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.operator}/metrics", timeout=30) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(names):
                    print("     ", line)

    def mint(self):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/otp/v2/{INSTANCE}/generate-link", data=b"{}",
            headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"})
        for _ in range(40):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)["data"]
            except urllib.error.HTTPError as error:
                if error.code not in (429, 503):
                    raise
                time.sleep(0.5)
        raise RuntimeError("no link was minted")

    def alive(self):
        return self.process.poll() is None

    def rss(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def connect(self):
        one = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return one

    def stop(self):
        if self.alive():
            self.process.terminate()
            self.process.wait(60)


def open_streams(daemon, count):
    """Opens event streams and waits for the first event of each."""
    links = [daemon.mint() for _ in range((count + PER_RECORD - 1) // PER_RECORD)]
    streams = []
    for number in range(count):
        uuid = links[number // PER_RECORD]["uuid"]
        one = daemon.connect()
        one.sendall(
            f"GET /api/otp/v2/{INSTANCE}/requests/{uuid}/events HTTP/1.1\r\nhost: localhost\r\n"
            f"authorization: Bearer {TOKEN}\r\naccept: text/event-stream\r\n\r\n".encode())
        streams.append(one)
        if number % 50 == 49:
            for other in streams[-50:]:
                head = other.recv(4096)
                while head and b"event: status" not in head:
                    more = other.recv(4096)
                    if not more:
                        break
                    head += more
                if not head.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"stream {number}: {head[:200]}")
    return streams


class HostileClients:
    """Unfinished heads, stalled bodies of several sizes, unread responses, and silent connections."""

    def __init__(self, daemon, count):
        self.daemon, self.sockets, self.refused = daemon, [], 0
        for number in range(count):
            self.sockets.append(self.one(number))

    def one(self, number):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(10)
        try:
            one.connect(("127.0.0.1", self.daemon.port))
            one.setblocking(False)
            hook = f"POST /webhooks/{INSTANCE} HTTP/1.1\r\nhost: localhost\r\n"
            say = [
                f"GET / HTTP/1.1\r\nx: {'a' * 120_000}",
                f"{hook}content-length: 65536\r\n\r\n{'a' * 65_000}",
                f"{hook}content-length: 3000000\r\n\r\n{'a' * 400_000}",
                "GET /docs HTTP/1.1\r\nhost: localhost\r\n\r\n" * 8,
                "",
            ][number % 5].encode()
            for start in range(0, len(say), 65536):
                one.send(say[start:start + 65536])
        except OSError:
            self.refused += 1
        return one

    def again(self, until):
        """Reopens connections that were closed, until the given time."""
        number = 0
        while time.monotonic() < until:
            for index, one in enumerate(self.sockets):
                if time.monotonic() >= until:
                    return
                try:
                    gone = one.recv(1, socket.MSG_PEEK) == b""
                except BlockingIOError:
                    gone = False
                except OSError:
                    gone = True
                if gone:
                    one.close()
                    number += 1
                    self.sockets[index] = self.one(index)

    def close(self):
        for one in self.sockets:
            one.close()


def webhook(daemon, size, number):
    """Sends a genuine webhook of WAHA. Returns the status and the seconds until the response."""
    body = json.dumps({
        "event": "message", "session": "default", "id": f"evt{number}",
        "payload": {"id": f"m{number}", "timestamp": int(time.time()), "from": "447700900123@c.us", "fromMe": False,
                    "body": "hello", "padding": "a" * size}}).encode()
    mac = hmac.new(SECRET.encode(), body, hashlib.sha512).hexdigest()
    request = urllib.request.Request(f"http://127.0.0.1:{daemon.port}/webhooks/{INSTANCE}", data=body, headers={
        "content-type": "application/json", "x-webhook-hmac": mac, "x-webhook-hmac-algorithm": "sha512"})
    start = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except OSError as error:
        status = type(error).__name__
    return status, time.monotonic() - start


def clients_and_streams(arguments, cgroup, home):
    daemon = Daemon(arguments.binary, cgroup, home)
    time.sleep(1)
    idle = daemon.rss()
    print(f"      idle: {idle / MIB:.1f} MiB resident")
    warm = open_streams(daemon, 200)
    before, held = daemon.rss(), cgroup.usage()
    streams = open_streams(daemon, arguments.streams - 200)
    time.sleep(1)
    growth = (daemon.rss() - before) / len(streams)
    check("memory for an open stream", growth, 8000, "bytes resident")
    if held:
        print(f"      and {(cgroup.usage() - held) / len(streams):.0f} bytes of the cgroup, sockets included")
    began = time.monotonic()
    clients = HostileClients(daemon, arguments.clients)
    print(f"      {arguments.clients} hostile clients connected within {time.monotonic() - began:.1f} s, {clients.refused} refused")
    repeat = threading.Thread(target=clients.again, args=(time.monotonic() + 20,), daemon=True)
    repeat.start()
    worst, answers = 0.0, []
    peak = 0
    while repeat.is_alive():
        for size in (100, 1_000_000):
            status, took = webhook(daemon, size, time.monotonic_ns())
            answers.append(status)
            worst = max(worst, took)
        peak = max(peak, daemon.rss())
        time.sleep(0.1)
    require(f"the process is alive with {len(streams) + 200} streams and {arguments.clients} hostile clients", daemon.alive())
    check("resident at most", peak / MIB, arguments.limit, "MiB")
    if cgroup.peak():
        check("charged to the cgroup at most, sockets included", cgroup.peak() / MIB, arguments.limit, "MiB")
    good = sum(status == 200 for status in answers)
    require(f"{good} of {len(answers)} genuine webhooks were answered meanwhile, the slowest in {worst:.2f} s", good == len(answers))
    check("the slowest of them", worst, 5, "s")
    daemon.metrics("countersign_unauthenticated", "countersign_connections")
    for one in streams + warm:
        one.close()
    clients.close()
    daemon.stop()
    require(f"exit status {daemon.process.returncode}", daemon.process.returncode == 0)


def stalled_large_bodies(arguments, cgroup, home):
    daemon = Daemon(arguments.binary, cgroup, home)
    status, alone = webhook(daemon, 1_000_000, 1)
    require(f"a webhook of 1 MB alone: {status} in {alone:.3f} s", status == 200)
    stalled = []
    for _ in range(150):
        one = daemon.connect()
        one.sendall(f"POST /webhooks/{INSTANCE} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3000000\r\n\r\n".encode()
                    + b"a" * 200_000)
        stalled.append(one)
    worst = max(webhook(daemon, 1_000_000, 2 + number) for number in range(10))
    answers = [webhook(daemon, 1_000_000, 100 + number) for number in range(10)]
    require(f"beside 150 stalled large bodies: {sorted({str(status) for status, _ in answers})}",
            all(status == 200 for status, _ in answers))
    check("the slowest of ten", max([took for _, took in answers] + [worst[1]]), 1, "s")
    for one in stalled:
        one.close()
    daemon.stop()


class HostileReceivers:
    """Send a head byte by byte, a head of 32 MB, or an endless body."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.seen, self.open = 0, 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            one, _ = self.listener.accept()
            self.seen += 1
            threading.Thread(target=self.serve, args=(one, self.seen % 3), daemon=True).start()

    def serve(self, one, way):
        self.open += 1
        try:
            one.settimeout(30)
            one.recv(65536)
            if way == 0:
                for byte in b"HTTP/1.1 200 OK\r\nx: " + b"a" * 1000:
                    one.sendall(bytes([byte]))
                    time.sleep(0.1)
            elif way == 1:
                one.sendall(b"HTTP/1.1 200 OK\r\n")
                for number in range(32):
                    one.sendall(b"x%d: " % number + b"a" * MIB + b"\r\n")
            else:
                one.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                while True:
                    one.sendall(b"8000\r\n" + b"a" * 32768 + b"\r\n")
        except OSError:
            pass
        finally:
            self.open -= 1
            one.close()


def hostile_receivers(arguments, cgroup, home):
    receivers = [HostileReceivers() for _ in range(64)]
    daemon = Daemon(arguments.binary, cgroup, home)
    time.sleep(1)
    for _ in range(5):
        daemon.mint()
    before, peak = daemon.rss(), 0
    for receiver in receivers * 3:
        url = f"http://127.0.0.1:{receiver.listener.getsockname()[1]}/"
        request = urllib.request.Request(
            f"http://127.0.0.1:{daemon.port}/api/otp/v2/{INSTANCE}/callbacks/test", data=json.dumps({"url": url}).encode(),
            headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=30).read()
        except urllib.error.HTTPError as error:
            if error.code != 429:
                raise
        peak = max(peak, daemon.rss())
    until = time.monotonic() + 25
    while time.monotonic() < until:
        peak = max(peak, daemon.rss())
        time.sleep(0.05)
    print(f"      {sum(receiver.seen for receiver in receivers)} connections to 64 hostile receivers")
    check("memory for 64 hostile receivers", (peak - before) / MIB, 16, "MiB resident")
    daemon.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/dist/countersign")
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=5_000)
    parser.add_argument("--limit", type=int, default=256, help="MiB")
    parser.add_argument("--only", choices=["streams", "bodies", "receivers"])
    arguments = parser.parse_args()
    arguments.binary = os.path.abspath(arguments.binary)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    parts = {"streams": clients_and_streams, "bodies": stalled_large_bodies, "receivers": hostile_receivers}
    for name, part in parts.items():
        if arguments.only in (None, name):
            print(f"{name}:")
            cgroup = Cgroup(arguments.limit * MIB)
            with tempfile.TemporaryDirectory() as home:
                part(arguments, cgroup, pathlib.Path(home))
            cgroup.remove()
    if FAILURES:
        sys.exit("exceeded: " + "; ".join(FAILURES))


if __name__ == "__main__":
    main()
