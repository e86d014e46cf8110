"""Checks the Helm chart with Helm's library (PyPI: helm-python-sdk, pyyaml).

usage: chart.py [--write] RENDERS

Lints the chart, renders five value files into the directory RENDERS, compares deploy/kubernetes.yaml with the render of
the production values (with --write: writes it), and checks that wrong values are refused. The last line counts the
checks.
"""

import copy
import pathlib
import re
import sys

import helm_python as helm
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/countersign"
MANIFEST = ROOT / "deploy/kubernetes.yaml"
PRODUCTION = CHART / "values-production.yaml"
FILES = [PRODUCTION, *sorted((CHART / "ci").glob("*-values.yaml"))]

HEADER = """\
# deploy/helm/countersign rendered with its values-production.yaml, for those who do not use Helm. Made by
#   python3 tests/deploy/chart.py --write target/renders
# Put your names, hosts and digests in their place, make the namespace and the Secrets it names, then
#   kubectl apply --namespace countersign -f deploy/kubernetes.yaml
"""
ORDER = ["ServiceAccount", "ConfigMap", "Service", "Deployment", "StatefulSet"]

# Changes to the production values that must be refused; the error must name the place.
REFUSED = [
    ("no public URL", {"publicUrl": None}, "publicUrl"),
    ("a public URL without its scheme", {"publicUrl": "wa.example.org"}, "publicUrl"),
    ("no Secret", {"existingSecret": ""}, "existingSecret"),
    ("no instance", {"instances": []}, "instances"),
    ("a misspelled value", {"replicaCuont": 3}, "replicaCuont"),
    ("a count in quotes", {"replicaCount": "3"}, "replicaCount"),
    ("no replicas", {"replicaCount": 0}, "replicaCount"),
    ("two replicas on the embedded store",
     {"store": {"kind": "embedded"}, "autoscaling": {"enabled": False}, "replicaCount": 2}, "replicaCount"),
    ("autoscaling on the embedded store", {"store": {"kind": "embedded"}}, "autoscaling/enabled"),
    ("another store", {"store": {"kind": "postgres"}}, "store/kind"),
    ("Redis nowhere", {"store": {"redis": {"urlKey": ""}}}, "store/redis"),
    ("Redis in two places", {"store": {"redis": {"url": "redis://redis:6379/0"}}}, "store/redis"),
    ("a password in values", {"store": {"redis": {"urlKey": "", "url": "redis://:hunter2@redis/0"}}}, "store/redis/url"),
    ("a gateway's secret in values", {"instances": [{"gateway": {"api_key": "hunter2"}}]}, "api_key"),
    ("callback secrets in values", {"instances": [{"callback_secrets": ["whsec_eA=="]}]}, "callback_secrets"),
    ("a token in the place of its digest", {"instances": [{"tokens": ["cst_token"]}]}, "tokens/0"),
    ("an instance that is no UUID", {"instances": [{"id": "harbour"}]}, "instances/0/id"),
    ("a number without its +", {"instances": [{"number": "447700900999"}]}, "instances/0/number"),
    ("the fake phone in production", {"instances": [{"gateway": {"kind": "simulator"}}]}, "gateway/kind"),
    ("a key that the chart sets", {"config": {"listen": "0.0.0.0:80"}}, "listen"),
    ("a collector's password in values", {"config": {"otlp": {"authorization": "Bearer x"}}}, "authorization"),
    ("a proxy that is no network", {"trustedProxies": ["ingress"]}, "trustedProxies/0"),
    ("a tag as digest", {"image": {"digest": "latest"}}, "image/digest"),
    ("another log format", {"log": {"format": "xml"}}, "log/format"),
    ("a port too far", {"service": {"port": 70000}}, "service/port"),
    ("a route to nowhere", {"httpRoute": {"enabled": True}}, "httpRoute/parentRefs"),
    ("more at least than at most", {"autoscaling": {"minReplicas": 11}}, "maxReplicas"),
]

checks = 0


def check(holds, what):
    global checks
    if not holds:
        sys.exit(f"chart: {what}")
    checks += 1


