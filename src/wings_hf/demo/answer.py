# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Ask a saved model one question about images: python answer.py MODEL_FOLDER QUESTION IMAGE...

The question holds `<image>` in the place of each image. It needs transformers and torch, not wings_hf: a saved model
carries its code. (Run as a script, this file imports nothing of the package.)
"""

import sys
from typing import Any

from transformers import AutoModelForCausalLM, AutoProcessor


def ask(folder: str, question: str, images: list[str]) -> str:
    """The model's answer to `question`."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, use_safetensors=True)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": question}],
        images=images,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    tokens = model.generate(**inputs, max_new_tokens=16, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return processor.tokenizer.decode(tokens, skip_special_tokens=True)


if __name__ == "__main__":
    print(ask(sys.argv[1], sys.argv[2], sys.argv[3:]))
