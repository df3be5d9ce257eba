# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Publishing through the real client and a real socket: what arrives, what does not, and what is said."""

import hashlib
import json

import pytest
from hub_parts import TOKEN, finish, fresh_python, wings_hf
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.utils import _http

from wings_hf.hub.push import PushError, push

GIT = ".gitattributes"


@pytest.fixture(autouse=True)
def client(monkeypatch):
    """What HF_ENDPOINT and HF_HUB_DISABLE_XET set at import, in a process of its own."""
    monkeypatch.setattr(constants, "HF_URL_HOSTS", constants.HF_URL_HOSTS | {"127.0.0.1"})
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the server speaks git-LFS
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def api(hub) -> HfApi:
    return HfApi(endpoint=hub.url, token=TOKEN)


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_arrives_is_the_folder_byte_for_byte(hub, api, folder, tmp_path):
    (folder / ".env").write_text("private")
    (folder / "training_args.bin").write_bytes(b"private")
    done = push(folder, "lab/wings", api=api, message="first")
    there = hub.repos["lab/wings"].files()
    sent = {name: content for name, content in contents(folder).items() if name not in (".env", "training_args.bin")}
    assert {name: content for name, content in there.items() if name != GIT} == sent
    assert done.changed and done.commit == hub.repos["lab/wings"].refs["main"] and done.url.startswith(hub.url)
    assert hub.repos["lab/wings"].messages[done.commit] == "first" and not hub.repos["lab/wings"].private
    assert hub.arrived == {sha256(sent["model.safetensors"]): len(sent["model.safetensors"])}
    got = snapshot_download("lab/wings", revision=done.commit, endpoint=hub.url, token=TOKEN, cache_dir=tmp_path / "c")
    assert (tmp_path / "c").exists() and set(contents(type(folder)(got))) == {*sent, GIT}
    assert (type(folder)(got) / "model.safetensors").read_bytes() == sent["model.safetensors"]


def test_again_sends_nothing_and_a_change_sends_that(hub, api, folder):
    first = push(folder, "ann/wings", api=api)
    hub.arrived.clear()
    again = push(folder, "ann/wings", api=api)
    assert not again.changed and again.commit == first.commit and hub.arrived == {}
    (folder / "README.md").write_text("---\nlicense: mit\n---\nhello")
    changed = push(folder, "ann/wings", api=api)
    assert changed.changed and changed.commit != first.commit and hub.arrived == {}
    assert len(hub.repos["ann/wings"].commits) == 3


def test_large_files_go_in_parts(hub, api, folder):
    hub.part_size = 5000
    push(folder, "ann/wings", api=api)
    content = (folder / "model.safetensors").read_bytes()
    assert len(hub.parts[sha256(content)]) == -(-len(content) // 5000) > 2
    assert hub.repos["ann/wings"].files()["model.safetensors"] == content


def test_private_revision_and_pull_request(hub, api, folder):
    push(folder, "ann/wings", private=True, api=api)
    repo = hub.repos["ann/wings"]
    assert repo.private
    (folder / "LICENSE").write_text("a")
    branch = push(folder, "ann/wings", revision="v2", api=api)
    assert "LICENSE" in repo.files("v2") and "LICENSE" not in repo.files("main") and repo.refs["v2"] == branch.commit
    (folder / "NOTICE").write_text("b")
    proposed = push(folder, "ann/wings", pull_request=True, api=api)
    assert proposed.pull_request == f"{hub.url}/ann/wings/discussions/1"
    assert "NOTICE" in repo.files("refs/pr/1") and "NOTICE" not in repo.files("main")
    (folder / "LICENSE").write_text("c")
    push(folder, "ann/wings", revision="refs/pr/1", api=api)
    assert repo.files("refs/pr/1")["LICENSE"] == b"c" and "LICENSE" not in repo.files("main")


def test_anybody_may_propose_to_what_is_public(hub, api, folder):
    push(folder, "ann/wings", api=api)
    (folder / "NOTICE").write_text("b")
    bob = HfApi(endpoint=hub.url, token="hf_readerreaderreaderreader")
    with pytest.raises(PushError, match="may not write to ann/wings"):
        push(folder, "ann/wings", api=bob)
    assert push(folder, "ann/wings", pull_request=True, api=bob).pull_request


def test_private_is_not_taken_lightly(hub, api, folder):
    push(folder, "ann/wings", api=api)
    before, requests = dict(hub.repos["ann/wings"].refs), len(hub.requests)
    (folder / "LICENSE").write_text("private")
    with pytest.raises(PushError, match="exists and is public; nothing was sent"):
        push(folder, "ann/wings", private=True, revision="v3", api=api)
    assert hub.repos["ann/wings"].refs == before
    assert hub.requests[requests:] == ["POST /api/repos/create", "GET /api/models/ann/wings"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"repo_id": "ann/wi ngs"}, "'ann/wi ngs' is no name of a repository"),
        ({"repo_id": "a/b/c"}, "'a/b/c' is no name of a repository"),
        ({"repo_id": "nobody/wings"}, "may not write to nobody/wings: there may be no user or organisation 'nobody'"),
        ({"repo_id": "ann/none", "pull_request": True}, "ann/none does not exist"),
        ({"repo_id": "ann/none", "revision": "refs/pr/4"}, "no revision 'refs/pr/4'"),
        ({"repo_id": "ann/none", "pull_request": True, "revision": "v1"}, "opens pull requests against main"),
    ],
)
def test_refusals_are_one_clear_paragraph(hub, api, folder, arguments, said):
    with pytest.raises(ValueError) as error:
        push(folder, api=api, **arguments)
    assert said in str(error.value) and TOKEN not in str(error.value)
    assert hub.arrived == {} and not any("commit" in request for request in hub.requests)


