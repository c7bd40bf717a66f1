"""One object of a store, written only if nobody else has written it meanwhile.

S3 (``If-None-Match``, ``If-Match``), GCS (generations) and Azure (ETags) compare and write in one step, so of two
writers that saw the same version exactly one wins. Arrow has no such call; obstore has it for all three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from genrm_rl.errors import RunDirectoryError
from genrm_rl.runtime.object_store import patiently
from genrm_rl.runtime.store_paths import Stored

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# One try and no more than this for it; `patiently` repeats.
CLIENT = {"allow_http": True, "connect_timeout": "10s", "timeout": "30s"}


@dataclass(frozen=True)
class Version:
    """What an object held when it was read or written, and how the store names that state."""

    data: bytes
    mark: dict[str, str]


def read_version(place: Stored) -> Version | None:
    """The object now, None if there is none."""
    import obstore

    def load() -> Version:
        found = obstore.get(_store(place), _key(place))
        return Version(bytes(found.bytes()), _mark(found.meta))

    return _ask(load, place)


def write_version(place: Stored, data: bytes, seen: Version | None) -> Version | None:
    """Write if the object is still as it was ``seen`` (None: absent); None, and nothing written, if it is not.

    ``data`` must differ from what any other writer writes: an answer that got lost is told by reading back.
    """
    import obstore

    def save() -> Version:
        mode = "create" if seen is None else seen.mark
        return Version(data, _mark(obstore.put(_store(place), _key(place), data, mode=mode)))

    written = _ask(save, place)
    if written is None and (now := read_version(place)) is not None and now.data == data:
        return now
    return written


def _ask(action: Callable[[], Version], place: Stored) -> Version | None:
    """``action``, again while the store does not answer; None if the object is absent or not as it was seen."""
    from obstore import exceptions

    def attempt() -> Version | None:
        try:
            return action()
        except FileNotFoundError as problem:
            if "NoSuchBucket" in str(problem):
                raise
            return None
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            return None
        except exceptions.BaseError as problem:
            raise OSError(str(problem).partition("\n\nDebug source")[0]) from problem

    return patiently(attempt, place)


def _store(place: Stored) -> ObjectStore:
    region = getattr(place.filesystem, "region", None)  # Arrow has found out where the bucket is
    return _open(place.scheme, place.path.partition("/")[0], region)


@cache
def _open(scheme: str, bucket: str, region: str | None) -> ObjectStore:
    from obstore.store import from_url

    options: dict[str, Any] = {}
    if scheme == "s3":
        from obstore.auth.boto3 import Boto3CredentialProvider

        # Variables, profiles and roles, as Arrow looks for them; obstore itself reads no profiles.
        try:
            options = {"credential_provider": Boto3CredentialProvider(), **({"region": region} if region else {})}
        except ValueError as problem:
            raise RunDirectoryError(
                f"no credentials for {scheme}://{bucket} (AWS_* variables, profile or instance role); without them the "
                "run can't be kept there"
            ) from problem
    return from_url(f"{scheme}://{bucket}", client_options=CLIENT, retry_config={"max_retries": 0}, **options)


def _key(place: Stored) -> str:
    return place.path.partition("/")[2]


def _mark(meta: Any) -> dict[str, str]:
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name)}
