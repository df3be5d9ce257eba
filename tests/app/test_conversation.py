# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Settings, pictures and questions: what is taken, and what is refused in words for the user."""

import io
from pathlib import Path

import app_parts
import pytest
from PIL import Image

from wings_hf.app.conversation import Conversation, Question, Turn, check_question
from wings_hf.app.examples import drawn_examples, read_examples
from wings_hf.app.pictures import read_picture
from wings_hf.app.settings import Settings, UserError


def test_settings_from_the_environment() -> None:
    variables = {"WINGS_MODEL": "org/name", "WINGS_QUEUE": "3", "WINGS_EXPLAIN": "no", "WINGS_TEMPERATURE": "0.5"}
    found = Settings.from_environment(variables, queue=4)
    assert (found.model, found.queue, found.explain, found.temperature) == ("org/name", 4, False, 0.5)
    assert Settings.from_environment({"WINGS_QUEUE": ""}) == Settings()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WINGS_QUEUE": "many"}, "WINGS_QUEUE is 'many': expected a number"),
        ({"WINGS_EXPLAIN": "perhaps"}, "WINGS_EXPLAIN is 'perhaps': expected yes or no"),
        ({"WINGS_IMAGE_BYTES": "0"}, "image_bytes=0: expected at least 1"),
        ({"WINGS_TEMPERATURE": "-1"}, "temperature=-1.0"),
        ({"WINGS_EXAMPLES": "gone.json"}, "no such file"),
    ],
)
def test_wrong_settings_are_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.from_environment(variables)


def test_what_is_no_picture_is_said_without_the_insides_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(UserError, match=r"“a.png” cannot be used: it is not an image [^<>]*\.$"):
        read_picture(str(tmp_path / "a.png"), app_parts.settings())


def test_a_picture_outlives_its_file_and_is_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    picture = read_picture(str(tmp_path / "a.jpg"), app_parts.settings())
    (tmp_path / "a.jpg").unlink()
    assert picture.open().size == (2, 4) and picture.name == "a.jpg"


def test_pictures_that_are_refused(tmp_path: Path) -> None:
    settings = app_parts.settings(image_bytes=2000, image_pixels=100)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "text.png").write_text("no picture at all")
    Image.new("L", (8, 8)).save(tmp_path / "whole.png")
    picture = Path(app_parts.picture(tmp_path, side=10)).read_bytes()
    (tmp_path / "cut.png").write_bytes(picture[: len(picture) // 2])
    Image.new("L", (11, 10)).save(tmp_path / "large.png")
    (tmp_path / "heavy.png").write_bytes(bytes(3000))
    for name, message in {
        "broken.png": "cannot be used",
        "text.png": "not an image",
        "cut.png": "cut off or damaged",
        "large.png": "11x10 pixels are more than the limit of 100: scale it down$",
        "heavy.png": "has 0.0 MB",
        "gone.png": "could not be read: No such file",
    }.items():
        with pytest.raises(UserError, match=message) as error:
            read_picture(str(tmp_path / name), settings)
        assert name in str(error.value) and str(tmp_path) not in str(error.value)
    assert read_picture(str(tmp_path / "whole.png"), settings).open().size == (8, 8)


def test_pictures_go_where_the_text_says(tmp_path: Path) -> None:
    pictures = tuple(read_picture(app_parts.picture(tmp_path, shade), app_parts.settings()) for shade in (1, 2))
    kinds = [[item["type"] for item in Question(text, pictures).content()] for text in ("Read", "a <image> b <image>")]
    assert kinds == [["image", "image", "text"], ["text", "image", "text", "image"]]
    texts = [item.get("text") for item in Question("a <image> b <image>", pictures).content()]
    assert texts == ["a ", None, " b ", None]
    assert Question("", pictures).content()[-1]["type"] == "image"


def test_questions_that_are_refused(tmp_path: Path) -> None:
    settings = app_parts.settings(message_images=2, conversation_images=3, message_characters=20)
    picture = read_picture(app_parts.picture(tmp_path), settings)
    before = Conversation(turns=[Turn(Question("Read", (picture, picture)), "7")])
    for question, message in [
        (Question("  "), "Write a message"),
        (Question("a" * 21), "21 characters; at most 20"),
        (Question("Read", (picture,) * 3), "3 pictures in one message; at most 2"),
        (Question("Read", (picture,) * 2), "4 pictures in this conversation; at most 3"),
        (Question("<image> <image>", (picture,)), "2 <image> and 1 pictures"),
        (Question("<image>?"), "1 <image> and 0 pictures"),
    ]:
        with pytest.raises(UserError, match=message):
            check_question(question, before, settings)
    with pytest.raises(UserError, match="reads text only"):
        check_question(Question("Read", (picture,)), Conversation(), settings, sees=False)
    check_question(Question("<image>?", (picture,)), before, settings)


def test_drawn_examples_are_pictures(tmp_path: Path) -> None:
    examples = drawn_examples(tmp_path)
    assert any(len(example.images) == 2 for example in examples) and any(not example.images for example in examples)
    for example in examples:
        for path in example.images:
            assert len(Image.open(path).getcolors()) > 3
    assert not any(example.images for example in drawn_examples(tmp_path / "none", sees=False))
    assert not (tmp_path / "none").exists()


def test_examples_from_a_file(tmp_path: Path) -> None:
    app_parts.picture(tmp_path, 90)
    file = tmp_path / "examples.json"
    file.write_text('[{"text": "Read", "images": ["90.png"]}, {"text": "Why?"}]')
    assert [example.images for example in read_examples(file)] == [(str(tmp_path / "90.png"),), ()]
    file.write_text('[{"text": "Read", "images": ["gone.png"]}]')
    with pytest.raises(ValueError, match=r"gone\.png, which is not there"):
        read_examples(file)
    for text in ("{", '{"text": 1}', "[1]", '[{"images": []}]'):
        file.write_text(text)
        with pytest.raises(ValueError, match="expected a list of"):
            read_examples(file)


def test_a_picture_is_read_from_memory(tmp_path: Path) -> None:
    picture = read_picture(app_parts.picture(tmp_path), app_parts.settings())
    assert Image.open(io.BytesIO(picture.encoded)).size == picture.open().size == (16, 16)
