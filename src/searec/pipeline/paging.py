"""Paging: which items the pages before have shown, in a token that the next request brings back, so that no page repeats one."""

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
    """What stands for an item in a token."""
    return hashlib.blake2b(item.encode(errors="surrogatepass"), digest_size=_BYTES).digest()


def token(shown: Iterable[bytes]) -> str:
    """The token of marks.

    >>> read_token(token([mark("a"), mark("b")])) == {mark("a"), mark("b")}
    True
    """
    return base64.urlsafe_b64encode(_VERSION + b"".join(shown)).rstrip(b"=").decode()


def read_token(text: str) -> set[bytes]:
    """The marks of a token.

    Raises:
        SettingsError: it is none.
    """
    try:
        body = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        body = b""
    if body[:1] != _VERSION or (len(body) - 1) % _BYTES or len(body) > 1 + _BYTES * MOST:
        raise SettingsError(
            "not the token of a page", got=repr(text[:60]), expected="the `next` of an answer, unchanged"
        )
    return {body[at : at + _BYTES] for at in range(1, len(body), _BYTES)}
