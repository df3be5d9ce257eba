# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Processor for Wings: images and text, or chat messages, to the model's inputs.

Outputs (b samples of s tokens, n images in reading order over the batch):

- `input_ids`, `attention_mask`: (b, s). Each `<image>` in a text becomes as many image tokens as the vision
  tower gives features (`count_image_tokens`).
- `mm_token_type_ids`: (b, s), 1 at image tokens, 0 elsewhere; also where there are no images.
- `pixel_values`: (n, channels, height, width); absent where there are no images.
"""

import os
from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal, Unpack

import numpy as np
from PIL import Image
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_utils import ImageInput
from transformers.processing_utils import MultiModalData, ProcessorMixin
from transformers.tokenization_utils_base import TextInput
from transformers.utils import PROCESSOR_NAME

from wings_hf.configuration.wings_image_tokens import IMAGE_TOKEN, count_image_tokens, ensure_image_token
from wings_hf.hub.wings_remote_code import PROCESSOR_AUTO_MAP, flat_sources, write_code
from wings_hf.processing.wings_call_arguments import (
    Call,
    WingsProcessorKwargs,
    as_texts,
    chat_call_arguments,
    sort_arguments,
    without_max_length,
)
from wings_hf.processing.wings_chat import (
    ChatRenderer,
    check_marks,
    fit_conversations,
    pick_template,
    read_conversations,
)
from wings_hf.processing.wings_chat_template import chat_template_for
from wings_hf.processing.wings_conversations import Conversation, split_batch
from wings_hf.processing.wings_image_sources import DEFAULT_MAX_IMAGE_BYTES, DEFAULT_MAX_IMAGE_PIXELS
from wings_hf.processing.wings_pixel_values import fixed_size, process_images, read_samples
from wings_hf.processing.wings_placeholders import (
    Expanded,
    allot_images,
    assistant_mask,
    check_image_tokens,
    expand_placeholders,
    flat_images,
    is_nested,
    placeholder_pattern,
    replacement_offsets,
)
from wings_hf.processing.wings_square_padding import check_colour
from wings_hf.processing.wings_tensors import stack_pixels, to_tensors

Spans = Sequence[tuple[int, int]]


class WingsProcessor(ProcessorMixin):
    r"""An image processor and a tokenizer in one, with the chat template of the language model.

    Args:
        image_processor: any image processor whose `pixel_values` are (channels, height, width) per image.
        tokenizer: the language model's tokenizer. It gains `image_token` as a special token where it has not got
            it, with the id `len(tokenizer)`, which may lie past the model's vocabulary.
        patch_size: pixels per feature of the vision tower, or its total stride.
        vision_feature_select_strategy: `"default"` drops the tower's prefix tokens, `"full"` keeps them.
        chat_template: used as it is. None takes the tokenizer's own, extended for images and generation masks
            (see `wings_chat_template`), or a default where the tokenizer has none.
        image_token: the placeholder in texts and the token an image becomes. Where the tokenizer does not know
            the default and names another image token (`tokenizer.image_token`), that one is taken.
        num_additional_image_tokens: prefix tokens of the tower (class token, registers).
        feature_map_rounding: `"floor"` for patches, `"ceil"` for convolutional towers that round up.
        pad_to_square: colour (red, green, blue), 0 to 255, with which images are padded to squares before the image
            processor gets them; None leaves them as they are.
        adds_special_tokens: False keeps the tokenizer from adding special tokens (a first token, say) to texts and
            conversations, unless a call asks for it.

    `allow_urls`, `allow_private_urls`, `animated`, `max_image_pixels` and `max_image_bytes` may be set on the processor
    or passed in a call. They are decisions of whoever runs it, so they are not saved with it.
    """

    valid_processor_kwargs = WingsProcessorKwargs  # type: ignore[assignment]
    allow_urls: bool = False
    allow_private_urls: bool = False
    animated: Literal["error", "first_frame"] = "error"
    max_image_pixels: int | None = DEFAULT_MAX_IMAGE_PIXELS
    max_image_bytes: int | None = DEFAULT_MAX_IMAGE_BYTES

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        patch_size: int | list[int] | None = None,
        vision_feature_select_strategy: Literal["default", "full"] = "default",
        chat_template: str | dict[str, str] | None = None,
        image_token: str = IMAGE_TOKEN,
        num_additional_image_tokens: int = 0,
        feature_map_rounding: Literal["floor", "ceil"] = "floor",
        pad_to_square: list[int] | None = None,
        adds_special_tokens: bool = True,
    ) -> None:
        self.pad_to_square = check_colour(pad_to_square)
        self.adds_special_tokens = adds_special_tokens
        self.patch_size = patch_size
        self.vision_feature_select_strategy = vision_feature_select_strategy
        self.num_additional_image_tokens = num_additional_image_tokens
        self.feature_map_rounding = feature_map_rounding
        if image_token == IMAGE_TOKEN and IMAGE_TOKEN not in tokenizer.get_vocab():
            image_token = getattr(tokenizer, "image_token", None) or IMAGE_TOKEN
        self.image_token = image_token
        self.image_token_id = ensure_image_token(tokenizer, image_token)
        if chat_template is None:
            chat_template = chat_template_for(tokenizer, image_token)
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    @classmethod
    def from_model_config(cls, config: Any, image_processor: Any, tokenizer: Any, **kwargs: Any) -> "WingsProcessor":
        """A processor with the geometry of the vision tower that `config` describes.

        Raises:
            ValueError: the tokenizer's image token has another id than `config.image_token_id`.
        """
        geometry = config.image_token_geometry()
        known = tokenizer.get_added_vocab().items()
        named = next((token for token, token_id in known if token_id == config.image_token_id), None)
        if named is not None:
            kwargs.setdefault("image_token", named)
        kwargs.setdefault("patch_size", geometry["patch_size"])
        kwargs.setdefault("num_additional_image_tokens", geometry.get("num_prefix_tokens", 0))
        kwargs.setdefault("vision_feature_select_strategy", geometry.get("select_strategy", "default"))
        kwargs.setdefault("feature_map_rounding", geometry.get("rounding", "floor"))
        processor = cls(image_processor, tokenizer, **kwargs)
        if config.image_token_id is not None and processor.image_token_id != config.image_token_id:
            raise ValueError(
                f"The tokenizer's {processor.image_token} has the id {processor.image_token_id}, the model's "
                f"image_token_id is {config.image_token_id}. Build the model with the tokenizer's id, or pass "
                "image_token= with the token of that id."
            )
        return processor

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "auto_map": dict(PROCESSOR_AUTO_MAP)}

    def to_json_file(self, json_file_path: str | os.PathLike) -> None:
        """Saves the processor; as `processor_config.json`, with the code that loads it where wings_hf is not there."""
        super().to_json_file(json_file_path)
        directory, name = os.path.split(json_file_path)
        if name == PROCESSOR_NAME:
            write_code(__name__, directory)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the model's inputs: all that a call with images returns."""
        tokens = [name for name in self.tokenizer.model_input_names if name != "token_type_ids"]
        return [*tokens, "mm_token_type_ids", "pixel_values"]

    # -- texts and images ---------------------------------------------------------------------------------

    def __call__(
        self,
        images: ImageInput | list[Any] | None = None,
        text: TextInput | list[TextInput] | None = None,
        **kwargs: Unpack[WingsProcessorKwargs],
    ) -> BatchFeature:
        """Model inputs for texts with `<image>` placeholders and their images.

        Args:
            images: one image, a flat list in reading order over the batch, or a list with one list for each text
                (`[]` where it has none). An image is a PIL image, array, tensor, path, bytes, data URL, or an
                http(s) URL with `allow_urls=True`.
            text: one text or a list.
            kwargs: arguments of the tokenizer and the image processor, flat or as `text_kwargs` and
                `images_kwargs`; see also `WingsImagesKwargs`.

        Raises:
            ValueError: placeholders and images do not match, an image cannot be read, or truncation would take
                image tokens away. The message names the sample and the counts.
        """
        return self._encode(images, text, dict(kwargs), spans=None)

    def _encode(self, images: Any, text: Any, kwargs: dict[str, Any], spans: Sequence[Spans] | None) -> BatchFeature:
        """`__call__`; with `spans` (characters of each text) also `assistant_masks`."""
        if images is None and text is None:
            raise ValueError("WingsProcessor needs text=, images= or both.")
        call = sort_arguments(self, kwargs)
        texts = as_texts(text)
        pattern = placeholder_pattern(self.image_token)
        if texts is None:
            samples = [flat_images(row) for row in images] if is_nested(images) else [flat_images(images)]
        else:
            counts = [sum(1 for _ in pattern.finditer(sample)) for sample in texts]
            samples = allot_images(images, counts, self.image_token)
        pictures = read_samples(samples, call.options)
        pixels = self._pixels(list(chain.from_iterable(pictures)), call.images, call.options.max_pixels)
        data: dict[str, Any] = {}
        if texts is not None:
            tokens = iter([self.image_token * self._count(*pixel.shape[-2:]) for pixel in pixels])
            replacements = [[next(tokens) for _ in sample] for sample in samples]
            expanded = [
                expand_placeholders(sample, pattern, new) for sample, new in zip(texts, replacements, strict=True)
            ]
            data = to_tensors(self._tokenize(expanded, call, spans), call.return_tensors)
            if call.replacement_offsets:
                data["text_replacement_offsets"] = replacement_offsets(expanded, self.image_token)
        if pixels:
            data["pixel_values"] = stack_pixels(pixels, call.return_tensors)
        return BatchFeature(data)

    def _pixels(self, images: list[Image.Image], images_kwargs: dict[str, Any], max_pixels: int | None) -> list[Any]:
        return process_images(self.image_processor, images, images_kwargs, max_pixels, self.pad_to_square)

    def _tokenize(self, expanded: list[Expanded], call: Call, spans: Sequence[Spans] | None) -> dict[str, list[Any]]:
        encoded = dict(self.tokenizer([sample.text for sample in expanded], **call.text))
        images = [np.asarray(row, dtype=np.int64) == self.image_token_id for row in encoded["input_ids"]]
        max_length = call.text.get("max_length") or self.tokenizer.model_max_length
        check_image_tokens(images, expanded, self.image_token, max_length if call.text.get("truncation") else None)
        if call.type_ids:
            encoded["mm_token_type_ids"] = [mask.astype(np.int64).tolist() for mask in images]
        if spans is not None:
            offsets = encoded.pop("offset_mapping")
            encoded["assistant_masks"] = [
                assistant_mask(*sample).tolist() for sample in zip(offsets, spans, expanded, images, strict=True)
            ]
        return encoded

    # -- counting -----------------------------------------------------------------------------------------

    def _count(self, height: int, width: int) -> int:
        """Image tokens for pixel values of this size."""
        if self.patch_size is None:
            raise ValueError(
                "The processor has no patch_size and cannot count image tokens: pass patch_size= (and "
                "num_additional_image_tokens=), or build it with WingsProcessor.from_model_config."
            )
        patch = self.patch_size if isinstance(self.patch_size, int) else (self.patch_size[0], self.patch_size[1])
        return count_image_tokens(
            height,
            width,
            patch_size=patch,
            num_prefix_tokens=self.num_additional_image_tokens,
            select_strategy=self.vision_feature_select_strategy,
            rounding=self.feature_map_rounding,
        )

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **kwargs: Any) -> str:
        """The image tokens for one entry of `pixel_values`, as text."""
        return self.image_token * self._count(*image_inputs["pixel_values"][image_idx].shape[-2:])

    def _count_for_size(self, height: int, width: int, images_kwargs: dict[str, Any]) -> int:
        """Image tokens for an image of this size before image processing."""
        size = fixed_size(self.image_processor, images_kwargs)
        if size is None:
            blank = [Image.new("RGB", (width, height))]
            size = self._pixels(blank, images_kwargs, self.max_image_pixels)[0].shape[-2:]
        return self._count(*size)

    def _get_num_multimodal_tokens(self, image_sizes: Any = None, **kwargs: Any) -> MultiModalData:
        """Image tokens and patches (one each) for images of these (height, width), as `__call__` gives them."""
        if image_sizes is None:
            return MultiModalData()
        images_kwargs = sort_arguments(self, kwargs).images
        counts = [self._count_for_size(height, width, images_kwargs) for height, width in image_sizes]
        return MultiModalData(num_image_tokens=counts, num_image_patches=[1] * len(counts))

    # -- chat ---------------------------------------------------------------------------------------------

    def apply_chat_template(  # type: ignore[override]
        self,
        conversation: Any,
        chat_template: str | None = None,
        tools: list[Any] | None = None,
        documents: list[dict[str, str]] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        return_assistant_tokens_mask: bool = False,
        tokenize: bool = False,
        return_tensors: Any = "auto",
        return_dict: bool = False,
        processor_kwargs: dict[str, Any] | None = None,
        sanitize_control_tokens: bool = False,
        images: Any = None,
        overlong: Literal["raise", "drop_turns"] | None = None,
        load_audio_from_video: bool = False,
        **kwargs: Any,
    ) -> Any:
        """A conversation, or a list of them, as prompt text or as model inputs.

        Content is a string or a list of `{"type": "text", "text": ...}` and `{"type": "image", ...}`, in any order.
        An image item holds its image as `image` (anything `__call__` takes), `path`, `url` or `base64`; without any
        of these it takes the next one of `images`. `{"type": "image_url", "image_url": {"url": ...}}` works too.

        Args:
            images: for image items without an image, in reading order; for a batch one list for each conversation.
            overlong: what to do with a conversation longer than `max_length` (or the tokenizer's
                `model_max_length`). `"raise"` raises; `"drop_turns"` leaves out the oldest turns, whole and with
                their images, but never system messages nor the last turn, and raises where that is not enough.
                None leaves it to the tokenizer's `truncation`, which raises if image tokens would be cut.
            return_assistant_tokens_mask: add `assistant_masks`, 1 at the tokens the assistant said, 0 at images.
            kwargs: arguments of `__call__`, as in `processor_kwargs`; all others go to the template.

        The other arguments are those of `ProcessorMixin.apply_chat_template`.

        Returns:
            str or list of str; with `tokenize=True` the `input_ids`, with `return_dict=True` as well all inputs.

        Raises:
            ValueError: malformed messages, images that do not match, a conversation that does not fit, or a mask
                asked of a template that cannot give it.
        """
        renderer = ChatRenderer(
            tokenizer=self.tokenizer,
            template=pick_template(self.chat_template, chat_template),
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            mark=return_assistant_tokens_mask,
            sanitize=sanitize_control_tokens,
            variables=kwargs,
        )
        renderer.check(returns_masks=tokenize and return_dict)
        chats, is_batch = split_batch(conversation)
        call_kwargs = chat_call_arguments(self.image_processor, processor_kwargs, kwargs, return_tensors)
        images = call_kwargs.pop("images", None) if images is None else images
        written = None if sanitize_control_tokens else placeholder_pattern(self.image_token)
        conversations = read_conversations(chats, images, is_batch, written)
        if overlong is not None:
            if not tokenize:
                raise ValueError("overlong= counts tokens and needs tokenize=True.")
            conversations = self._fit(conversations, renderer, call_kwargs, overlong)
            call_kwargs = without_max_length(call_kwargs)
        prompts, spans = renderer.render(conversations)
        if not tokenize:
            return prompts if is_batch else prompts[0]
        if renderer.mark:
            check_marks(conversations, spans)
        outputs = self._encode_chat(conversations, prompts, renderer, call_kwargs, spans)
        return outputs if return_dict else outputs["input_ids"]

    def _encode_chat(
        self,
        conversations: list[Conversation],
        prompts: list[str],
        renderer: ChatRenderer,
        call_kwargs: dict[str, Any],
        spans: Sequence[Spans],
    ) -> BatchFeature:
        if not renderer.adds_special_tokens(prompts) and "add_special_tokens" not in call_kwargs.get("text_kwargs", {}):
            call_kwargs["add_special_tokens"] = False
        if renderer.sanitize:
            call_kwargs["sanitize_control_tokens"] = True
        if renderer.mark:
            call_kwargs["return_offsets_mapping"] = True
        pictures = [chat.all_images for chat in conversations]
        return self._encode(pictures if any(pictures) else None, prompts, call_kwargs, spans if renderer.mark else None)

    def _fit(
        self,
        conversations: list[Conversation],
        renderer: ChatRenderer,
        call_kwargs: dict[str, Any],
        overlong: str,
    ) -> list[Conversation]:
        """Conversations within `max_length`, counted without decoding an image where its size does not matter."""
        call = sort_arguments(self, call_kwargs)
        max_length = call.text.get("max_length") or self.tokenizer.model_max_length
        if call.text.get("truncation"):
            raise ValueError("overlong= and truncation= exclude each other.")
        if max_length > 10**9:
            raise ValueError("overlong= needs max_length=: the tokenizer has no model_max_length.")
        size = fixed_size(self.image_processor, call.images)
        if size is None:
            conversations = [chat._replace(images=read_samples(chat.images, call.options)) for chat in conversations]
        counts = {
            id(image): self._count(*size) if size else self._count_for_size(image.height, image.width, call.images)
            for chat in conversations
            for image in chat.all_images
        }
        pattern = placeholder_pattern(self.image_token)

        def count_tokens(chat: Conversation) -> int:
            prompts, _ = renderer.render([chat])
            special = call.text.get("add_special_tokens", True) and renderer.adds_special_tokens(prompts)
            tokens = len(self.tokenizer(prompts[0], add_special_tokens=special)["input_ids"])
            placeholders = sum(1 for _ in pattern.finditer(prompts[0]))
            return tokens - placeholders + sum(counts[id(image)] for image in chat.all_images)

        return fit_conversations(conversations, count_tokens, max_length, overlong)


flat_sources(__name__)
