# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""lm-evaluation-harness: the model type "wings", for Wings and for every causal or image-text model of transformers.

Text requests take the harness's own path for such models, unchanged: their numbers are those of `--model hf`. Requests
with images (several in a prompt, log-likelihoods too, which the harness's `hf-multimodal` has not) go through `Scorer`.
"""

from collections.abc import Sequence
from typing import Any

from lm_eval.api.registry import model_registry
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm

from wings_hf.evaluation.harness_text import generation_arguments, text_and_images
from wings_hf.evaluation.models import auto_class, default_device, load_processor, read_config, takes_images
from wings_hf.evaluation.scorer import Prompt, Scorer

NAME = "wings"


class WingsLM(HFLM):
    """
    Args:
        pretrained: folder, name on the Hub, or a loaded model.
        processor: for a loaded model, its processor (or tokenizer).
        max_image_pixels: see `Scorer`.
        arguments: those of the harness's `HFLM`.
    """

    def __init__(
        self,
        pretrained: Any,
        processor: Any = None,
        device: str | None = None,
        max_image_pixels: int | None = None,
        **arguments: Any,
    ) -> None:
        remote = (bool(arguments.get("trust_remote_code")), str(arguments.get("revision") or "main"))
        config = read_config(pretrained, *remote) if isinstance(pretrained, str) else pretrained.config
        name = pretrained if isinstance(pretrained, str) else config.name_or_path
        self.AUTO_MODEL_CLASS = auto_class(config)
        self.MULTIMODAL = takes_images(config)
        self.processor = processor if processor is not None else load_processor(name, config, *remote)
        arguments.setdefault("backend", "causal")
        tokenizer = getattr(self.processor, "tokenizer", self.processor)
        super().__init__(pretrained, tokenizer=tokenizer, device=device or default_device(), **arguments)
        self.max_image_pixels = int(max_image_pixels) if max_image_pixels else None
        self.cut = 0  # requests of texts that were longer than the model reads: the harness drops their beginning

    def _loglikelihood_tokens(self, requests: Any, *arguments: Any, **named: Any) -> list[tuple[float, bool]]:
        self.cut += sum(len(context) + len(answer) > self.max_length + 1 for _, context, answer in requests)
        return super()._loglikelihood_tokens(requests, *arguments, **named)

    def tok_batch_encode(
        self, strings: Any, *arguments: Any, left_truncate_len: int | None = None, **named: Any
    ) -> Any:
        if left_truncate_len:
            self.cut += sum(len(self.tok_encode(text)) > left_truncate_len for text in strings)
        return super().tok_batch_encode(strings, *arguments, left_truncate_len=left_truncate_len, **named)

    def scorer(self) -> Scorer:
        size = self.batch_size if isinstance(self.batch_size, int) else 1
        return Scorer(self.model, self.processor, size, self.max_length, self.max_image_pixels)

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return self._divided(requests, super().loglikelihood, self._seen_likelihoods, disable_tqdm)

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        return self._divided(requests, super().generate_until, self._seen_answers, disable_tqdm)

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        if any(images_of(request) for request in requests):
            raise ValueError("loglikelihood_rolling is of texts: a request has images.")
        return super().loglikelihood_rolling(requests, disable_tqdm)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        if not self.MULTIMODAL or not getattr(self.processor, "chat_template", None):
            return super().apply_chat_template(chat_history, add_generation_prompt)
        messages = [{**message, "content": text_and_images(message["content"])} for message in chat_history]
        return self.processor.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **self.chat_template_args,
        )

    def _divided(self, requests: Any, read: Any, see: Any, disable_tqdm: bool) -> list[Any]:
        """Results in order, of requests without images by `read` and of those with images by `see`."""
        has_images = [bool(images_of(request)) for request in requests]
        plain = iter(read([r for r, seen in zip(requests, has_images, strict=True) if not seen], disable_tqdm))
        seen_requests = [r for r, seen in zip(requests, has_images, strict=True) if seen]
        seen_results = iter(see(seen_requests, disable_tqdm) if seen_requests else ())
        return [next(seen_results if seen else plain) for seen in has_images]

    def _seen_likelihoods(self, requests: Sequence[Any], disable_tqdm: bool) -> list[tuple[float, bool]]:
        pairs = [(Prompt(request.args[0], images_of(request)), request.args[1]) for request in requests]
        with tqdm(total=len(pairs), disable=disable_tqdm, desc="log-likelihoods with images") as bar:
            return self.scorer().loglikelihoods(pairs, bar.update)

    def _seen_answers(self, requests: Sequence[Any], disable_tqdm: bool) -> list[str]:
        """Requests of other settings are written apart."""
        results: dict[int, str] = {}
        settings = [repr(sorted(request.args[1].items())) for request in requests]
        with tqdm(total=len(requests), disable=disable_tqdm, desc="answers with images") as bar:
            for kind in dict.fromkeys(settings):
                chosen = [index for index, value in enumerate(settings) if value == kind]
                prompts = [Prompt(requests[index].args[0], images_of(requests[index])) for index in chosen]
                arguments = generation_arguments(requests[chosen[0]].args[1], self.max_gen_toks)
                results.update(zip(chosen, self.scorer().answers(prompts, done=bar.update, **arguments), strict=True))
        return [results[index] for index in range(len(requests))]


def images_of(request: Any) -> Sequence[Any]:
    """Images of a harness request: in the dict after its two texts."""
    extra = request.args[2] if len(request.args) > 2 else {}
    return [image for image in (extra.get("visual") or ()) if image is not None]


def register() -> None:
    """Make the harness know the name "wings", where its version does not read the entry point by itself."""
    import lm_eval.models  # noqa: F401  (the harness fills its registry on this import, and only if it is empty)

    if NAME not in model_registry:
        model_registry.register(NAME, target=f"{__name__}:WingsLM")
