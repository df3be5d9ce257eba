# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Batches for training: labels on what the assistant says, rows with and without images, nothing cut."""

from pathlib import Path

import pytest
import torch
from demo_parts import chat, picture, processor
from demo_parts import model as demo_model
from PIL import Image

from wings_hf.data.collator import IGNORED, ConversationCollator
from wings_hf.data.records import DataError, Record

PROCESSOR = processor()
TOKENIZER = PROCESSOR.tokenizer
IMAGE = PROCESSOR.image_token_id


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return picture(tmp_path / "a.png")


def learned(labels: torch.Tensor) -> str:
    return TOKENIZER.decode(labels[labels != IGNORED].tolist())


def test_labels_cover_all_that_the_assistant_says_and_nothing_else(image: Path) -> None:
    messages = chat("Read", "7 3", image) + chat("What is 7 plus 3?", "10")
    batch = ConversationCollator(PROCESSOR)([messages])
    labels = batch["labels"][0]
    assert learned(labels) == "7 3<end>10<end>"
    assert torch.equal(labels[labels != IGNORED], batch["input_ids"][0][labels != IGNORED])


def test_rows_with_many_one_and_no_images_mix(image: Path) -> None:
    rows = [chat("Read", "7"), chat("Read", "7", image, image), chat("Read", "7", image)]
    batch = ConversationCollator(PROCESSOR)(rows)
    assert batch["pixel_values"].shape[0] == 3
    assert (batch["input_ids"] == IMAGE).sum(-1).tolist() == [0, 8, 4]
    assert torch.equal(batch["mm_token_type_ids"] == 1, batch["input_ids"] == IMAGE)
    assert [learned(row) for row in batch["labels"]] == ["7<end>"] * 3
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()
    assert batch["attention_mask"][:, 0].all(), "padding belongs on the right"


def test_text_alone_has_no_pixels() -> None:
    assert "pixel_values" not in ConversationCollator(PROCESSOR)([chat("Read", "7")])


def test_a_long_conversation_loses_old_turns_and_their_images_whole(image: Path) -> None:
    messages = chat("Read", "1", image) + chat("Read", "2", image) + chat("Read", "3", image)
    one_turn = ConversationCollator(PROCESSOR)([messages[4:]])["input_ids"].shape[1]
    batch = ConversationCollator(PROCESSOR, max_length=2 * one_turn)([messages])
    assert learned(batch["labels"][0]) == "2<end>3<end>"
    assert batch["pixel_values"].shape[0] == 2 and (batch["input_ids"] == IMAGE).sum() == 8


def broken(tmp_path: Path) -> Record:
    """A record whose image opens as one, but has only half of its pixels."""
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    return Record(chat("Read", "7", tmp_path / "cut.png"), "data.json, record 5")


def test_a_broken_image_is_named_with_its_record(tmp_path: Path, image: Path) -> None:
    rows = [Record(chat("Read", "7", image), "data.json, record 4"), broken(tmp_path)]
    with pytest.raises(DataError, match=r"1 of 2 records of a batch[^$]*data.json, record 5: "):
        ConversationCollator(PROCESSOR)(rows)


def test_a_broken_image_is_skipped_on_request_and_only_it(tmp_path: Path, image: Path) -> None:
    rows = [Record(chat("Read", "7", image), "data.json, record 4"), broken(tmp_path)]
    collator = ConversationCollator(PROCESSOR, on_error="skip")
    with pytest.warns(UserWarning, match="record 5"):
        batch = collator(rows)
    assert batch["input_ids"].shape[0] == 1 and batch["pixel_values"].shape[0] == 1
    with pytest.raises(DataError, match="1 of 1 records of a batch"):
        collator(rows[1:])


def test_a_last_turn_that_does_not_fit_is_named(image: Path) -> None:
    row = Record(chat("Read", "7", image, image, image), "data.json, record 9")
    with pytest.raises(DataError, match=r"record 9.*max_length=10"):
        ConversationCollator(PROCESSOR, max_length=10)([row])


def test_the_last_turn_alone_may_be_learned(image: Path) -> None:
    rows = [chat("Read", "7 3", image) + chat("What is 7 plus 3?", "10"), chat("Read", "5", image)]
    labels = ConversationCollator(PROCESSOR, learn="last")(rows)["labels"]
    assert [learned(row) for row in labels] == ["10<end>", "5<end>"]
    with pytest.raises(ValueError, match="'all' or 'last', got 'first'"):
        ConversationCollator(PROCESSOR, learn="first")  # type: ignore[arg-type]


@torch.no_grad()
def test_the_side_of_padding_does_not_matter_to_the_model(image: Path) -> None:
    rows = [chat("Read", "7", image), chat("What is 7 plus 3 and more?", "10")]
    model = demo_model().eval()
    losses = []
    for side in ("right", "left"):
        batch = ConversationCollator(PROCESSOR, padding_side=side)(rows)
        assert batch["attention_mask"][:, 0 if side == "right" else -1].all()
        losses.append(model(**batch).loss)
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("packing", [24, "one_row"])
def test_packed_batches_have_the_loss_of_padded_ones(packing: int | str, tmp_path: Path) -> None:
    pictures = [picture(tmp_path / f"{i}.png", shade=60 * i) for i in range(4)]
    rows = [
        Record(messages, str(index))
        for index, messages in enumerate(
            [
                chat("Read", "7"),
                chat("Do both show the same digit?", "yes", *pictures[:2]),
                chat("Read", "1", pictures[2]),
                chat("Read", "2", pictures[3]) + chat("And?", "3"),
            ]
        )
    ]
    model = demo_model().eval()
    padded = ConversationCollator(PROCESSOR)(rows)
    collator = ConversationCollator(PROCESSOR, packing=packing, sample_ids=True)
    packed = collator([rows[:2], rows[2], rows[3]])  # a row, or samples by themselves
    assert packed.pop("sample_ids") == collator.last_sources == ["0", "1", "2", "3"]
    assert packed["input_ids"].shape[0] == (1 if packing == "one_row" else 3)
    assert (packed["labels"] != IGNORED).sum() == (padded["labels"] != IGNORED).sum()
    torch.testing.assert_close(model(**packed).loss, model(**padded).loss)


def test_packing_needs_to_know_how_long_a_row_is(image: Path) -> None:
    with pytest.raises(ValueError, match="packing=True needs max_length"):
        ConversationCollator(PROCESSOR, packing=True)
    with pytest.raises(DataError, match="max_length=10"):
        ConversationCollator(PROCESSOR, packing=10)([chat("Read", "7", image, image, image)])
