# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What is recorded of a training beside the model: names and numbers, and no path."""

from types import SimpleNamespace

from wings_hf.training.recipes import load_recipe
from wings_hf.training.record import RECORD, read_record, write_record

DATA = ["/home/ann/secret/chat.jsonl", {"dataset": "owner/chats", "subset": "en", "limit": 5}]


def trainer(steps: int, loss: float) -> SimpleNamespace:
    arguments = SimpleNamespace(train_batch_size=4, gradient_accumulation_steps=2, world_size=3)
    state = SimpleNamespace(global_step=steps, log_history=[{"loss": 9.0}, {"loss": loss}, {"train_runtime": 1.0}])
    return SimpleNamespace(args=arguments, state=state)


def test_stages_add_up_and_no_path_is_written(tmp_path):
    names = {"text_model": "owner/llm", "vision_model": "/home/ann/secret/tower"}
    recipe = load_recipe("wings", {**names, "data": DATA, "seed": 3})
    folders = [tmp_path / name for name in ("align", "tune", "more")]
    for folder in folders:
        folder.mkdir()
    align, tune = recipe.stages
    write_record(folders[0], recipe, align, trainer(10, 2.5), 100, None)
    write_record(folders[1], recipe, tune, trainer(20, float("nan")), None, folders[0])
    assert not any(word in (folders[1] / RECORD).read_text() for word in ("secret", "/home"))
    record = read_record(folders[1])
    assert (record["text_model"], record["vision_model"], record["seed"]) == ("owner/llm", "", 3)
    first, second = record["stages"]
    assert (first["name"], first["steps"], first["batch"], first["records"], first["last_loss"]) == (
        *("align", 10, 24, 100),
        2.5,
    )
    assert first["data"] == [{"file": "chat.jsonl"}, {"dataset": "owner/chats", "subset": "en", "limit": 5}]
    assert first["learning_rates"] == dict(align.learning_rates)
    assert (second["name"], second["records"], second["last_loss"]) == ("tune", None, None)
    assert record["complete"] and read_record(tmp_path) is None
    write_record(folders[2], recipe, tune, trainer(1, 1.0), 1, tmp_path)
    assert not read_record(folders[2])["complete"], "the model it began with has no record"
