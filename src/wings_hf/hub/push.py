# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Publishes a model folder on the Hub, with huggingface_hub's own client.

All files go into one commit, so that a reader sees the model as it was or as it is, never half of it. Large files are
uploaded before that commit, and the Hub knows them by their content: repeating a push that broke sends only what had
not arrived.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from wings_hf.hub.contents import Contents, examine


class PushError(ValueError):
    """A push that failed, and what can be done about it."""


@dataclass(frozen=True)
class Pushed:
    """
    Args:
        repo_id: "owner/name", complete.
        commit: its hash, for `revision=` when the model is loaded.
        url: of the commit.
        pull_request: URL of the pull request, where one was opened.
        changed: False where the repository had all of it already, and no commit was made.
    """

    repo_id: str
    commit: str
    url: str
    pull_request: str | None
    changed: bool


def push(
    folder: Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    pull_request: bool = False,
    message: str | None = None,
    include: Sequence[str] = (),
    api: HfApi | None = None,
) -> Pushed:
    """
    Sends a model folder to a repository, which is made where there is none.

    Args:
        folder: a saved model with its processor; see `contents.examine` for what of it is sent.
        repo_id: "owner/name", or "name" in one's own namespace.
        private: make the repository private.
        revision: branch to commit to; made where there is none. "refs/pr/N" adds to a pull request.
        pull_request: propose the files instead, against the main branch of a repository that exists.
        message: of the commit.
        include: further files of the folder.
        api: client to use; its token is the one of `hf auth login` or HF_TOKEN by default.

    Raises:
        ValueError: the folder cannot be published as it is, or arguments that contradict each other.
        PushError: the Hub cannot be reached, or refuses.
    """
    check_target(repo_id, revision, pull_request)
    contents = examine(folder, include)
    api = api or HfApi(library_name="wings_hf")
    if api.token is None and get_token() is None:
        raise PushError(
            "there is no access token: log in once with `hf auth login`, or set HF_TOKEN, with a token that may write "
            "(huggingface.co/settings/tokens)."
        )
    try:
        return _send(api, contents, repo_id, private, revision, pull_request, message)
    except PushError:
        raise
    except Exception as error:
        explained = explain(error, repo_id, revision, api)
        if explained is None:
            raise
        raise PushError(explained) from error


def check_target(repo_id: str, revision: str | None = None, pull_request: bool = False) -> None:
    """
    Raises:
        ValueError: no name of a repository, or a pull request against a branch.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(
            f"{repo_id!r} is no name of a repository: expected owner/name, with letters, digits, '-', '_' and '.', "
            "96 of them at most."
        ) from error
    if pull_request and revision not in (None, "main"):
        raise ValueError(
            f"a pull request with revision {revision!r}: the Hub opens pull requests against main. To add to one that "
            "is open, give its revision alone (refs/pr/N)."
        )


def _send(
    api: HfApi,
    contents: Contents,
    repo_id: str,
    private: bool,
    revision: str | None,
    pull_request: bool,
    message: str | None,
) -> Pushed:
    if not pull_request:
        repo_id = api.create_repo(repo_id, private=private or None, exist_ok=True).repo_id
    main = api.model_info(repo_id)
    if private and not main.private:
        raise PushError(
            f"{main.id} exists and is public; nothing was sent. Make it private in its settings on the Hub."
        )
    if revision is not None and not revision.startswith("refs/pr/"):
        api.create_branch(main.id, branch=revision, exist_ok=True)
    before = api.model_info(main.id, revision=revision) if revision else main
    commit = api.create_commit(
        main.id,
        [CommitOperationAdd(file.name, file.path) for file in contents.sent],
        commit_message=message or "Upload a Wings model with wings-hf push",
        revision=revision,
        create_pr=pull_request,
    )
    url, changed = str(commit.commit_url), commit.oid != before.sha
    return Pushed(main.id, commit.oid, url, commit.pr_url if changed else None, changed)


# -- failures ---------------------------------------------------------------------------------------------


def explain(error: BaseException, repo_id: str, revision: str | None, api: HfApi) -> str | None:
    """A paragraph on a failure of the Hub's client, without a token in it; None for an error of another kind."""
    text = None
    for each in _chain(error):
        text = text or _explain_one(each, repo_id, revision, str(api.endpoint or ENDPOINT))
    return None if text is None else _without_token(text, api)


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error and what caused it; the client wraps failed uploads."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__
    return found


def _explain_one(error: BaseException, repo_id: str, revision: str | None, endpoint: str) -> str | None:
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so nothing can be sent: unset it (and TRANSFORMERS_OFFLINE) to push."
    if isinstance(error, LocalTokenNotFoundError):
        return "there is no access token: log in once with `hf auth login`, or set HF_TOKEN."
    if isinstance(error, HfHubHTTPError):
        return _explain_answer(error, repo_id, revision)
    if any(kind.__name__ in ("TransportError", "ConnectionError") for kind in type(error).__mro__):
        return (
            f"the connection to {endpoint} failed ({type(error).__name__}: {error}). What arrived stays there: the "
            "same command goes on from it."
        )
    return None


def _explain_answer(error: HfHubHTTPError, repo_id: str, revision: str | None) -> str:
    status = error.response.status_code if error.response is not None else None
    said = (error.server_message or "").strip()
    owner = repo_id.partition("/")[0]
    if isinstance(error, RevisionNotFoundError):
        text = f"{repo_id} has no revision {revision!r}."
    elif status == 401 and not isinstance(error, RepositoryNotFoundError):
        text = "the Hub does not accept the access token: log in again with `hf auth login --force`, or mend HF_TOKEN."
    elif isinstance(error, RepositoryNotFoundError) or status == 404:
        text = f"{repo_id} does not exist, or the token may not see it."
    elif status == 403:
        text = (
            f"the token may not write to {repo_id}: there may be no user or organisation {owner!r}, you may not be a "
            "member, or the token may be one that only reads. To propose changes to somebody else's: --pull-request."
        )
    elif status == 402:
        text = "the Hub wants a plan that is paid for, or more storage, for this."
    elif status == 429:
        text = "too many requests: wait a few minutes, then give the same command again."
    elif isinstance(error, BadRequestError):
        text = "the Hub did not accept the request."
    elif status is not None and status >= 500:
        text = f"the Hub failed (HTTP {status}): try the same command again later; what arrived is not sent again."
    else:
        text = f"the Hub answered HTTP {status}."
    request = f" [request {error.request_id}]" if error.request_id else ""
    return text + (f" It said: {said}" if said else "") + request


def _without_token(text: str, api: Any) -> str:
    for token in (api.token, get_token()):
        if isinstance(token, str) and token:
            text = text.replace(token, "***")
    return text
