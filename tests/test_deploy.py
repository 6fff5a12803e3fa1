"""What lies in Dockerfile, compose.yaml and deploy/ agrees with the commands.

Settings and metrics that there are, and with itself.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from searec.cli import app

HOME = Path(__file__).parent.parent
DEPLOY = HOME / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
HOME_OF_STATE = "/var/lib/searec"
CLOSING_SECONDS = 10


def read(name: str) -> str:
    return (HOME / name).read_text(encoding="utf-8")


def parsed(name: str) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load(read(name))
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(parsed("compose.yaml")["services"])


def check_command(words: list[str]) -> None:
    """A command line of searec, its name left out.

    The command exists, its options do, and it has as many arguments as it needs.
    """
    command: Any = get_command(app)
    path = list(words)
    while hasattr(command, "commands"):
        command = command.commands[path.pop(0)]
    takes_value = {
        name: not getattr(one, "is_flag", False) for one in command.params for name in one.opts if name.startswith("-")
    }
    arguments = []
    while path:
        word = path.pop(0)
        if not word.startswith("--"):
            arguments.append(word)
            continue
        name, equals, _ = word.partition("=")
        assert name in takes_value, f"{name} is no option of searec {' '.join(words)}"
        if takes_value[name] and not equals:
            path.pop(0)
    named = [one for one in command.params if one.param_type_name == "argument"]
    most = len(arguments) if any(one.nargs == -1 for one in named) else len(named)
    least = len([one for one in named if one.required])
    assert least <= len(arguments) <= most, f"searec {' '.join(words)}: {arguments}"
    for word in words:
        if "--reasoner" in word and "=" in word:
            assert word.partition("=")[2] in ("offline", "chat", "debate")


def in_shell(text: str) -> Iterator[list[str]]:
    """The command lines of searec in a shell script, whoever runs them; a variable is a word."""
    begins = re.compile(r"\s*(?:sudo -u searec )?(?:/opt/searec/bin/)?searec |docker compose run .* service (?=[a-z])")
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        for part in re.split(r"\|\|?|&&|;", line):
            if found := begins.match(part):
                yield [word for word in shlex.split(part[found.end() :]) if "_args[@]" not in word]


def unit(path: Path) -> dict[str, str]:
    """Keys of a unit file; the last of several counts."""
    text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


# --- command lines ---


def test_every_command_in_compose_exists(services: dict[str, Any]) -> None:
    seen = set()
    for service in services.values():
        if "searec" not in service["image"]:
            continue
        if "entrypoint" not in service:
            check_command(service["command"])
            seen.add(service["command"][0])
        for line in (
            in_shell("\n".join(service.get("command", []))) if service.get("entrypoint", [""])[0] == "sh" else ()
        ):
            check_command(line)
            seen.add(line[0])
    assert seen == {"serve", "deploy", "interests", "keys", "simulate", "train"}


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_every_command_in_a_unit_exists(path: Path) -> None:
    program, *words = shlex.split(unit(path)["ExecStart"])
    assert program == "/opt/searec/bin/searec"
    check_command(words)


@pytest.mark.parametrize("name", ["deploy/retrain.sh", "docs/operation.md"])
def test_every_command_in_the_script_and_the_guide_exists(name: str) -> None:
    text = read(name)
    if name.endswith(".md"):
        text = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    lines = list(in_shell(text))
    assert {"train"} < {line[0] for line in lines}
    for line in lines:
        check_command(line)


def test_the_script_is_read_by_bash_and_shellcheck() -> None:
    subprocess.run(["bash", "-n", DEPLOY / "retrain.sh"], check=True)
    assert os.access(DEPLOY / "retrain.sh", os.X_OK)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    subprocess.run(["shellcheck", DEPLOY / "retrain.sh"], check=True)


# --- compose and Dockerfile ---


def test_compose_holds_together(services: dict[str, Any]) -> None:
    whole = parsed("compose.yaml")
    assert set(services) == {"service", "worker", "cache", "postgres", "keys", "demo", "retrain"}
    for name, service in services.items():
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in whole["volumes"], name
        assert set(service["networks"]) <= set(whole["networks"]), name
        assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
        one_shot = "profiles" in service
        assert service["restart"] == ("no" if one_shot else "unless-stopped")
        if not one_shot:
            assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"]), name
            assert service["healthcheck"]["test"], name
        for other, how in service.get("depends_on", {}).items():
            ended = "profiles" in services[other]
            assert how["condition"] == ("service_completed_successfully" if ended else "service_healthy"), (
                f"{name} on {other}"
            )
            assert how.get("required", True) is not ended, "who is not asked for by a profile must not be needed"
    assert whole["networks"]["back"]["internal"] is True
    assert services["service"]["networks"] == ["front", "back"]
    assert [name for name, one in services.items() if "ports" in one] == ["service"], (
        "nothing else can be reached from outside"
    )
    assert all(port.startswith("127.0.0.1:") for port in services["service"]["ports"])


def test_everything_that_is_asked_of_the_environment_is_in_the_example() -> None:
    example = dict(
        line.split("=", 1) for line in read(".env.example").splitlines() if "=" in line and not line.startswith("#")
    )
    assert set(re.findall(r"\$\{(\w+)", read("compose.yaml"))) == set(example)
    secret = {name for name in example if re.search("PASSWORD|KEY", name)}
    assert len(secret) == 4 and not any(example[name] for name in secret)
    assert ".env" in read(".gitignore").splitlines()


def test_variables_are_those_that_searec_reads(services: dict[str, Any]) -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (HOME / "src").rglob("*.py"))
    script = read("deploy/retrain.sh")
    given = {name for one in services.values() if "searec" in one["image"] for name in one["environment"]}
    given |= set(re.findall(r"^#? ?([A-Z_]+)=", (DEPLOY / "systemd" / "searec.env.example").read_text(), flags=re.M))
    given |= set(re.findall(r"^\s*(?:ENV )?(SEAREC_\w+)=", read("Dockerfile"), flags=re.M))
    assert {"SEAREC_STORE", "SEAREC_INTEREST_CACHE", "SEAREC_CACHE"} <= given
    assert {name for name in given if f'"{name}"' not in source and name not in script} == set()


def test_ports_and_folders_agree(services: dict[str, Any]) -> None:
    dockerfile = read("Dockerfile")
    exposed = set(re.findall(r"^EXPOSE (.+)$", dockerfile, flags=re.M)[0].split())
    serve, work = services["service"]["command"], services["worker"]["command"]
    port = next(word.partition("=")[2] for word in serve if word.startswith("--port="))
    metrics = next(word.partition("=")[2] for word in work if word.startswith("--metrics-port="))
    assert exposed == {port, metrics}
    assert services["service"]["ports"][0].endswith(f":{port}")
    assert f":{port}/healthz" in dockerfile and f":{port}/healthz" in services["service"]["healthcheck"]["test"][-1]
    assert f":{metrics}/metrics" in services["worker"]["healthcheck"]["test"][-1] and services["worker"]["expose"] == [
        metrics
    ]
    assert services["retrain"]["environment"]["SEAREC_URL"] == f"http://service:{port}"
    own = [one for one in services.values() if "searec" in one["image"]]
    assert all(one["volumes"] == [f"data:{HOME_OF_STATE}"] for one in own)
    assert all(one["read_only"] and one["cap_drop"] == ["ALL"] and one["init"] for one in own)
    assert f"WORKDIR {HOME_OF_STATE}" in dockerfile and f"SEAREC_CACHE={HOME_OF_STATE}/" in dockerfile
    password = "${POSTGRES_PASSWORD:?see .env.example}"
    database = services["postgres"]["environment"]
    assert services["service"]["environment"]["SEAREC_STORE"] == (
        f"postgresql://{database['POSTGRES_USER']}:{password}@postgres:5432/{database['POSTGRES_DB']}"
    )
    shop = f"{HOME_OF_STATE}/current/shop"
    named = {path.name: unit(path) for path in UNITS}
    deployment = f"{HOME_OF_STATE}/current/deployment.json"
    assert deployment in serve and shop in work
    assert deployment in named["searec.service"]["ExecStart"] and shop in named["searec-worker.service"]["ExecStart"]
    assert f"--port {port}" in named["searec.service"]["ExecStart"]
    assert f"--metrics-port {metrics}" in named["searec-worker.service"]["ExecStart"]
    assert all(one["WorkingDirectory"] == HOME_OF_STATE for one in named.values())


def test_images_have_a_version_and_no_secret(services: dict[str, Any]) -> None:
    dockerfile = read("Dockerfile")
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, flags=re.M))
    images = [image for image in re.findall(r"^FROM (\S+)", dockerfile, flags=re.M) if image not in stages]
    images += [service["image"] for service in services.values()]
    assert len(images) >= 4
    for image in images:
        assert re.fullmatch(r"[a-z/]+:[0-9][\w.-]*", image), image
    assert all(word in dockerfile for word in ("USER 10001", "HEALTHCHECK", "constraints.txt", "python:3.12-slim"))
    assert not re.search(r"(?i)^(ARG|ENV) .*(key|password|token)", dockerfile, flags=re.M)
    assert read(".dockerignore").splitlines()[1] == "*", "nothing is sent to the build but what is named"
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", dockerfile, flags=re.M)
    allowed = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    assert {name for line in copied for name in line.split()} == allowed
    assert all((HOME / name).exists() for name in allowed)


@pytest.fixture
def one_shot(services: dict[str, Any], tmp_path: Path) -> Callable[..., str]:
    """Run what a one-shot service of compose runs, in an empty home, on SQLite; its output."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "home").mkdir()
    program = tmp_path / "bin" / "searec"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m searec "$@"\n')
    program.chmod(0o755)
    own = {"PATH": f"{program.parent}:{os.environ['PATH']}", "SEAREC_STORE": f"sqlite:///{tmp_path / 'store.db'}"}

    def run(name: str, **smaller: str) -> str:
        (script,) = services[name]["command"]
        for old, new in smaller.items():
            assert old.replace("_", " ") in script
            script = script.replace(old.replace("_", " "), new)
        command = [*services[name]["entrypoint"], script]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path / "home", env={**os.environ, **own}
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_keys_service_makes_one_admin_key(one_shot: Callable[..., str]) -> None:
    pytest.importorskip("sqlalchemy")
    assert re.fullmatch(r"searec_[0-9a-f]{12}_\S+\n", one_shot("keys"))
    assert one_shot("keys") == "", "the second time there is one"


