# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How many tokens a record takes, without decoding its images."""

from typing import Any

from wings_hf.data.images import image_of, look_at
from wings_hf.data.records import Record
from wings_hf.processing.wings_pixel_values import fixed_size
from wings_hf.processing.wings_placeholders import placeholder_pattern


class TokenCounter:
    """Counts the tokens of records as the collator makes them; it can be sent to other processes.

    Where the image processor gives all images one size, no image is opened; else its header is.

    Args:
        processor: a `WingsProcessor`.
        max_length: a longer record counts as this: the collator drops its oldest turns.
    """

    def __init__(self, processor: Any, max_length: int | None = None) -> None:
        self.processor, self.max_length = processor, max_length
        self._per_image: int | None = None
        if processor.patch_size is not None and fixed_size(processor.image_processor, {}) is not None:
            self._per_image = self._count(1, 1)

    def __call__(self, record: Record) -> int:
        processor = self.processor
        prompt = processor.apply_chat_template(record.messages, tokenize=False)
        begun = processor.tokenizer.bos_token is not None and prompt.startswith(processor.tokenizer.bos_token)
        special = processor.adds_special_tokens and not begun
        tokens = len(processor.tokenizer(prompt, add_special_tokens=special)["input_ids"])
        tokens -= sum(1 for _ in placeholder_pattern(processor.image_token).finditer(prompt))
        tokens += sum(self._image(item) for item in record.images)
        return tokens if self.max_length is None else min(tokens, self.max_length)

    def _image(self, item: dict[str, Any]) -> int:
        if self._per_image is not None:
            return self._per_image
        facts = look_at(image_of(item))
        if facts is None:
            raise ValueError("an image behind a web address has no known size")
        return self._count(facts.height, facts.width)

    def _count(self, height: int, width: int) -> int:
        return self.processor._get_num_multimodal_tokens(image_sizes=[(height, width)])["num_image_tokens"][0]
