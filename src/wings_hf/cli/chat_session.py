# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A conversation with a model that keeps its cache from turn to turn."""

import math
from pathlib import Path
from typing import Any, TextIO

import torch
from PIL import Image
from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer, TextStreamer
from transformers.feature_extraction_utils import BatchFeature

import wings_hf  # noqa: F401  (registers the Auto classes)
from wings_hf.app.kept_cache import KeptCache
from wings_hf.app.placing import placed
from wings_hf.conversion.locate import is_path

Message = dict[str, Any]


class ChatSession:
    """A model, what was said so far, and the cache that holds it.

    Args:
        model: a causal language model, with or without sight.
        processor: a `WingsProcessor`, or a tokenizer for text alone.
        system: a system message to begin with.
        out: where answers are written as they come; standard output by default.
    """

    def __init__(self, model: Any, processor: Any, system: str | None = None, out: TextIO | None = None) -> None:
        self.model, self.processor, self.system, self.out = model, processor, system, out
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.generation: dict[str, Any] = {"max_new_tokens": 512, "do_sample": False}
        self.begin()

    @classmethod
    def load(
        cls, name: str, device: str = "auto", system: str | None = None, trust_remote_code: bool = False
    ) -> "ChatSession":
        """The session of a model folder or name.

        Raises:
            OSError, ValueError: it cannot be loaded, or has no chat template.
        """
        check_name(name)
        place = pick_device(device)
        model: Any = AutoModelForCausalLM.from_pretrained(
            name, dtype="auto", trust_remote_code=trust_remote_code, use_safetensors=True
        )
        loader = AutoProcessor if model.config.model_type == "wings" else AutoTokenizer
        processor = loader.from_pretrained(name, trust_remote_code=trust_remote_code)
        if processor.chat_template is None:
            raise ValueError(f"{name} has no chat template: it was not made to converse.")
        return cls(model.to(place).eval(), processor, system)

    @property
    def sees(self) -> bool:
        """Whether the model takes images."""
        return hasattr(self.processor, "image_processor")

    def begin(self) -> None:
        """Forget what was said and what was shown."""
        self.messages: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        self.shown: list[str] = []
        self.kept = KeptCache(self.model)

    def limit(self, max_new_tokens: int, temperature: float) -> None:
        """How long answers may be, and how they are drawn (temperature 0: the likeliest).

        Raises:
            ValueError: less than one token, or a temperature that is none.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={max_new_tokens}: expected at least 1.")
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature={temperature}: expected 0 or more.")
        self.generation = {"max_new_tokens": max_new_tokens, "do_sample": temperature > 0}
        if temperature > 0:
            self.generation["temperature"] = temperature

    def show(self, path: str) -> None:
        """Put an image before the next message.

        Raises:
            ValueError: the model takes no images, or the file is none.
        """
        if not self.sees:
            raise ValueError("This model reads text only, it takes no images.")
        try:
            with Image.open(path) as image:
                image.verify()
        except FileNotFoundError:
            raise ValueError(f"There is no file {path}.") from None
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{path} cannot be read as an image ({error}).") from error
        self.shown.append(str(Path(path)))

    def say(self, text: str) -> str:
        """Say `text` with the images shown, see `placed`; write the answer as it comes, and return it.

        An answer that is stopped half-way (KeyboardInterrupt) is forgotten, with the message that it was for.
        """
        items = [{"type": "image", "path": path} for path in self.shown]
        content = placed(text, items) if self.sees else text
        messages = [*self.messages, {"role": "user", "content": content}]
        try:
            answer = self._answer(messages)
        except BaseException:
            self.kept.forget()
            raise
        self.messages = [*messages, {"role": "assistant", "content": answer}]
        self.shown = []
        return answer

    def _answer(self, messages: list[Message]) -> str:
        inputs = self._encode(messages)
        prompt = inputs["input_ids"].shape[1]
        streamer = TextStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        streamer.on_finalized_text = self._write  # type: ignore[method-assign]
        ids = self.model.generate(
            **inputs,
            **self.generation,
            past_key_values=self.kept.cache,
            use_cache=True,
            streamer=streamer,
            pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
        )[0].tolist()
        self.kept.remember(ids)
        return self.tokenizer.decode(ids[prompt:], skip_special_tokens=True)

    def _encode(self, messages: list[Message]) -> BatchFeature:
        """Inputs for the whole conversation, with the pixels only of images that the cache does not hold."""
        inputs = self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        return self.kept.left_to_compute(inputs)

    def _write(self, text: str, stream_end: bool = False) -> None:
        print(text, end="\n" if stream_end else "", flush=True, file=self.out)


def check_name(name: str) -> None:
    """Raises ValueError for what can only be a path and leads to no folder."""
    if Path(name).is_file():
        raise ValueError(f"{name} is a file: expected the folder of a model.")
    if is_path(name) and not Path(name).exists():
        raise ValueError(f"There is no folder {name}.")


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" for an accelerator where there is one.

    Raises:
        ValueError: it is none, or not on this machine.
    """
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return found or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r}: expected auto, cpu, cuda, cuda:1, mps, ...") from error
    there = found is not None and found.type == device.type and (device.index or 0) < torch.accelerator.device_count()
    if device.type != "cpu" and not there:
        raise ValueError(f"device {name!r} is not on this machine, or torch was not built for it (wings-hf env).")
    return device