def test_the_demo_service_makes_what_is_served(
    one_shot: Callable[..., str], tmp_path: Path, services: dict[str, Any]
) -> None:
    from searec.pipeline.deployment import read_deployment

    assert "wrote" in one_shot(
        "demo", **{"--users_1000_--items_1000": "--users 60 --items 300", "epochs=5": "epochs=1"}
    )
    home = tmp_path / "home"
    named = [word.rpartition("=")[2] for word in services["service"]["command"] if HOME_OF_STATE in word]
    (path,) = named
    deployment = read_deployment(home / Path(path).relative_to(HOME_OF_STATE))
    assert all(Path(folder).is_dir() for folder in (deployment.data, *deployment.recommend, *deployment.search))
    assert one_shot("demo") == "", "what is served stays"


def test_the_extras_of_the_image_exist() -> None:
    import tomllib

    extras = re.findall(r"'\.\[([\w,]+)\]'", read("Dockerfile"))[0].split(",")
    known = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    assert set(extras) <= set(known) and {"service", "postgres", "nearline", "dense"} <= set(extras)


def test_the_counter_can_be_lifted_after_a_restore(tmp_path: Path) -> None:
    """As the guide says: what happens after it has a number above the mark of the export."""
    pytest.importorskip("sqlalchemy")
    import sqlite3

    from searec.store.events import Event
    from searec.store.store import Store

    (statement,) = re.findall(r'"(UPDATE counter .+)"', read("docs/operation.md"))
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        with sqlite3.connect(tmp_path / "store.db") as db:
            db.execute(statement)
        db.close()
        store.events.append([Event(event_id="e", user="u", kind="click", time=0, item="i")])
        assert store.events.all_events()[0].number == store.events.last_number() == 4712


