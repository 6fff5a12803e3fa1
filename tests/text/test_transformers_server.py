"""The chat client and transformers' own server, with a language model made here: tiny, and its weights random."""

import functools
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from searec.text.answers import read_field
from searec.text.chat import Chat, ChatSettings, Prompt
from searec.text.histories import Histories
from searec.text.summaries import chat_summaries

COMMAND = Path(sys.executable).with_name("transformers")
NEEDED = ("openai", "fastapi", "uvicorn", "transformers", "tokenizers")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None] + [str(COMMAND)] * (not COMMAND.exists())

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]


def make_model(folder: Path) -> None:
    """A causal model of 2 layers and 32 dimensions over byte pairs, with a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    own = Tokenizer(models.BPE(unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=alphabet, show_progress=False)
    own.train_from_iterator(["likes tacos and sushi bars", "searches: coffee grinder; titles"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=2048,
            bos_token_id=1,
            eos_token_id=None,  # it never ends by itself
            pad_token_id=2,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The model's name, and the address it is served at."""
    folder = tmp_path_factory.mktemp("lm") / "tiny"
    make_model(folder)
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = folder.with_name("server.log")
    with log.open("wb") as out:
        command = [str(COMMAND), "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    limit = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
            break
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert process.poll() is None and time.monotonic() < limit, log.read_text()
            time.sleep(0.2)
    yield str(folder), f"http://127.0.0.1:{port}/v1"
    process.terminate()
    process.wait(30)


def test_questions_are_answered_counted_and_kept(served: tuple[str, str], tmp_path: Path) -> None:
    model, url = served
    config = ChatSettings(model=model, base_url=url, max_tokens=12, concurrency=2)
    prompts = [Prompt(f"user {n}", "v1", f"coffee grinder {n}") for n in range(4)]
    parse = functools.partial(read_field, field="preferences")
    with Chat(config, folder=tmp_path) as chat:
        answers = chat.ask(prompts, parse)
        ledger = chat.ledger.as_json()
    assert all(answer.value is not None and answer.value.plain for answer in answers), "random weights write no JSON"
    assert (ledger["calls"], ledger["completion_tokens"], ledger["uncounted"]) == (4, 4 * 12, 0)
    assert ledger["prompt_tokens"] > 4 * 2
    with Chat(config, folder=tmp_path) as chat:
        assert [answer.value for answer in chat.ask(prompts, parse)] == [answer.value for answer in answers]
        assert chat.ledger.as_json()["calls"] == 0


def test_summaries_of_a_whole_history(served: tuple[str, str], tmp_path: Path) -> None:
    model, url = served
    histories = Histories.of([{"searches": [("tacos", ["Taco Bar"])], "clicks": ["Sushi Place"]}, {"clicks": ["Pizza"]}])
    with Chat(ChatSettings(model=model, base_url=url, max_tokens=10), folder=tmp_path) as chat:
        summaries = chat_summaries(histories, chat)
    assert summaries.has().tolist() == [[False, False], [True, True], [True, False]]
    assert summaries.about["plain"] == 3
