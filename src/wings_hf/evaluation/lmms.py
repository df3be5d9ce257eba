# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""lmms-eval: the model "wings", for Wings and for every image-text model of transformers; found by its entry point.

`WingsChat` serves tasks that give whole messages (images anywhere in them), `WingsSimple` the older ones, and all that
ask for log-likelihoods.
"""

from collections.abc import Sequence
from typing import Any

from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest
from tqdm import tqdm

from wings_hf.evaluation.harness_text import generation_arguments, text_and_images
from wings_hf.evaluation.models import default_device, load
from wings_hf.evaluation.scorer import MARK, Prompt, Scorer

DEFAULT_TOKENS = 256


class WingsSimple(lmms):
    """
    Args:
        pretrained: folder or name on the Hub, or a loaded model.
        processor: for a loaded model, its processor.
        batch_size: prompts at a time.
        device: "cuda" where there is one, else "cpu".
        dtype: as `from_pretrained` takes it.
        max_length: tokens of a prompt and its answer; the model's limit where None.
        max_image_pixels: an image with more is refused.
        trust_remote_code, revision: as `from_pretrained` takes them.
        system_prompt: put before every conversation.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: Any,
        processor: Any = None,
        batch_size: int | str = 1,
        device: str | None = None,
        dtype: str = "auto",
        max_length: int | None = None,
        max_image_pixels: int | None = None,
        trust_remote_code: bool = False,
        revision: str = "main",
        system_prompt: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        unknown.pop("max_batch_size", None)
        if unknown:
            raise ValueError(f"unknown model argument {sorted(unknown)[0]!r} of wings for lmms-eval.")
        self._place(device)
        if isinstance(pretrained, str):
            pretrained, processor = load(pretrained, trust_remote_code, revision, dtype=dtype)
            pretrained = pretrained.to(self.device)
        length = int(max_length) if max_length else None
        pixels = int(max_image_pixels) if max_image_pixels else None
        self.scorer = Scorer(pretrained, processor, int(batch_size), length, pixels)
        self.system_prompt = self._resolve_system_prompt(system_prompt) if system_prompt else None

    def _place(self, device: str | None) -> None:
        """One device; under `accelerate launch` one for each process, each with its share of the questions."""
        from accelerate import Accelerator

        self.accelerator = Accelerator()
        self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        self.device = str(self.accelerator.device) if self._world_size > 1 else device or default_device()

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Of each continuation as the assistant's reply, as the chat template writes the whole conversation."""
        pairs = []
        for request in requests:
            context, target, *place = request.args
            visuals, document = self._seen(*place) if place else ((), None)
            continuation = target if isinstance(target, str) else target(document)
            messages = self._with_system(self._messages(context, visuals))
            prompt, (reply,) = self.scorer.replying(messages, [continuation.lstrip()])
            pairs.append((prompt, reply))
        with self._bar(len(pairs), "log-likelihoods") as bar:
            return self.scorer.loglikelihoods(pairs, bar.update)

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Answers, in the order of the requests; those of other generation settings are written apart."""
        settings = [self.settings_of(request) for request in requests]
        kinds = [repr(sorted(kind.items(), key=str)) for kind in settings]
        answers: dict[int, str] = {}
        with self._bar(len(requests), "answers") as bar:
            for kind in dict.fromkeys(kinds):
                chosen = [index for index, value in enumerate(kinds) if value == kind]
                prompts = [self.prompt_of(requests[index]) for index in chosen]
                arguments = generation_arguments(settings[chosen[0]], DEFAULT_TOKENS)
                answers.update(zip(chosen, self.scorer.answers(prompts, done=bar.update, **arguments), strict=True))
        return [answers[index] for index in range(len(requests))]

    def generate_until_multi_round(self, requests: list[Any]) -> list[str]:
        raise NotImplementedError("wings for lmms-eval answers one round: multi-round tasks are not supported.")

    def settings_of(self, request: Any) -> dict[str, Any]:
        return _known(request.args[1])

    def prompt_of(self, request: Any) -> Prompt:
        context, _, *place = request.args
        return self._chat(self._messages(context, self._seen(*place)[0]))

    def _seen(self, doc_to_visual: Any, doc_id: int, task: str, split: str) -> tuple[Sequence[Any], Any]:
        """Images of a question, and the question's document."""
        document = self.task_dict[task][split][doc_id]
        return doc_to_visual(document) or (), document

    def _messages(self, context: str, visuals: Sequence[Any]) -> list[dict[str, Any]]:
        """A conversation of one message. Images that the text does not place come first."""
        if any(isinstance(visual, str | dict) for visual in visuals):
            raise ValueError("this task has videos or sounds: wings takes images.")
        missing = len(visuals) - context.count(MARK)
        if missing < 0:  # the text speaks of more images than there are
            pieces = context.split(MARK)
            context = MARK.join([*pieces[: len(visuals)], "image".join(pieces[len(visuals) :])])
        content = text_and_images(MARK * max(missing, 0) + context)
        images = iter(visuals)
        items = [{"type": "image", "image": next(images)} if i["type"] == "image" else i for i in content]
        return [{"role": "user", "content": items}]

    def _chat(self, messages: list[dict[str, Any]]) -> Prompt:
        return self.scorer.chat(self._with_system(messages))

    def _with_system(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self._apply_system_prompt(messages, self.system_prompt or "")

    def _bar(self, total: int, what: str) -> Any:
        return tqdm(total=total, desc=what, disable=self.rank != 0)


class WingsChat(WingsSimple):
    """For tasks that give messages."""

    is_simple = False

    def settings_of(self, request: Any) -> dict[str, Any]:
        return _known(request.args[2])

    def prompt_of(self, request: Any) -> Prompt:
        _, doc_to_messages, _, doc_id, task, split = request.args
        messages = doc_to_messages(self.task_dict[task][split][doc_id])
        kinds = {part["type"] for message in messages for part in message["content"]} - {"text", "image"}
        if kinds:
            raise ValueError(f"this task has {sorted(kinds)[0]}: wings takes images.")
        return self._chat([{**message, "content": [dict(part) for part in message["content"]]} for message in messages])


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    """Without what is meant for one family's image processing."""
    return {name: value for name, value in settings.items() if name != "image_aspect_ratio" and value is not None}


def manifests() -> list[ModelManifest]:
    """What the entry point group "lmms_eval.models" loads."""
    return [
        ModelManifest(
            model_id="wings",
            simple_class_path=f"{__name__}.WingsSimple",
            chat_class_path=f"{__name__}.WingsChat",
        )
    ]
