"""The Hugging Face hub: what a repository holds, and the bytes of its files.

Listings come through Hugging Face's own client, which also knows the endpoint and the token. Files do not: it begins a
file anew after every interruption (huggingface_hub 1.32 and 2.4 alike), and files of weights have gigabytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import httpx
from pydantic import SecretStr

from gems.backends.cleaning import clean
from gems.backends.local.hub_cache import COMMIT
from gems.backends.local.hub_faults import Asked, misdelivered, refusal, unreachable
from gems.backends.local.hub_files import RemoteFile
from gems.core.errors import GemsConfigError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

LIST_SECONDS: Final = 30.0
TIMEOUT: Final = httpx.Timeout(20.0, connect=10.0)
"""A server that sends nothing for so long is asked again."""
_DIGEST: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LICENCE_TAG: Final = "license:"
_FREE_NAME: Final = "other"
"""A licence that has its name elsewhere."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit."""

    id: str
    """As the hub spells it."""
    commit: str
    files: tuple[RemoteFile, ...]
    licence: str = ""
    """As its card names it; empty where it names none."""
    licence_link: str = ""
    gated: bool = False


class Hub:
    """A hub, asked as one person."""

    def __init__(self, endpoint: str, token: SecretStr | None, client: httpx.Client) -> None:
        """Ask at `endpoint`, with `client` for the files."""
        self.endpoint = endpoint.rstrip("/")
        self._token = token
        self._client = client

    def asked(self, repository: str, revision: str) -> Asked:
        """What messages name."""
        return Asked(self.endpoint, repository, revision, self._token)

    def listing(self, repository: str, revision: str) -> Listing:
        """What a repository holds.

        Raises:
            GemsConfigError: it is not there, not for us, or the hub cannot be asked.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        asked = self.asked(repository, revision)
        token = self._token.get_secret_value() if self._token else False
        api = HfApi(endpoint=self.endpoint, token=token)
        try:
            found = api.model_info(repository, revision=revision, files_metadata=True, timeout=LIST_SECONDS)
        except HfHubHTTPError as error:
            headers = error.response.headers
            said = headers.get("X-Error-Message", "")
            raise refusal(asked, error.response.status_code, headers.get("X-Error-Code", ""), said) from error
        except HFValidationError as error:
            raise GemsConfigError(f"{repository!r} cannot be the name of a model: give it as OWNER/NAME") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _no_hub(asked) from error
        except Exception as error:  # the transport's own, of a package that changes with the client's version
            raise unreachable(asked, error) from error
        return listing_of(found, asked)

    def read(self, listing: Listing, file: RemoteFile) -> bytes:
        """A small file, whole.

        Raises:
            GemsConfigError: the hub refuses, cannot be reached, or sends something else.
        """
        asked = self.asked(listing.id, listing.commit)
        try:
            with self.opened(listing, file) as response:
                content = b""
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > file.size:
                        break
        except httpx.HTTPError as error:
            raise unreachable(asked, error) from error
        if len(content) != file.size:
            raise misdelivered(asked, file.name, f"with another length than the {file.size:,} bytes that the hub lists")
        return content

    @contextmanager
    def opened(self, listing: Listing, file: RemoteFile, start: int = 0) -> Iterator[httpx.Response]:
        """The reply with a file's bytes from `start` on; its status is 200 where the server sends all of them.

        Raises:
            GemsConfigError: the hub refuses.
            httpx.HTTPError: the connection failed; the same request may work again.
        """
        url = f"{self.endpoint}/{listing.id}/resolve/{listing.commit}/{quote(file.name)}"
        headers = {"Accept-Encoding": "identity"}
        if self._token:
            # To another host, which the hub sends us on to, the client does not pass it.
            headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        if start:
            headers["Range"] = f"bytes={start}-"
        with self._client.stream("GET", url, headers=headers) as response:
            if response.is_server_error:
                raise httpx.RemoteProtocolError(f"status {response.status_code}")
            if not response.is_success:
                said, code = response.headers.get("X-Error-Message", ""), response.headers.get("X-Error-Code", "")
                asked = self.asked(listing.id, listing.commit)
                raise refusal(asked, response.status_code, code, said, file.name)
            yield response


@contextmanager
def open_hub() -> Iterator[Hub]:
    """The hub of the environment's variables, as Hugging Face's own libraries read them.

    Raises:
        GemsConfigError: the environment forbids to ask it.
    """
    # Nothing is to be counted; the client reads this when it is imported.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise GemsConfigError("HF_HUB_OFFLINE is set, so nothing can be downloaded: unset it for this command")
    endpoint = constants.ENDPOINT
    if urlsplit(endpoint).scheme not in ("http", "https"):
        raise GemsConfigError(f"HF_ENDPOINT is {clean(endpoint)!r}: give it as https://HOST, or unset it")
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    with httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client:
        yield Hub(endpoint, SecretStr(token) if token else None, client)


def listing_of(found: ModelInfo, asked: Asked) -> Listing:
    """What the hub says of a repository, checked: names and digests become paths here.

    Raises:
        GemsConfigError: it says what no hub says.
    """
    commit = found.sha or ""
    if not COMMIT.fullmatch(commit) or found.siblings is None:
        raise _no_hub(asked)
    files = []
    for sibling in found.siblings:
        digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        size = sibling.lfs.size if sibling.lfs else sibling.size
        if (
            not isinstance(size, int)
            or size < 0
            or not _DIGEST.fullmatch(str(digest))
            or not _is_inside(sibling.rfilename)
        ):
            raise _no_hub(asked)
        files.append(RemoteFile(sibling.rfilename, size, str(digest)))
    written: Any = found.card_data
    card = written.to_dict() if hasattr(written, "to_dict") else {}
    licence = _licence(card, [str(tag) for tag in found.tags or []])
    # The hub takes capital letters for small ones; the cache does not.
    same = str(found.id).lower() == asked.repository.lower()
    return Listing(
        found.id if same else asked.repository,
        commit,
        tuple(files),
        clean(licence),
        clean(_link(card, asked)),
        bool(found.gated),
    )


def _licence(card: Mapping[str, Any], tags: list[str]) -> str:
    tagged = next((tag.removeprefix(_LICENCE_TAG) for tag in tags if tag.startswith(_LICENCE_TAG)), "")
    named = _text(card.get("license")) or tagged
    return _text(card.get("license_name")) or named if named in ("", _FREE_NAME) else named


def _link(card: Mapping[str, Any], asked: Asked) -> str:
    link = _text(card.get("license_link"))
    if not link or "://" in link:
        return link
    return f"{asked.page}/blob/{asked.revision}/{link.lstrip('./')}"


def _text(value: object) -> str:
    """A value of a card, which anybody writes as they like."""
    if isinstance(value, list):
        return ", ".join(str(it) for it in value)
    return value.strip() if isinstance(value, str) else ""


def _is_inside(name: str) -> bool:
    """Whether a name is a path that stays in its folder, on every system."""
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and ":" not in name and not {"", ".", ".."} & set(parts)


def _no_hub(asked: Asked) -> GemsConfigError:
    return GemsConfigError(
        f"what answers at {asked.endpoint} does not speak as the Hugging Face hub does: check HF_ENDPOINT and any proxy"
    )
