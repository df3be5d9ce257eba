# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Load a Wings model with transformers alone, and ask it one or several questions about images.

    python examples/load_and_chat.py wings-demo/model --image photo.png "What is this?" "And what is not in it?"

Each question is a turn of one conversation; the images stand before the first. `wings-hf chat` is the comfortable way.
"""

import argparse
from collections.abc import Sequence

from transformers import AutoModelForCausalLM, AutoProcessor, TextStreamer


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder or name of a Wings model with its processor")
    parser.add_argument("questions", nargs="+", metavar="question", help="one for each turn")
    parser.add_argument("--image", action="append", default=[], metavar="FILE", help="may be repeated")
    parser.add_argument("--max-new-tokens", type=int, default=200, metavar="N", help="longest answer (200)")
    parser.add_argument("--device-map", default="auto", help="where the weights go: auto, cpu, cuda:0, ... (auto)")
    options = parser.parse_args(arguments)

    # The folder brings the code of the model along; read docs/remote_code.md before you run that of strangers.
    model = AutoModelForCausalLM.from_pretrained(
        options.model, dtype="auto", device_map=options.device_map, trust_remote_code=True
    )
    processor = AutoProcessor.from_pretrained(options.model, trust_remote_code=True)
    streamer = TextStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)

    chat: list[dict] = []
    images = [{"type": "image", "path": path} for path in options.image]
    for question in options.questions:
        chat.append({"role": "user", "content": [*images, {"type": "text", "text": question}]})
        images = []
        inputs = processor.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(model.device)
        print(f"> {question}")
        output = model.generate(**inputs, max_new_tokens=options.max_new_tokens, do_sample=False, streamer=streamer)
        answer = processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        chat.append({"role": "assistant", "content": answer})


if __name__ == "__main__":
    main()