# --- stopping ---


def test_there_is_time_to_stop(services: dict[str, Any]) -> None:
    pytest.importorskip("pydantic")
    from searec.service.http.http_config import HttpSettings
    from searec.store.worker import WorkerSettings

    service, worker = HttpSettings().shutdown_seconds + CLOSING_SECONDS, WorkerSettings().grace + CLOSING_SECONDS
    named = {path.name: unit(path) for path in UNITS}
    assert seconds(services["service"]["stop_grace_period"]) > service
    assert seconds(services["worker"]["stop_grace_period"]) > worker
    assert seconds(named["searec.service"]["TimeoutStopSec"]) > service
    assert seconds(named["searec-worker.service"]["TimeoutStopSec"]) > worker


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_are_hardened(path: Path) -> None:
    found = unit(path)
    for key, value in {
        "User": "searec",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "StateDirectory": "searec",
        "CapabilityBoundingSet": "",
        "KillMode": "mixed",
        "Restart": "on-failure",
    }.items():
        assert found[key] == value


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_are_accepted_by_systemd(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    program = path.read_text(encoding="utf-8").replace("/opt/searec/bin/searec", sys.executable)  # which must exist
    (tmp_path / path.name).write_text(program)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / path.name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert path.name not in done.stderr, done.stderr


# --- alerts ---


def exposed() -> dict[str, set[str]]:
    """Every series that service and worker tell Prometheus, with its labels."""
    pytest.importorskip("prometheus_client")
    from prometheus_client import generate_latest
    from prometheus_client.parser import text_string_to_metric_families as families

    from searec.pipeline.types import LeftOut
    from searec.service.http.metrics import HttpMetrics
    from searec.store.job_queue import Counts
    from searec.store.worker_metrics import Metrics

    class Store:
        @property
        def jobs(self) -> Any:
            return self

        def counts(self) -> Counts:
            return Counts(**dict.fromkeys(Counts.__dataclass_fields__, 0))

    http_metrics = HttpMetrics()
    http_metrics.record_request("GET", "/v1/recommend", 200, 0.1, [LeftOut("events", "failed")])
    metrics = Metrics(Store())  # type: ignore[arg-type]
    metrics.called("offline", 0.1, ok=True)
    metrics.ended("refreshed", 0.1)
    found: dict[str, set[str]] = {}
    for text in (http_metrics.exposition().decode(), generate_latest(metrics.registry).decode()):
        for family in families(text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_alerts_are_on_metrics_that_exist() -> None:
    known = exposed()
    rules = [rule for group in parsed("deploy/prometheus-rules.yaml")["groups"] for rule in group["rules"]]
    assert len(rules) >= 10 and len({rule["alert"] for rule in rules}) == len(rules)
    used = set()
    for rule in rules:
        assert rule["for"] and rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"]
        for name, labels in re.findall(r"(searec_\w+)(?:\{([^}]*)\})?", rule["expr"]):
            assert name in known, f"{rule['alert']}: {name}"
            assert set(re.findall(r"(\w+)=", labels)) <= known[name], f"{rule['alert']}: {labels}"
            used.add(name)
    assert {"searec_http_request_seconds_count", "searec_nearline_store_up"} <= used


def test_alerts_ask_for_values_that_occur() -> None:
    from searec.store.job_queue import Counts
    from searec.store.worker_metrics import OUTCOMES

    text = read("deploy/prometheus-rules.yaml")
    outcomes = {one for group in re.findall(r'outcome=~?"([^"]+)"', text) for one in group.split("|")}
    assert outcomes and outcomes <= set(OUTCOMES)
    states = set(re.findall(r'searec_nearline_\w+\{state="(\w+)"', text))
    assert states and states <= set(Counts.__dataclass_fields__)
    routes = (HOME / "src" / "searec" / "service" / "http" / "routes").glob("*.py")
    source = "\n".join(path.read_text(encoding="utf-8") for path in routes)
    for route in {one for group in re.findall(r'route=~?"([^"]+)"', text) for one in group.split("|")}:
        assert f'"{route}"' in source, route


def test_metrics_in_the_guide_exist() -> None:
    known = exposed()
    told = set(re.findall(r"`(searec_(?:http|nearline)_\w+)", read("docs/operation.md")))
    assert told and told <= set(known)
