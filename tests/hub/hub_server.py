# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
A small Hub on a loopback socket, for huggingface_hub's own client: models only, all in memory.

It speaks what huggingface_hub 2.4 asks for when a model is created, uploaded (regular files in the commit, large ones
through git-LFS in one piece or in parts), committed to a branch or as a pull request, looked at and downloaded.

    with LocalHub({"hf_token": "ann"}, {"ann": ["lab"]}) as hub:
        api = HfApi(endpoint=hub.url, token="hf_token")
"""

import base64
import hashlib
import json
import re
import socket
import threading
import traceback
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LARGE = (".safetensors", ".png")  # by ending, as the Hub's .gitattributes does; others are regular
STEP = 1 << 14  # bytes read from a socket at a time


@dataclass(frozen=True)
class Blob:
    """A file of a commit; `large` files are known by SHA-256, others by git's hash."""

    content: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def git_hash(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def oid(self) -> str:
        return self.sha256 if self.large else self.git_hash


@dataclass
class Repo:
    private: bool
    refs: dict[str, str] = field(default_factory=dict)  # branch or refs/pr/N -> commit
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commit("main", {".gitattributes": Blob(b"*.safetensors filter=lfs\n", False)}, "initial commit")

    def commit(self, ref: str, files: dict[str, Blob], message: str) -> str:
        listing = sorted((path, blob.oid) for path, blob in files.items())
        sha = hashlib.sha1(repr((len(self.commits), message, listing)).encode()).hexdigest()
        self.commits[sha], self.messages[sha], self.refs[ref] = dict(files), message, sha
        return sha

    def resolve(self, revision: str) -> str | None:
        return self.refs.get(revision) or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        sha = self.resolve(revision)
        assert sha is not None, f"no revision {revision}"
        return {path: blob.content for path, blob in self.commits[sha].items()}


class LocalHub:
    """
    The server, and what a test wants to know of it or do to it.

    Args:
        tokens: token -> user.
        organisations: user -> organisations that the user may write to.
        part_size: large files above it are uploaded in parts of this size.

    Attributes:
        requests: "METHOD /path" of every request, in order.
        arrived: oid of a large object -> bytes of it that came in, over all attempts.
        break_after: bytes of large files after which every connection that brings one is cut; None never.
    """

    def __init__(self, tokens: dict[str, str], organisations: dict[str, list[str]], part_size: int = 1 << 20) -> None:
        self.tokens, self.organisations, self.part_size = tokens, organisations, part_size
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.arrived: dict[str, int] = {}
        self.break_after: int | None = None
        self.lock = threading.RLock()
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "LocalHub":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class Answer(Exception):
    """Ends a request: status, JSON or bytes, headers."""

    def __init__(self, status: int, body: Any = b"", **headers: str) -> None:
        super().__init__(status)
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def refused(status: int, message: str, code: str = "") -> Answer:
    return Answer(
        status,
        {"error": message},
        X_Error_Message=message,
        X_Request_Id="r-1",
        **({"X_Error_Code": code} if code else {}),
    )


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do(self) -> None:
        parts = urlsplit(self.path)
        self.route, self.query = parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self.hub.lock:
            self.hub.requests.append(f"{self.command} {unquote(self.route)}")
        try:
            for method, pattern, answer in ROUTES:
                match = re.fullmatch(pattern, self.route)
                if match and self.command in method.split("|"):
                    answer(self, *(unquote(group or "") for group in match.groups()))
            raise refused(404, f"no such route: {self.command} {self.route}")
        except Answer as answer:
            self.send(answer)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception:
            traceback.print_exc()
            self.send(refused(500, "the test server failed"))

    do_GET = do_HEAD = do_POST = do_PUT = do

    def send(self, answer: Answer) -> None:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        if isinstance(answer.body, bytes):
            answer.headers.setdefault("Content-Type", "application/octet-stream")
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # ---- what came -----------------------------------------------------------------------------------------
    def body(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.bodies.append(content)
        return content

    def json(self) -> Any:
        return json.loads(self.body() or b"{}")

    def user(self) -> str | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme and token not in self.hub.tokens:
            raise refused(401, "Invalid credentials in Authorization header")
        return self.hub.tokens.get(token)

    def may_write(self, repo_id: str) -> bool:
        user = self.user()
        return user is not None and repo_id.partition("/")[0] in (user, *self.hub.organisations.get(user, []))

    def repo(self, repo_id: str, write: bool = False) -> Repo:
        repo = self.hub.repos.get(repo_id)
        if repo is None or (repo.private and not self.may_write(repo_id)):
            raise refused(404 if self.user() else 401, "Repository not found", "RepoNotFound")
        if write and not self.may_write(repo_id):
            raise refused(403, "You don't have the rights to write to this repository")
        return repo

    def files_at(self, repo_id: str, revision: str) -> tuple[str, dict[str, Blob]]:
        repo = self.repo(repo_id)
        sha = repo.resolve(revision or "main")
        if sha is None:
            raise refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha, repo.commits[sha]

    # ---- repositories --------------------------------------------------------------------------------------
    def whoami(self) -> None:
        user = self.user()
        if user is None:
            raise refused(401, "Invalid credentials in Authorization header")
        orgs = [{"name": name} for name in self.hub.organisations.get(user, [])]
        raise Answer(200, {"type": "user", "name": user, "orgs": orgs, "auth": {"accessToken": {"role": "write"}}})

    def create(self) -> None:
        asked = self.json()
        user = self.user()
        if user is None:
            raise refused(401, "Invalid username or password.")
        repo_id = f"{asked.get('organization') or user}/{asked['name']}"
        if not self.may_write(repo_id):
            raise refused(
                403, f"You don't have the rights to create a model under the namespace {asked['organization']!r}"
            )
        found = {"url": f"{self.hub.url}/{repo_id}", "name": repo_id}
        with self.hub.lock:
            if repo_id in self.hub.repos:
                raise Answer(409, {**found, "error": "You already created this model repo"})
            private = asked.get("visibility") == "private" or asked.get("private") is True
            self.hub.repos[repo_id] = Repo(private)
        raise Answer(200, found)

    def info(self, repo_id: str, revision: str = "") -> None:
        sha, files = self.files_at(repo_id, revision)
        siblings = [{"rfilename": path} for path in sorted(files)]
        private = self.hub.repos[repo_id].private
        raise Answer(200, {"id": repo_id, "modelId": repo_id, "sha": sha, "private": private, "siblings": siblings})

    def tree(self, repo_id: str, revision: str, _slash: str, folder: str) -> None:
        _, files = self.files_at(repo_id, revision)
        inside = {path: blob for path, blob in files.items() if not folder or path.startswith(f"{folder}/")}
        if folder and not inside:
            raise refused(404, f"{folder} does not exist", "EntryNotFound")
        raise Answer(200, [_entry(path, blob) for path, blob in sorted(inside.items())])

    def paths_info(self, repo_id: str, revision: str) -> None:
        asked = self.json()["paths"]
        _, files = self.files_at(repo_id, revision)
        raise Answer(200, [_entry(path, files[path]) for path in asked if path in files])

    def refs(self, repo_id: str) -> None:
        refs = self.repo(repo_id).refs
        branches = [
            {"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in refs.items() if "refs/" not in n
        ]
        raise Answer(200, {"branches": branches, "tags": [], "converts": []})

    def branch(self, repo_id: str, name: str) -> None:
        asked = self.json()
        repo = self.repo(repo_id, write=True)
        if name in repo.refs:
            raise refused(409, "Reference already exists")
        repo.refs[name] = repo.refs[asked.get("startingPoint", "main")]
        raise Answer(200, {})

    # ---- uploads -------------------------------------------------------------------------------------------
    def validate_yaml(self) -> None:
        text = self.json()["content"]
        header = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
        try:
            values = yaml.safe_load(header.group(1)) if header else {}
            errors = [] if isinstance(values, dict) else ["metadata is no mapping"]
        except yaml.YAMLError as error:
            errors = [f"invalid YAML: {error}"]
        raise Answer(400 if errors else 200, {"errors": [{"message": each} for each in errors], "warnings": []})

    def preupload(self, repo_id: str, revision: str) -> None:
        asked = self.json()["files"]
        self.repo(repo_id, write="create_pr" not in self.query)
        _, files = self.files_at(repo_id, revision)
        answers = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                **({"oid": files[each["path"]].oid} if each["path"] in files else {}),
            }
            for each in asked
        ]
        raise Answer(200, {"files": answers})

    def batch(self, repo_id: str) -> None:
        objects = self.json()["objects"]
        self.repo(repo_id)
        raise Answer(200, {"transfer": "basic", "objects": [self._upload_of(each) for each in objects]})

    def _upload_of(self, asked: dict) -> dict:
        oid, size = asked["oid"], asked["size"]
        if oid in self.hub.large:
            return {"oid": oid, "size": size}  # no actions: it is there
        verify = {"href": f"{self.hub.url}/large/{oid}/verify"}
        if size <= self.hub.part_size:
            return {
                "oid": oid,
                "size": size,
                "actions": {"upload": {"href": f"{self.hub.url}/large/{oid}"}, "verify": verify},
            }
        count = -(-size // self.hub.part_size)
        urls = {str(part): f"{self.hub.url}/large/{oid}?part={part}" for part in range(1, count + 1)}
        upload = {
            "href": f"{self.hub.url}/large/{oid}/complete",
            "header": {"chunk_size": str(self.hub.part_size), **urls},
        }
        return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}

    def put_large(self, oid: str) -> None:
        left = int(self.headers["Content-Length"])
        content = bytearray()
        while left:
            piece = self.rfile.read(min(STEP, left))
            if not piece:
                raise ConnectionError("the client went away")
            content += piece
            left -= len(piece)
            with self.hub.lock:
                self.hub.arrived[oid] = self.hub.arrived.get(oid, 0) + len(piece)
                cut = self.hub.break_after is not None and sum(self.hub.arrived.values()) > self.hub.break_after
            if cut:
                self.connection.shutdown(socket.SHUT_RDWR)
                raise ConnectionError("cut by the test")
        with self.hub.lock:
            if "part" in self.query:
                self.hub.parts.setdefault(oid, {})[int(self.query["part"])] = bytes(content)
            else:
                self.keep(oid, bytes(content))
        raise Answer(200, b"", ETag=f'"{hashlib.md5(content).hexdigest()}"')

    def complete(self, oid: str) -> None:
        numbers = [part["partNumber"] for part in self.json()["parts"]]
        parts = self.hub.parts[oid]
        self.keep(oid, b"".join(parts[number] for number in numbers))
        raise Answer(200, {})

    def keep(self, oid: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != oid:
            raise refused(400, "the content does not have this SHA-256")
        self.hub.large[oid] = content

    def verify(self, oid: str) -> None:
        asked = self.json()
        there = self.hub.large.get(oid)
        raise Answer(200, {}) if there is not None and len(there) == asked["size"] else refused(404, "not there")

    def commit(self, repo_id: str, revision: str) -> None:
        lines = [json.loads(line) for line in self.body().splitlines()]
        pull_request = "create_pr" in self.query
        repo = self.repo(repo_id, write=not pull_request)
        if self.user() is None:
            raise refused(401, "Invalid username or password.")
        with self.hub.lock:
            _, before = self.files_at(repo_id, revision)
            files = dict(before)
            for line in lines[1:]:
                self._apply(line, files)
            number = 1 + sum(name.startswith("refs/pr/") for name in repo.refs)
            ref = f"refs/pr/{number}" if pull_request else revision
            sha = repo.commit(ref, files, lines[0]["value"]["summary"])
        url = f"{self.hub.url}/{repo_id}"
        request = f"{url}/discussions/{number}" if pull_request else None
        raise Answer(200, {"commitUrl": f"{url}/commit/{sha}", "commitOid": sha, "pullRequestUrl": request})

    def _apply(self, line: dict, files: dict[str, Blob]) -> None:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
        elif line["key"] == "lfsFile":
            if value["oid"] not in self.hub.large:
                raise refused(400, f"{value['path']}: its content was never uploaded")
            files[value["path"]] = Blob(self.hub.large[value["oid"]], True)
        elif line["key"] == "deletedFile":
            files.pop(value["path"])
        else:
            raise refused(400, f"unknown operation {line['key']}")

    # ---- downloads -----------------------------------------------------------------------------------------
    def resolve(self, repo_id: str, revision: str, path: str) -> None:
        sha, files = self.files_at(repo_id, revision)
        if path not in files:
            raise Answer(404, {}, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        content = files[path].content
        headers = {"ETag": f'"{files[path].oid}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        start = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start:
            headers["Content-Range"] = f"bytes {start[1]}-{len(content) - 1}/{len(content)}"
        raise Answer(206 if start else 200, content[int(start[1]) if start else 0 :], **headers)


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(blob.content), "oid": blob.git_hash}
    if blob.large:
        entry["lfs"] = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": 130}
    return entry


NAME = r"([^/]+/[^/]+)"
ROUTES = (
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.validate_yaml),
    ("GET", f"/api/models/{NAME}", _Handler.info),
    ("GET", f"/api/models/{NAME}/revision/([^/]+)", _Handler.info),
    ("GET", f"/api/models/{NAME}/tree/([^/]+)(/(.*))?", _Handler.tree),
    ("POST", f"/api/models/{NAME}/paths-info/([^/]+)", _Handler.paths_info),
    ("GET", f"/api/models/{NAME}/refs", _Handler.refs),
    ("POST", f"/api/models/{NAME}/branch/([^/]+)", _Handler.branch),
    ("POST", f"/api/models/{NAME}/preupload/([^/]+)", _Handler.preupload),
    ("POST", f"/api/models/{NAME}/commit/([^/]+)", _Handler.commit),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", "/large/([0-9a-f]{64})", _Handler.put_large),
    ("POST", "/large/([0-9a-f]{64})/complete", _Handler.complete),
    ("POST", "/large/([0-9a-f]{64})/verify", _Handler.verify),
    ("GET|HEAD", f"/{NAME}/resolve/([^/]+)/(.+)", _Handler.resolve),
)
