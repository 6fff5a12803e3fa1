"""The training tasks of a generative model: prompts with the identifiers or texts that must follow, and their loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from searec.data.batch import Batch
from searec.data.schema import Task
from searec.models.gensar.item_corpus import ItemCorpusTokens
from searec.models.gensar.prompt_builder import PromptBuilder, Prompts
from searec.models.gensar.t5 import encode, head, head_scale
from searec.models.gensar.token_layout import TokenLayout
from searec.nn.softmax import linear_cross_entropy
from searec.semantic_ids.trie import Trie
from searec.semantic_ids.user_code_table import SIDES
from searec.text.tokenizer import EOS, PAD


@dataclass(frozen=True)
class Seq2SeqTask:
    """Prompts of one kind with what must follow: an identifier of a task, or a text.

    Attributes:
        name: of the loss part.
        weight: of the loss part.
        ids, mask: [B, L] the prompts.
        decoder_input: [B, T] what the decoder reads.
        target: [B, T] codes of each place, or tokens.
        task: whose identifiers follow; None for a text.
        items: [B] whose identifiers follow.
        is_token: [B, T] where a text has a token; None for identifiers.
    """

    name: str
    weight: float
    ids: Tensor
    mask: Tensor
    decoder_input: Tensor
    target: Tensor
    task: Task | None = None
    items: Tensor | None = None
    is_token: Tensor | None = None


@dataclass(frozen=True)
class TaskBuilder:
    """Makes the tasks of a training batch.

    Attributes:
        config: a `GenSAR.Config`.
        layout: of the tokens.
        prompts: builds them.
        codes: [2, I + 1, K] of the items.
        corpus: texts about items, None if there are none.
    """

    config: Any
    layout: TokenLayout
    prompts: PromptBuilder
    codes: Tensor
    corpus: ItemCorpusTokens | None

    def tasks(self, batch: Batch) -> list[list[Seq2SeqTask]]:
        """Return the tasks in groups whose prompts and targets have about one length; each group is one pass."""
        config, task = self.config, batch.task
        weight = config.recommend_weight if task == "recommend" else config.search_weight
        users = [self._item_task(task, weight, self.prompts.users(batch, task), task, batch.target)]
        if task == "search":
            prompt = self.prompts.users(batch, "query")
            text = self.prompts.queries(batch)
            users.append(self._text_task("query", config.query_weight, prompt, self.layout.query_mark, text))
        drawn = round(len(batch) * config.item_share)
        about_items = self._corpus_tasks(drawn, self.corpus) if drawn and self.corpus is not None else []
        groups = [[one] for one in users]
        groups += [[one for one in about_items if (one.is_token is None) == to_item] for to_item in (True, False)]
        return [group for group in ([one for one in group if one.weight] for group in groups) if group]

    def _item_task(self, name: str, weight: float, prompt: Prompts, task: Task, items: Tensor) -> Seq2SeqTask:
        side = SIDES.index(task)
        codes = self.codes[side, items.long()].long()  # (B, K)
        start = torch.full_like(codes[:, :1], self.layout.mark(task))
        decoder_input = torch.cat((start, codes[:, :-1] + codes.new_tensor(self.layout.blocks[side][:-1])), 1)
        return Seq2SeqTask(name, weight, *prompt, decoder_input, codes, task=task, items=items)

    def _text_task(self, name: str, weight: float, prompt: Prompts, start: int, text: Prompts) -> Seq2SeqTask:
        tokens, inside = text
        target = F.pad(tokens, (0, 1)).scatter_(1, inside.sum(1, keepdim=True), EOS)
        decoder_input = torch.cat((torch.full_like(tokens[:, :1], start), tokens), 1)
        is_token = F.pad(inside, (1, 0), value=True)
        return Seq2SeqTask(name, weight, *prompt, decoder_input, target, is_token=is_token)

    def _corpus_tasks(self, count: int, corpus: ItemCorpusTokens) -> list[Seq2SeqTask]:
        """Return tasks of items drawn: from pseudo-query or text to identifier, and back to the text."""
        config, prompts = self.config, self.prompts
        items = torch.randint(1, self.codes.shape[1], (count,))
        parts = (items, *corpus.texts(items), *corpus.queries(items))
        items, text, in_text, query, in_query = (part.to(self.codes.device) for part in parts)
        tasks = []
        if "search" in config.tasks:
            prompt = prompts.query("query_item", query, in_query)
            tasks.append(self._item_task("query_item", config.query_item_weight, prompt, "search", items))
        for task in config.tasks:
            prompt = prompts.text(f"identify_{task}", text, in_text)
            tasks.append(self._item_task(f"identify_{task}", config.identify_weight, prompt, task, items))
            prompt = prompts.item(f"describe_{task}", SIDES.index(task), items)
            name, weight = f"describe_{task}", config.describe_weight
            tasks.append(self._text_task(name, weight, prompt, PAD, (text, in_text)))
        return tasks


def decoder_states(t5: Any, tasks: Sequence[Seq2SeqTask]) -> list[Tensor]:
    """Return the decoder's states [B, T, D] of each task, scaled for the head, from one pass over all of them.

    Args:
        t5: of the transformers library.
        tasks: of one group.
    """

    def stacked(parts: Sequence[Tensor]) -> Tensor:
        width = max(part.shape[1] for part in parts)
        return torch.cat([F.pad(part, (0, width - part.shape[1])) for part in parts])

    mask = stacked([one.mask for one in tasks])
    states = encode(t5, stacked([one.ids for one in tasks]), mask)
    decoded = t5.decoder(
        input_ids=stacked([one.decoder_input for one in tasks]),
        encoder_hidden_states=states,
        encoder_attention_mask=mask,
        use_cache=False,
    )
    parts = torch.split(decoded.last_hidden_state * head_scale(t5), [len(one.ids) for one in tasks])
    return [part[:, : one.decoder_input.shape[1]] for part, one in zip(parts, tasks, strict=True)]


def task_loss(t5: Any, task: Seq2SeqTask, states: Tensor, layout: TokenLayout, trie: Callable[[Task], Trie]) -> Tensor:
    """Return the mean over rows of -log p(item | prompt), or over the tokens of a text, its end among them.

    As in `semantic_ids.beam`, a code competes with its siblings in the trie, so that nothing is spent on learning
    which identifiers exist.

    Args:
        t5: of the transformers library.
        task: with its targets.
        states: [B, T, D] of the decoder.
        layout: of the tokens.
        trie: the identifiers of a task.
    """
    target = task.target
    if task.task is None or task.items is None:
        assert task.is_token is not None
        return linear_cross_entropy(states[task.is_token], head(t5, 0, layout.text), target[task.is_token])
    identifiers = trie(task.task)
    path = identifiers.path(identifiers.leaves_of(task.items))
    total = torch.zeros(len(target), device=target.device)
    nodes = (torch.zeros_like(path[0]), *path[:-1])
    for place, (node, rows) in enumerate(zip(nodes, layout.heads(task.task), strict=True)):
        _, siblings, exists = identifiers.children(place, node)
        scores = (states[:, place] @ head(t5, *rows).T).float()
        chosen = scores.gather(1, target[:, place, None])[:, 0]
        total = total + scores.gather(1, siblings).masked_fill(~exists, -torch.inf).logsumexp(1) - chosen
    return total.mean()