def render(chart, values):
    return chart.render(values, name="countersign", namespace="countersign")


def manifests(rendered, tests=True):
    """The documents of a render, in a fixed order by kind."""
    documents = []
    for path, text in sorted(rendered.items()):
        if path.endswith(".txt") or (not tests and "/templates/tests/" in path):
            continue
        for document in re.split(r"(?m)^---$", text):
            if yaml.safe_load(document) is None:
                continue
            kind = re.search(r"(?m)^kind: (\w+)$", document)[1]
            place = ORDER.index(kind) if kind in ORDER else len(ORDER)
            documents.append((place, path, document.strip("\n") + "\n"))
    documents.sort(key=lambda document: document[:2])
    return "".join(f"---\n{text}" for _, _, text in documents)


def merged(values, changes):
    """Merges like Helm, and also into the first element of a list of tables."""
    values = copy.deepcopy(values)
    for key, change in changes.items():
        old = values.get(key)
        if change is None:
            values.pop(key, None)
        elif isinstance(change, dict) and isinstance(old, dict):
            values[key] = merged(old, change)
        elif isinstance(change, list) and change and isinstance(change[0], dict) and old:
            values[key] = [merged(old[0], change[0])]
        else:
            values[key] = change
    return values


def refusal(chart, values):
    try:
        render(chart, values)
    except helm.HelmError as error:
        return str(error)
    return None


def main():
    arguments = sys.argv[1:]
    write = "--write" in arguments
    renders = pathlib.Path([argument for argument in arguments if argument != "--write"][0])
    renders.mkdir(parents=True, exist_ok=True)
    for old in renders.glob("*.yaml"):
        old.unlink()

    check(len(FILES) == 5, f"five value files are expected: {FILES}")
    with helm.Chart.load(str(CHART)) as chart:
        for path in FILES:
            values = yaml.safe_load(path.read_text())
            rendered = render(chart, values)
            (renders / f"{path.stem}.yaml").write_text(manifests(rendered))
            notes = next(text for name, text in rendered.items() if name.endswith("NOTES.txt")).rstrip()
            address = f"{values['publicUrl'].rstrip('/')}/api/otp/v2/{values['instances'][0]['id']}/generate-link"
            last = notes[notes.rindex("curl -X POST"):]
            check(address in last and last.endswith("-d '{}'"), f"{path.name}: NOTES do not end with a mint: {last}")
            report = helm.lint(str(CHART), values=values)
            check(not problems(report), f"{path.name}: lint: {report}")
            print(f"rendered and linted: {path.name}")

        production = yaml.safe_load(PRODUCTION.read_text())
        wanted = HEADER + manifests(render(chart, production), tests=False)
        if write:
            MANIFEST.write_text(wanted)
        check(MANIFEST.read_text() == wanted, f"{MANIFEST} is not the render of {PRODUCTION}: run with --write")

        for name, changes, place in REFUSED:
            said = refusal(chart, merged(production, changes))
            check(said is not None, f"{name}: is not refused")
            check(place in said, f"{name}: the refusal does not name {place}: {said}")
            print(f"refused: {name}")

        # A change of the configuration rolls the pods; one of labels outside of it does not.
        def checksum(changes):
            return re.search(r"configMap:\s+name: (\S+)", manifests(render(chart, merged(production, changes))))[1]

        check(checksum({"log": {"level": "debug"}}) != checksum({}), "the checksum overlooks the configuration")
        check(checksum({"podLabels": {"team": "x"}}) == checksum({}), "the checksum sees more than the configuration")
    print(f"{checks} checks of the chart passed, {len(REFUSED)} wrong values refused")


def problems(report):
    """What lint says at WARNING or above."""
    messages = report if isinstance(report, list) else getattr(report, "messages", None) or report.get("messages", [])
    return [message for message in messages if severity(message) >= 2]


def severity(message):
    value = message.get("severity", 0) if isinstance(message, dict) else getattr(message, "severity", 0)
    return {"INFO": 1, "WARNING": 2, "ERROR": 3}.get(str(value).upper(), value if isinstance(value, int) else 3)


main()