def test_no_token_no_network_and_a_token_that_is_not_accepted(hub, api, folder, monkeypatch):
    monkeypatch.setattr("wings_hf.hub.push.get_token", lambda: None)
    with pytest.raises(PushError, match="hf auth login"):
        push(folder, "ann/wings", api=HfApi(endpoint=hub.url))
    assert hub.requests == []
    with pytest.raises(PushError, match="does not accept the access token") as error:
        push(folder, "ann/wings", api=HfApi(endpoint=hub.url, token="hf_wrongwrongwrongwrongwrong"))
    assert "hf_wrong" not in str(error.value)
    with pytest.raises(PushError, match=r"the connection to http://127.0.0.1:9 failed"):
        push(folder, "ann/wings", api=HfApi(endpoint="http://127.0.0.1:9", token=TOKEN))


def test_a_broken_upload_is_continued(hub, api, folder, monkeypatch):
    """Of three large files one arrives, then the line is cut, for longer than the client tries."""
    monkeypatch.setattr(_http.time, "sleep", lambda _: None)
    (folder / "images").mkdir()
    large = {name: name.encode() * 40_000 for name in ("images/a.png", "images/b.png")}
    for name, content in large.items():
        (folder / name).write_bytes(content)
    weights = (folder / "model.safetensors").read_bytes()
    hub.large[sha256(weights)] = weights  # this one arrived before
    hub.break_after = 100_000
    with pytest.raises(PushError, match=r"connection to .* failed .* the same command goes on"):
        push(folder, "ann/wings", api=api)
    assert set(hub.repos["ann/wings"].files()) == {GIT}, "nobody sees half a model"
    hub.break_after = None
    before = set(hub.large)
    hub.arrived.clear()
    assert push(folder, "ann/wings", api=api).changed
    missing = {sha256(content): len(content) for content in large.values() if sha256(content) not in before}
    assert missing and hub.arrived == missing, "only what had not arrived is sent"
    assert hub.repos["ann/wings"].files()["images/b.png"] == large["images/b.png"]


# -- the command, in a process of its own -------------------------------------------------------------------


def test_the_command_from_push_to_a_pinned_load_elsewhere(hub, folder, tmp_path):
    """Push, then load by name at a commit, in a Python that has no wings_hf, with what the client downloads."""
    options = {"endpoint": hub.url, "home": tmp_path / "home"}
    shown = wings_hf("push", folder, "lab/wings", "--no-card", "--dry-run", **options)
    assert shown.returncode == 0 and "model.safetensors" in shown.stdout and "nothing was sent" in shown.stdout
    assert hub.requests == []
    pushed = wings_hf("push", folder, "lab/wings", "--no-card", "--private", "--json", **options)
    assert pushed.returncode == 0, pushed.stderr
    outcome = json.loads(pushed.stdout)
    commit = outcome["commit"]
    assert outcome["files"].keys() == contents(folder).keys() and hub.repos["lab/wings"].private
    everything = "".join([shown.stdout, shown.stderr, pushed.stdout, pushed.stderr])
    assert TOKEN not in everything and TOKEN.encode() not in b"".join(hub.bodies)
    # whatever comes later: other code, which must not run
    later = hub.repos["lab/wings"]
    files = dict(later.commits[commit])
    files["modeling_wings.py"] = type(files["config.json"])(b"raise RuntimeError('not what was read')", False)
    later.commit("main", files, "other code")
    code = """
        name, commit = sys.argv[1:]
        pinned = {"trust_remote_code": True, "revision": commit, "code_revision": commit}
        model = AutoModelForCausalLM.from_pretrained(name, **pinned)
        processor = AutoProcessor.from_pretrained(name, **pinned)
        assert "wings_hf" not in sys.modules and commit in sys.modules[type(model).__module__].__file__
        inputs = processor(text=["a <image> b"], images=[picture], return_tensors="pt")
        print("logits", model(**inputs).logits.shape, model.generation_config.eos_token_id)
    """
    variables = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "other")}
    process = fresh_python(code, "lab/wings", commit, modules=tmp_path / "modules", HF_HUB_DISABLE_XET="1", **variables)
    output = finish(process)
    assert "logits" in output and TOKEN not in output


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HF_TOKEN": "hf_wrongwrongwrongwrongwrong"}, "does not accept the access token"),
    ],
)
def test_the_command_fails_in_one_paragraph_without_the_token(hub, folder, tmp_path, variables, said):
    failed = wings_hf("push", folder, "ann/wings", "--no-card", endpoint=hub.url, home=tmp_path, **variables)
    assert failed.returncode == 1 and said in " ".join(failed.stderr.split())
    assert "Traceback" not in failed.stderr and "hf_wrong" not in failed.stderr and TOKEN not in failed.stderr
    assert "ann/wings" not in hub.repos
