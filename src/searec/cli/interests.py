"""The commands on interest graphs."""

from typing import Annotated

import typer

from searec.cli.arguments import Data, Json, Set, emit, pairs

app = typer.Typer(name="interests", help="Interest graphs: what users may want and have never shown.", no_args_is_help=True)


@app.command()
def debate(
    data: Data,
    user: Annotated[str, typer.Option(help="The user, as the dataset names it.", show_default=False)],
    agents: Annotated[int, typer.Option(min=2, max=20, help="How many debate.")] = 3,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of challenges after the proposals, at most.")] = 3,
    chat_model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A model as the chat server calls it; several are given to the agents in turn.", show_default=False
        ),
    ] = None,
    overrides: Set = None,
    figures: Json = None,
) -> None:
    """Let several agents debate what one user may want, and show who said what and who was convinced.

    The server and its key come from the environment: OPENAI_BASE_URL, OPENAI_API_KEY, SEAREC_CHAT_*.
    """
    import contextlib
    import json

    import numpy as np

    from searec.data.dataset import load
    from searec.data.split import NEVER
    from searec.errors import ChatError
    from searec.nearline.debate import DebateReasoner, DebateSettings
    from searec.nearline.profile import profiles
    from searec.nearline.transcript import read_out
    from searec.settings import configure
    from searec.text.chat import Chat, chat_settings

    config = configure(DebateSettings, {"agents": agents, "rounds": rounds, **pairs(overrides)}, where="interests debate")
    names = chat_model or [""]
    servers = {name: chat_settings(name) for name in names}
    dataset = load(data)
    inside = dataset.users.inside([user]).astype(np.int64)
    profile = next(profiles(dataset, inside, np.full(1, NEVER)))
    with contextlib.ExitStack() as stack:
        chats = {name: stack.enter_context(Chat(one)) for name, one in servers.items()}
        thought = DebateReasoner([chats[name] for name in names], config).think([profile])[0]
        ledgers = {name: chat.ledger.as_json() for name, chat in chats.items()}
    if str(figures) != "-":
        print(read_out(thought.transcript) if thought.transcript else f"user {user} asked nothing lately, so there is nothing to debate")
        for name, ledger in ledgers.items():
            tokens = ledger["prompt_tokens"] + ledger["completion_tokens"]
            print(f"{name}: {ledger['calls']} requests, {ledger['from_cache']} kept answers, {tokens:,} tokens, cost {ledger['cost']:g}")
    graph = None if thought.graph is None else json.loads(thought.graph.to_json())
    emit({"user": user, "graph": graph, "problem": thought.problem, "transcript": thought.transcript, "ledgers": ledgers}, figures)
    if thought.problem is not None:
        raise ChatError(
            "the debate came to nothing", got=thought.problem, remedy="see the transcript; try another model or more max_tokens"
        )
