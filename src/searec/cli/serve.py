"""Commands that deploy and serve."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searec.cli.arguments import DEFAULT_STORE, CacheUrl, Data, Set, StoreUrl, choice, pairs

if TYPE_CHECKING:
    from fastapi import FastAPI

    from searec.pipeline.learned_fusion import LearnedFusion


def deploy(
    data: Data,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN...]", help="Runs, each for every task that it has learned.", show_default=False),
    ] = None,
    recommend: Annotated[
        list[Path] | None,
        typer.Option(
            "--recommend", metavar="RUN", help="Run for the feed only; may be given many times.", show_default=False
        ),
    ] = None,
    search: Annotated[
        list[Path] | None,
        typer.Option(
            "--search", metavar="RUN", help="Run for search only; may be given many times.", show_default=False
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option("--weight", metavar="CHANNEL=W", help="Weight in the fusion; 1 by default.", show_default=False),
    ] = None,
    fusion: Annotated[
        str,
        typer.Option(
            help="'learned' on validation requests, with LightGBM trees where they are better; 'linear', learned "
            "without trees; or 'rank', by reciprocal rank.",
        ),
    ] = "learned",
    requests: Annotated[
        int, typer.Option(min=1, help="Validation requests of a task that the fusion is learned from, at most.")
    ] = 2_500,
    novelty_cost: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of the feed's NDCG@10 that novelty may cost on validation; by default 0.005 with an interest "
            "channel, else 0.",
            show_default=False,
        ),
    ] = None,
    debias: Annotated[
        str,
        typer.Option(
            help="'auto' weighs clicks of searches against position bias where the log holds the result pages "
            "('shown'); 'off' learns from them as they are.",
        ),
    ] = "auto",
    rules: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Synonyms and redirects of search; copied beside the deployment.", show_default=False
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DEPLOYMENT", help="The file to write.")] = Path("deployment.json"),
    overrides: Set = None,
) -> None:
    """Learn how to combine runs, and write the deployment file that `serve` and `evaluate` read.

    The weights go to a file beside it. One request is answered before anything is written.
    """
    from searec.config import configure
    from searec.data.dataset import load
    from searec.data.remote import absolute
    from searec.errors import SettingsError
    from searec.pipeline.builder import open_pipeline
    from searec.pipeline.deployment import Deployment, write_deployment
    from searec.pipeline.executors import Inline
    from searec.pipeline.fusion_fitting import fit_fusion
    from searec.pipeline.learned_fusion import write_fusion
    from searec.pipeline.run import read_run
    from searec.search.rules import read_rules, write_rules

    dataset = load(data)
    folders: dict[str, list[str]] = {
        "recommend": [str(path.resolve()) for path in recommend or []],
        "search": [str(path.resolve()) for path in search or []],
    }
    for path in runs or []:
        for task in read_run(path, dataset).model.train_tasks:
            folders[task].append(str(path.resolve()))
    if not any(folders.values()):
        raise SettingsError(
            "nothing to deploy", expected="at least one run folder", remedy="searec deploy DATA RUN ..."
        )
    is_learned = choice(fusion, ("learned", "linear", "rank"), "--fusion") != "rank"
    values = {
        **({"quota": 0.0} if is_learned else {}),  # the interest channel competes by its scores
        **pairs(overrides),
        **folders,
        "data": absolute(data),
        "fingerprint": dataset.fingerprint,
        "weights": pairs(weights, "--weight"),
        "debias": choice(debias, ("auto", "off"), "--debias"),
    }
    deployment = configure(Deployment, values, where="deploy")
    if rules is not None:
        path = out.resolve().with_suffix(".rules.json")
        digest = write_rules(read_rules(rules), path)
        deployment = dataclasses.replace(deployment, search_rules=str(path), search_rules_digest=digest)
    if is_learned:
        by_task = fit_fusion(deployment, trees=fusion == "learned", most=requests, novelty_cost=novelty_cost)
        for task, one in by_task.items():
            print_fusion(task, one)
        path = out.resolve().with_suffix(".fusion.json")
        digest = write_fusion(path, by_task)
        deployment = dataclasses.replace(deployment, fusion=str(path), fusion_digest=digest)
        if "recommend" in by_task and by_task["recommend"].kind == "rank" and "quota" not in pairs(overrides):
            deployment = dataclasses.replace(deployment, quota=Deployment().quota)  # nothing scores its items
    pipeline = open_pipeline(deployment, executor=Inline)
    for run in pipeline.views.served_runs():
        print(f"  {run.label:<18} {run.model:<18} {', '.join(run.uses) or 'not used'}")
    pipeline.close()
    write_deployment(deployment, out)
    print(f"wrote {out}")


def print_fusion(task: str, learned: "LearnedFusion") -> None:
    """Print how the fusion of a task was chosen.

    Args:
        task: of the requests.
        learned: its fusion.
    """
    report = learned.report
    chosen = f"the order of {learned.parts[0]} alone" if learned.kind == "single" else f"{learned.kind} fusion"
    print(f"{task}: {chosen}" + (f" ({report['reason']})" if "reason" in report else ""))
    if "requests" not in report:
        return
    bias = report.get("position bias", {})
    basis = f"{report['requests']:,} validation requests, {report['in pool']:.1%} with the target among the candidates"
    if "groups" in bias:
        examined = ", ".join(f"{row['from position']}: {row['examination']:.2f}" for row in bias["groups"])
        print(f"  clicks weighed by 1 / examination of their position ({examined}), {bias['clipped']:.1%} clipped")
    elif bias:
        print(f"  clicks are not weighed against position bias: {bias['reason']}")
    print(f"  NDCG@10 of {basis}; learned ones are cross-fitted")
    anonymous = report.get("ndcg@10 without user", {})
    for name, value in sorted(report["ndcg@10"].items(), key=lambda one: -one[1]):
        print(f"    {name:<20}{value:>8.4f}" + (f"{anonymous[name]:>10.4f} without the user" if anonymous else ""))
    print("  gain of each part, over a linear fusion of the others")
    for name, gain in sorted(report["gain"].items(), key=lambda one: -one[1]):
        print(f"    {name:<20}{gain:>+8.4f}" + ("  dropped" if name in report["dropped"] else ""))
    if novelty := report.get("novelty"):
        shown = {"premium": 0.0, **novelty["base"]}
        for row in [shown, *novelty["premiums"][-1:]]:
            print(f"  novelty premium {row['premium']:g}: NDCG@10 {row['ndcg@10']:.4f}, ENR {row['enr']:.4f}")
    if shares := list(report.get("importance", {}).items())[:8]:
        print("  importance: " + ", ".join(f"{name} {share:.0%}" for name, share in shares))


def serve(
    deployment: Annotated[
        Path, typer.Argument(metavar="DEPLOYMENT", help="File that `searec deploy` wrote.", show_default=False)
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Dataset folder, or its URL, in place of the file's; same data.", show_default=False
        ),
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    cache: CacheUrl = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at; others can reach any but a loopback one.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 for any.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    open: Annotated[
        bool, typer.Option("--open", help="Serve without keys although others can reach the host.")
    ] = False,
    overrides: Set = None,
) -> None:
    """Answer recommendations and searches over HTTP until stopped; events are stored and count at once."""
    from searec.config import as_dict, configure
    from searec.service.http.http_config import HttpSettings
    from searec.service.http.server import is_loopback, refuse_open
    from searec.service.http.server import serve as run
    from searec.store.store import Store

    given = pairs(overrides)
    known = {field.name for field in dataclasses.fields(HttpSettings)}
    settings = configure(HttpSettings, {name: value for name, value in given.items() if name in known}, where="--set")
    with Store(store) as opened:
        keys = bool(opened.keys.all())
    refuse_open(host, keys=keys, open=open)
    if not keys and not settings.hosts and is_loopback(host):
        # without keys, a web page elsewhere that calls itself by our address must not be answered
        settings = configure(HttpSettings, {"hosts": ["localhost", "127.0.0.1", "[::1]", host]}, base=settings)
    config = {
        "deployment": str(deployment.resolve()),
        "data": data,
        "store": store,
        "cache": cache,
        "settings": {name: value for name, value in given.items() if name not in known},
    }
    run(
        partial(application, config, as_dict(settings)),
        host,
        port,
        workers,
        open=open,
        settings=settings,
        announce=partial(print, flush=True),
    )


def application(config: dict[str, Any], settings: dict[str, Any]) -> "FastAPI":
    """The application of a process."""
    from searec.config import configure
    from searec.service.http.app import create_app
    from searec.service.http.http_config import HttpSettings
    from searec.service.lifecycle import open_service

    front, recorder, events, keyring = open_service(config)
    return create_app(front, recorder, events, keyring, configure(HttpSettings, settings))
