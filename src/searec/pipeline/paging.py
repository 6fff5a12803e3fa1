"""Paging: a token that lists the items of the previous pages, so that no page repeats one."""

import base64
import binascii
import hashlib
from collections.abc import Iterable

from searec.errors import SettingsError
from searec.pipeline.types import MOST

_VERSION = b"\x01"
_BYTES = 4
"""Of an item's hash: a wrong match costs one item in ten thousand lists."""


def mark(item: str) -> bytes:
    """Return the hash of an item in a token."""
    return hashlib.blake2b(item.encode(errors="surrogatepass"), digest_size=_BYTES).digest()


def token(shown: Iterable[bytes]) -> str:
    """Return the token of some hashes.

    >>> read_token(token([mark("a"), mark("b")])) == {mark("a"), mark("b")}
    True
    """
    return base64.urlsafe_b64encode(_VERSION + b"".join(shown)).rstrip(b"=").decode()


def read_token(text: str) -> set[bytes]:
    """Return the hashes of a token.

    Raises:
        SettingsError: it is not one.
    """
    try:
        body = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        body = b""
    if body[:1] != _VERSION or (len(body) - 1) % _BYTES or len(body) > 1 + _BYTES * MOST:
        raise SettingsError("not the token of a page", got=repr(text[:60]), expected="`next` of a response, unchanged")
    return {body[at : at + _BYTES] for at in range(1, len(body), _BYTES)}
