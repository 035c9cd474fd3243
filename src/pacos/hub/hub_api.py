"""What a hub knows of a repository: its commit, its files with sizes and digests, and why it refuses.

Source: the HTTP interface of Hugging Face's hub as its client uses it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from pacos.errors import DownloadError, ModelNotFound, PacosError, UsageError
from pacos.formats.wording import shown
from pacos.hub import endpoints
from pacos.hub.digests import GIT_SHA1, SHA256
from pacos.hub.spelling import relative_path
from pacos.hub.web import Refused, Web

_ANSWER_BYTES_MAX = 32 << 20
_FILES_MAX = 100_000
_PAGES_MAX = 1000
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file of a repository; the digest is a SHA-256, or git's name of a small content."""

    path: str
    bytes: int
    digest: str


class Hub:
    """A hub, asked with the user's token where there is one."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._start = endpoints.hub()

    @staticmethod
    def credentials() -> dict[str, dict[str, str]]:
        """What `Web` needs to know for the hub."""
        token = endpoints.hub_token()
        return {endpoints.hub(): {"Authorization": f"Bearer {token}"} if token else {}}

    def commit(self, repo: str, revision: str) -> str:
        """The commit that a revision is now. Errors: ModelNotFound, DownloadError."""
        if not _REVISION.fullmatch(revision) or ".." in revision:
            raise UsageError(f"the revision {revision!a:.80} cannot be one", hint="give a branch, a tag or a commit")
        url = f"{self._start}/api/models/{repo}/revision/{quote(revision, safe='')}"
        data, _ = self._asked(url, repo, revision)
        commit = data.get("sha") if isinstance(data, dict) else None
        if not isinstance(commit, str) or not GIT_SHA1.fullmatch(commit):
            raise DownloadError(f"{repo}: the hub names {commit!a:.60} as its commit, which is none")
        return commit

    def files(self, repo: str, commit: str) -> list[RepoFile]:
        """The files of a commit. Errors: ModelNotFound, DownloadError; UsageError for a name that is not safe."""
        url = f"{self._start}/api/models/{repo}/tree/{commit}?recursive=true&expand=false"
        found: list[RepoFile] = []
        for _ in range(_PAGES_MAX):
            data, headers = self._asked(url, repo, commit)
            if not isinstance(data, list):
                raise DownloadError(f"{repo}: the hub's list of files is none")
            found += [_file(repo, one) for one in data if not isinstance(one, dict) or one.get("type") == "file"]
            following = _NEXT.search(headers.get("link", ""))
            if following is None or len(found) > _FILES_MAX:
                break
            if endpoints.origin(following[1]) != endpoints.origin(self._start):
                raise DownloadError(f"{repo}: the hub's list of files goes on at another machine")
            url = following[1]
        return found

    def url(self, repo: str, commit: str, file: str) -> str:
        """Where a file comes from."""
        return f"{self._start}/{repo}/resolve/{commit}/{quote(file)}"

    def refusal(self, error: Refused, repo: str, what: str) -> PacosError:
        """What a status of the hub means for the user."""
        if endpoints.origin(error.url) != endpoints.origin(self._start):
            return DownloadError(f"{repo}: {error}", hint="try again later")
        code = error.headers.get("x-error-code", "")
        page = f"{self._start}/{repo}"
        own = bool(endpoints.hub_token())
        if code == "GatedRepo" or error.status == 403:
            hint = f"ask for access at {page}" + ("" if own else ", and set HF_TOKEN to your token")
            return DownloadError(f"{repo} is gated: the hub refuses (status {error.status})", hint=hint)
        if error.status == 401:
            known = "the hub does not accept the token in HF_TOKEN" if own else "it is private, or does not exist"
            hint = "check the token" if own else "check the name; for a private one set HF_TOKEN to your token"
            return DownloadError(f"{repo}: {known}", hint=hint) if own else ModelNotFound(f"{repo}: {known}", hint=hint)
        if error.status == 404:
            missing = {"RevisionNotFound": f"has no revision {what}", "EntryNotFound": f"has no file {what}"}
            known = missing.get(code, "is not on the hub")
            return ModelNotFound(f"{repo} {shown(known)}", hint=f"look at {page}")
        return DownloadError(f"{repo}: the hub answers with status {error.status}", hint="try again later")

    def _asked(self, url: str, repo: str, what: str) -> tuple[Any, Mapping[str, str]]:
        try:
            data, headers = self._web.fetch(url, _ANSWER_BYTES_MAX)
            return json.loads(data), headers
        except Refused as error:
            raise self.refusal(error, repo, what) from error
        except (ValueError, RecursionError) as error:
            problem = f"{repo}: the hub's answer is not JSON"
            raise DownloadError(problem, hint="is there a login page in between?") from error


def _file(repo: str, one: Any) -> RepoFile:
    try:
        large = one.get("lfs")
        digest, size = (large["oid"], large["size"]) if large else (one["oid"], one["size"])
        if not isinstance(digest, str) or not (SHA256 if large else GIT_SHA1).fullmatch(digest):
            raise ValueError(f"the digest {digest!a:.80}")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 50:
            raise ValueError(f"the size {size!a:.40}")
        return RepoFile(relative_path(one["path"]), size, digest)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DownloadError(f"{repo}: the hub's list of files is damaged: {error!s:.120}") from None
