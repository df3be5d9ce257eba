# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Rendering conversations with a chat template, and what has to be right before and after."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from wings_hf.processing.wings_chat_template import has_generation_markers
from wings_hf.processing.wings_conversations import Conversation, drop_turns, read_conversation
from wings_hf.processing.wings_placeholders import flat_images, is_nested

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class ChatRenderer:
    """A chat template with everything it is rendered with, apart from the conversation.

    `mark` asks for the characters that the assistant said; `sanitize` has control tokens in users' texts encoded
    as plain text (a feature of newer versions of transformers).
    """

    tokenizer: Any
    template: str
    tools: list[Any] | None
    documents: list[dict[str, str]] | None
    add_generation_prompt: bool
    continue_final_message: bool | str
    mark: bool
    sanitize: bool
    variables: dict[str, Any]

    def check(self, returns_masks: bool) -> None:
        """Raise ValueError for arguments that exclude each other."""
        if self.add_generation_prompt and self.continue_final_message:
            raise ValueError("add_generation_prompt and continue_final_message exclude each other.")
        if self.sanitize and not hasattr(self.tokenizer, "_mark_chat_inputs"):
            raise ValueError("sanitize_control_tokens needs a newer version of transformers.")
        if not self.mark:
            return
        if not returns_masks:
            raise ValueError("return_assistant_tokens_mask needs tokenize=True and return_dict=True.")
        if self.continue_final_message:
            raise ValueError("return_assistant_tokens_mask and continue_final_message exclude each other.")
        if not getattr(self.tokenizer, "is_fast", False):
            raise ValueError("return_assistant_tokens_mask needs a tokenizer that gives offsets (a fast one).")
        if not has_generation_markers(self.template):
            raise ValueError(
                "return_assistant_tokens_mask needs a chat template with {% generation %} markers around what the "
                "assistant says, and this one has none. WingsProcessor adds them to the tokenizer's own template; "
                "a template passed explicitly must have them."
            )

    def render(self, conversations: Sequence[Conversation]) -> tuple[list[str], list[Spans]]:
        """The prompts, and with `mark` the (start, end) characters that the assistant said in each.

        Raises:
            ValueError: the template is none, or cannot render these messages, or refuses to.
        """
        try:
            return self._render(conversations)
        except Exception as error:  # a template may raise anything
            raise ValueError(
                f"The chat template cannot render these messages ({type(error).__name__}: {error})."
            ) from error

    def _render(self, conversations: Sequence[Conversation]) -> tuple[list[str], list[Spans]]:
        messages: Any = [conversation.messages for conversation in conversations]
        tools, documents, variables = self.tools, self.documents, self.variables
        if self.sanitize:
            messages, tools, documents, variables = self.tokenizer._mark_chat_inputs(
                self.template, messages, tools, documents, variables, True, self.mark
            )
        rendered: Any = render_jinja_template(
            conversations=messages,
            tools=tools,
            documents=documents,
            chat_template=self.template,
            return_assistant_tokens_mask=self.mark,
            continue_final_message=self.continue_final_message,
            add_generation_prompt=self.add_generation_prompt,
            **{**self.tokenizer.special_tokens_map, **variables},
        )
        for prompt in rendered[0]:
            prompt.encode()  # raises for half characters, of which no tokenizer can make anything
        return rendered  # (prompts, spans)

    def adds_special_tokens(self, prompts: Sequence[str]) -> bool:
        """Whether the tokenizer still has to add its special tokens: not where the template wrote the first."""
        bos_token = self.tokenizer.bos_token
        return bos_token is None or not prompts[0].startswith(bos_token)


def pick_template(own: Any, chat_template: str | None) -> str:
    """The template to render: `chat_template` itself, the one of that name in `own`, or by default `own`.

    Raises:
        ValueError: no default.
    """
    named = own if isinstance(own, dict) else {"default": own}
    template = named.get("default" if chat_template is None else chat_template, chat_template)
    if template is None:
        raise ValueError(
            f"The processor has no default chat template, only {sorted(named)}: pass chat_template= with one of "
            "these names or a template."
        )
    return template


def check_marks(conversations: Sequence[Conversation], spans: Sequence[Spans]) -> None:
    """Raise ValueError where the assistant spoke and the template marked nothing of it."""
    for index, (conversation, marked) in enumerate(zip(conversations, spans, strict=True)):
        said = sum(message["role"] == "assistant" for message in conversation.messages)
        if said and not marked:
            raise ValueError(
                f"Conversation {index}: the chat template marks none of its {said} assistant messages, so there is "
                "no mask. Either it changes what the assistant said (cuts reasoning out of it, say), or a message "
                "has tool calls or reasoning, which cannot be marked from outside. Pass a chat_template= with "
                "{% generation %} markers of its own."
            )


def read_conversations(
    chats: Sequence[Any], images: Any, is_batch: bool, pattern: re.Pattern[str] | None
) -> list[Conversation]:
    """Conversations with their images, those in the messages and those in `images`.

    Args:
        images: None, or images for the image items without one and for placeholders written in texts: flat, in
            reading order over the whole batch, or one list for each conversation.
        pattern: what counts as a placeholder written in a text; None if nothing does.

    Raises:
        ValueError: malformed messages, or as many lists of images as there are not conversations.
    """
    nested = is_nested(images)
    if nested and len(images) != len(chats):
        raise ValueError(f"Got {len(images)} lists of images for {len(chats)} conversations.")
    if nested:
        spare: list[Iterator[Any]] = [iter(flat_images(row)) for row in images]
    else:
        spare = [iter(flat_images(images))] * len(chats)  # one iterator, shared
    read = [
        read_conversation(chat, index, rest, pattern)
        for index, (chat, rest) in enumerate(zip(chats, spare, strict=True))
    ]
    for conversation, rest in zip(read if nested else read[-1:], spare if nested else spare[-1:], strict=True):
        conversation.images[-1].extend(rest)  # for templates that place them by other means; counted later
    return read


def fit_conversations(
    conversations: Sequence[Conversation],
    count_tokens: Callable[[Conversation], int],
    max_length: int,
    overlong: str,
) -> list[Conversation]:
    """The conversations, each at most `max_length` tokens long.

    Raises:
        ValueError: one is longer and `overlong` is `"raise"`, or its last turn alone is.
    """
    if overlong == "drop_turns":
        return [drop_turns(chat, count_tokens, max_length, index) for index, chat in enumerate(conversations)]
    if overlong != "raise":
        raise ValueError(f"overlong must be 'raise' or 'drop_turns', got {overlong!r}.")
    for index, chat in enumerate(conversations):
        if (tokens := count_tokens(chat)) > max_length:
            raise ValueError(
                f"Conversation {index} takes {tokens} tokens with {len(chat.all_images)} images, more than "
                f"max_length={max_length}. Raise max_length, shorten it, or pass overlong='drop_turns'."
            )
    return list(conversations)
