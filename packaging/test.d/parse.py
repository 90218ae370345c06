"""Reads the files of containers, Kubernetes and Grafana, and holds them against each other."""

import json
import pathlib
import re
import sys

import yaml

here = pathlib.Path(__file__).resolve().parent.parent
problems = []


def expect(fine, text):
    if not fine:
        problems.append(text)


compose = yaml.safe_load((here / "docker/compose.yaml").read_text())
services = compose["services"]
expect({"gateway", "engine", "postgres", "s3"} <= services.keys(), "compose: a service is missing")
dockerfile = (here / "docker/Dockerfile").read_text()
targets = set(re.findall(r"^FROM \S+ AS (\S+)", dockerfile, re.M))
expect({"cpu", "vaapi", "nvidia"} <= targets, f"Dockerfile: targets are {targets}")
for target in ("cpu", "vaapi", "nvidia"):
    stage = dockerfile.split(f" AS {target}\n")[1].split("\nFROM ")[0]
    users = re.findall(r"^USER (\S+)", stage, re.M) or ["10001"]
    expect(users[-1] == "10001", f"Dockerfile: {target} runs as {users[-1]}")
for source in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.M):
    for name in source.split():
        expect((here.parent / name).exists(), f"Dockerfile: {name} is not there")

# Every key that a recipe sets in the environment is a key of the configuration.
manual = yaml.safe_load((here.parent / "ghoststream.yaml").read_text())


def is_key(name):
    section, _, key = name.removeprefix("GHOSTSTREAM__").lower().partition("__")
    return key in manual.get(section, {})


objects = [o for o in yaml.safe_load_all((here / "kubernetes/ghoststream.yaml").read_text()) if o]
kinds = [o["kind"] for o in objects]
for kind in ("StatefulSet", "Deployment", "Service", "ScaledObject", "Secret", "ConfigMap"):
    expect(kind in kinds, f"kubernetes: no {kind}")
for o in objects:
    expect("apiVersion" in o and "name" in o["metadata"], f"kubernetes: {o['kind']} has no name")
    if o["kind"] in ("StatefulSet", "Deployment"):
        labels = o["spec"]["template"]["metadata"]["labels"]
        expect(o["spec"]["selector"]["matchLabels"].items() <= labels.items(), f"{o['kind']}: selector")
config = next(o for o in objects if o["kind"] == "ConfigMap")["data"]["ghoststream.yaml"]
for section, keys in yaml.safe_load(config).items():
    expect(keys.keys() <= manual.get(section, {}).keys(), f"kubernetes: {section} has unknown keys")
texts = [dockerfile, (here / "docker/compose.yaml").read_text(), (here / "kubernetes/ghoststream.yaml").read_text()]
texts += [f.read_text() for f in (here / "debian").glob("*.default")]
for name in set(re.findall(r"GHOSTSTREAM__\w+", " ".join(texts))) - {"GHOSTSTREAM__SECTION__KEY"}:
    expect(is_key(name), f"{name} sets no key")

# Every metric that the dashboard and the scaler ask for is one that the gateway has.
dashboard = json.loads((here / "grafana.json").read_text())
asked = " ".join(t["expr"] for p in dashboard["panels"] for t in p["targets"]) + texts[2]
told = sys.stdin.read()
have = set(re.findall(r"^# TYPE (\S+)", told, re.M))
for name in set(re.findall(r"\b(?:ghoststream|process)_\w+(?=\{|\))", asked)):
    family = re.sub(r"_(total|bucket)$", "", name)
    expect(family in have or name in have, f"no metric {name}")

# Labels that are asked for, of metrics that have a value now.
for name, selected in re.findall(r"\b(ghoststream_\w+)\{([^}]*)\}", asked):
    series = re.findall(rf"^{name}\{{([^}}]*)\}}", told, re.M)
    labels = set(re.findall(r"(\w+)=", " ".join(series)))
    for label in set(re.findall(r"(\w+)[=!]", selected)) - {"instance"}:
        expect(not series or label in labels, f"{name} has no label {label}")

# Engines are as many as the queue is long in what engines do.
done_by_engines = re.search(r"KINDS: \[JobKind; \d+\] = \[([^\]]*)\]", (here.parent / "src/engine/desk.rs").read_text())
kinds = {kind.lower() for kind in re.findall(r"JobKind::(\w+)", done_by_engines[1])}
scaled = set(re.search(r'kind=~?"([^"]*)"', texts[2])[1].split("|"))
expect(scaled == kinds, f"kubernetes: engines are scaled by {scaled}, and do {kinds}")
sys.exit("\n".join(problems) or 0)
