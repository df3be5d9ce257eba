# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`model.push_to_hub`, `processor.push_to_hub` and trainers send all that a model needs, and our card."""

import os
from pathlib import Path

import pytest
import yaml
from hub_parts import TOKEN, with_hub
from hub_server import LocalHub

HERE = Path(__file__).parent
WHOLE = {"config.json", "generation_config.json", "model.safetensors", "modeling_wings.py", "configuration_wings.py"}
WHOLE |= {"processing_wings.py", "processor_config.json", "tokenizer.json", "chat_template.jinja", "README.md"}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    with LocalHub({TOKEN: "ann"}, {}) as hub:
        done = with_hub(HERE / "publish_script.py", folder, endpoint=hub.url, home=folder / "home", PYTHONPATH=path)
        assert done.returncode == 0, done.stderr
        yield hub, done.stdout + done.stderr


def metadata(card: bytes) -> dict:
    return yaml.safe_load(card.decode().split("---\n")[1])


def test_push_to_hub_of_model_and_processor(published):
    hub, _ = published
    repo = hub.repos["ann/pushed"]
    files = repo.files()
    assert set(files) >= WHOLE and repo.private
    assert metadata(files["README.md"])["base_model"] == ["owner/llm"] and b'name = "ann/pushed"' in files["README.md"]
    assert "to a branch" in repo.messages.values() and WHOLE - {"processing_wings.py"} <= set(repo.files("later"))


def test_a_plain_trainer_publishes_a_whole_model(published):
    files = published[0].repos["ann/plain"].files()
    assert set(files) >= WHOLE and not [name for name in files if name.startswith("checkpoint-")]


def test_our_trainer_publishes_our_card_and_keeps_what_a_person_wrote(published):
    repo = published[0].repos["ann/ours"]
    card = repo.files()["README.md"].decode()
    assert set(repo.files()) >= WHOLE and "Training hyperparameters" in card and "My own words." in card
    assert card.count("wings-card:begin training") == 1 and 'name = "ann/ours"' in card
    assert metadata(card.encode())["pipeline_tag"] == "image-text-to-text"


def test_what_is_published_while_it_trains_can_be_loaded(published):
    repo = published[0].repos["ann/ours"]
    begun = [sha for sha, message in repo.messages.items() if message.startswith("Training in progress")]
    assert begun and all(WHOLE - {"README.md"} <= set(repo.files(sha)) for sha in begun)


def test_no_token_is_said_or_sent(published):
    hub, output = published
    assert "refused: hub_token would be saved in training_args.bin" in output
    assert TOKEN not in output and "hf_secret" not in output
    sent = b"".join([*hub.bodies, *hub.large.values()])
    assert TOKEN.encode() not in sent and b"hf_secret" not in sent and len(sent) > 10_000
