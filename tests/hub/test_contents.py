# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What of a model folder is published, what stays, and what is refused."""

import json
import os
import pickle
import shutil

import pytest

from wings_hf.hub.contents import examine


def names(folder, **arguments) -> set[str]:
    return {file.name for file in examine(folder, **arguments).sent}


def test_a_saved_model_goes_as_it_is(folder):
    contents = examine(folder)
    assert {file.name for file in contents.sent} == {path.name for path in folder.iterdir()}
    assert contents.left_out == {} and contents.size == sum(path.stat().st_size for path in folder.iterdir())
    assert "model.safetensors" in contents.table()


LEFT_OUT = {
    "training_args.bin": "state of training",
    "optimizer.pt": "state of training",
    "scheduler.pt": "state of training",
    "rng_state_0.pth": "state of training",
    "trainer_state.json": "state of training",
    "checkpoint-7/model.safetensors": "a checkpoint of training",
    "align-checkpoints/x/config.json": "checkpoints of training",
    "runs/events.out.tfevents.1.my-laptop": "logs of training",
    "__pycache__/modeling_wings.cpython-311.pyc": "compiled code",
    ".git/config": "hidden",
    ".env": "hidden",
    ".cache/huggingface/token": "hidden",
    "notes/diary.txt": "no part of a model",
    "token": "no part of a model",
    "evil.py": "does not import",
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_no_part_of_a_model_stays_and_the_reason_is_given(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"private")
    contents = examine(folder)
    assert name not in {file.name for file in contents.sent}
    (shown, reason), *others = contents.left_out.items()
    assert not others and name.startswith(shown.rstrip("/")) and LEFT_OUT[name] in reason
    assert f"{shown}: {reason}" in contents.table()


def test_further_files_are_sent_when_named(folder):
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("a")
    (folder / "helper.py").write_text("")
    assert {"notes/a.txt", "images/front.png"}.isdisjoint(names(folder))
    (folder / "images").mkdir()
    (folder / "images" / "front.png").write_bytes(b"")
    assert {"notes/a.txt", "images/front.png"} <= names(folder, include=["notes/*"])
    with pytest.raises(ValueError, match=r"include 'no/such': not there"):
        examine(folder, ["no/such"])
    with pytest.raises(ValueError, match="hidden"):
        (folder / ".env").write_text("")
        examine(folder, [".env"])


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pkl", "extra/weights.PT", "adapter_model.bin", "x.ckpt"])
def test_pickles_are_refused(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match=r"may hold a pickle.*safetensors"):
        examine(folder, ["*"])


def test_links_out_of_the_folder_are_refused(folder, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    for link, target in ((folder / "vocab.txt", tmp_path / "secret.txt"), (folder / "images", tmp_path)):
        link.symlink_to(target)
        with pytest.raises(ValueError, match=rf"{link.name} is a link that leads out of"):
            examine(folder, ["*"])
        link.unlink()
    os.link(folder / "config.json", folder / "generation_config.json.bak")
    (folder / "vocab.txt").symlink_to("chat_template.jinja")
    assert "vocab.txt" in names(folder)


def test_links_to_folders_are_not_followed(folder):
    for link in ("all", "again"):  # two that lead up: more ways than can be walked
        (folder / link).symlink_to(folder)
    left_out = examine(folder).left_out
    assert left_out["all/"] == left_out["again/"] == "a link to another folder of the model"
    assert not [name for name in left_out if name.startswith(("all/a", "again/a"))]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("config.json", "no saved model"),
        ("model.safetensors", "there are no weights"),
        ("processor_config.json", "save the processor too"),
        ("tokenizer_config.json", "save the processor too"),
        ("modeling_wings.py", "modeling_wings.py is missing"),
        ("wings_router.py", "wings_router.py is missing"),
        ("processing_wings.py", "processing_wings.py is missing"),
    ],
)
def test_a_folder_that_nobody_could_load_is_refused(folder, name, said):
    (folder / name).unlink()
    with pytest.raises(ValueError, match=said):
        examine(folder)


def test_other_models_broken_weights_and_missing_shards_are_refused(folder):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(ValueError, match="no whole safetensors file"):
        examine(folder)
    (folder / "model.safetensors").write_bytes(weights)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copy(folder / "model.safetensors", folder / "model-00001-of-00002.safetensors")
    with pytest.raises(ValueError, match=r"model-00002-of-00002\.safetensors is missing"):
        examine(folder)
    shutil.copy(folder / "model.safetensors", folder / "model-00002-of-00002.safetensors")
    assert "does not name" in examine(folder).left_out["model.safetensors"]
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="'llama'"):
        examine(folder)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("README.md", "my token is hf_abcdefghijklmnopqrstuvwx", "access token"),
        ("README.md", "one\ntrained in /home/ann/secret-project", "README.md, line 2, names a path of a machine"),
        ("generation_config.json", '{"x": "C:\\\\Users\\\\ann"}', "names a path"),
        ("generation_config.json", '{"_name_or_path": "/tmp/llm"}', "names a path"),
    ],
)
def test_tokens_and_paths_in_text_are_refused(folder, name, text, said):
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        examine(folder)
    assert "hf_abc" not in str(error.value)
