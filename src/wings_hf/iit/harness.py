# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The benchmark as a task of lm-evaluation-harness (`evaluation/tasks/iit.yaml`).

    lm_eval --model wings --model_args pretrained=my-model --include_path .../wings_hf/evaluation/tasks \\
        --tasks iit --metadata '{"benchmark": "iit"}' --apply_chat_template

`"settings": ["T", "TT", "TTT"]` beside the folder leaves out the others, as a text model must.
With the chat template, turns are turns; without, they are written one below the other. Answers to earlier turns are the
right ones. Metrics: `acc` over all last turns, and `acc_TTV`, ... for each setting.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import datasets
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask

from wings_hf.iit.benchmark import Benchmark
from wings_hf.iit.conversation import Conversation, check_settings
from wings_hf.processing.wings_image_sources import ImageOptions, read_image

FOLDER = "WINGS_IIT"  # environment variable that names the benchmark's folder


class IITTask(ConfigurableTask):
    """A document is a conversation; its choices are the letters of its last turn."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config={name: value for name, value in config.items() if name != "class"})
        self.MULTIMODAL = any("V" in setting for setting in self.settings)  # text models may do the others

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """
        Raises:
            ValueError: no folder is named, or it holds no benchmark.
        """
        metadata: Any = self.config.metadata or {}
        folder = metadata.get("benchmark") or os.environ.get(FOLDER)
        if not folder:
            raise ValueError(
                'task iit needs the folder of a benchmark: --metadata \'{"benchmark": "FOLDER"}\', or the environment '
                f"variable {FOLDER}."
            )
        benchmark = Benchmark.load(folder)
        self.settings = check_settings(metadata.get("settings") or benchmark.settings)
        documents = [document(chat) for setting in self.settings for chat in benchmark.of(setting)]
        self.dataset = {"test": datasets.Dataset.from_list(documents)}

    def fewshot_context(
        self,
        doc: dict[str, Any],
        num_fewshot: int = 0,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = False,
        chat_template: Callable[..., str] | None = None,
        gen_prefix: str | None = None,
    ) -> str:
        """The conversation up to the answer to its last question.

        Raises:
            ValueError: for examples before it: it has its own.
        """
        if num_fewshot:
            raise ValueError(f"num_fewshot={num_fewshot}: conversations of iit have their own turns before the last.")
        messages = [{"role": "system", "content": system_instruction}] if system_instruction else []
        messages += [dict(message) for message in doc["messages"]]
        if apply_chat_template and chat_template is not None:
            return before_reply(chat_template, messages, doc["choices"][0])
        return transcript(messages)

    def construct_requests(self, doc: dict[str, Any], ctx: str, **kwargs: Any) -> list[Any]:
        """One request for each letter; those of a text are as requests of texts are, without a place for images."""
        requests = super().construct_requests(doc, ctx, **kwargs)
        for request in requests:
            request.arguments = request.arguments if doc["images"] else request.arguments[:2]
        return requests

    def doc_to_image(self, doc: dict[str, Any], *args: Any) -> list[Any]:
        return [read_image(image, ImageOptions()) for image in doc["images"]]

    def process_results(self, doc: dict[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
        likely = [value for value, _ in results]
        right = float(likely.index(max(likely)) == doc["answer"])
        return {"acc": right, f"acc_{doc['setting']}": right}

    def aggregation(self) -> dict[str, Callable]:
        return {"acc": mean, **{f"acc_{setting}": mean for setting in self.settings}}

    def higher_is_better(self) -> dict[str, bool]:
        return dict.fromkeys(self.aggregation(), True)


def document(chat: Conversation) -> dict[str, Any]:
    """A conversation as a row: messages of plain text, with "<image>" where images stand."""
    messages = []
    for turn in chat.turns:
        asked, answered = turn.text(), turn.replies()[turn.answer]
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return {
        "id": chat.id,
        "setting": chat.setting,
        "messages": messages[:-1],
        "choices": list(chat.last.replies()),
        "answer": chat.last.answer,
        "images": [image for turn in chat.turns for image in turn.images],
    }


def before_reply(chat_template: Callable[..., str], messages: Sequence[dict[str, Any]], reply: str) -> str:
    """What the template writes of a whole conversation before the reply: it may be more than its prompt.

    Raises:
        ValueError: it does not write the reply as it is.
    """
    whole = chat_template([*messages, {"role": "assistant", "content": reply}], add_generation_prompt=False)
    if not whole.endswith(reply):
        raise ValueError(f"the chat template writes {whole[-len(reply) - 20 :]!r} for the reply {reply!r}.")
    return whole.removesuffix(reply)


def transcript(messages: Sequence[dict[str, str]]) -> str:
    """Messages one below the other, for models without a chat template."""
    written = ""
    for message in messages:
        said = message["content"]
        written += f" {said}\n\n" if message["role"] == "assistant" else f"{said}\n"
        written += "Answer:" if message["role"] == "user" else ""
    return written
