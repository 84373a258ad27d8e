"""API keys: their form and their digest. Pure; chance and the pepper are arguments.

A key is `hr-<id>-<secret>`: a public id to look it up by, and 256 bits that prove it. Only the digest is kept.
"""

import base64
import hashlib
import hmac
import re
from typing import Final

ID_LENGTH: Final = 12
SECRET_BYTES: Final = 32
RUNNER: Final = "pipelines"  # the nonce of a gateway's proof to the runner
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_FORM: Final = re.compile(r"hr-([a-z0-9]{12})-([A-Za-z0-9_-]{43})")


def make_key(chance: bytes) -> tuple[str, str, str]:
    """A new key from 44 random bytes: (id, secret, whole text)."""
    if len(chance) != ID_LENGTH + SECRET_BYTES:
        raise ValueError(f"a key needs {ID_LENGTH + SECRET_BYTES} random bytes, not {len(chance)}")
    name = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in chance[:ID_LENGTH])
    secret = base64.urlsafe_b64encode(chance[ID_LENGTH:]).rstrip(b"=").decode()
    return name, secret, f"hr-{name}-{secret}"


def parse_key(text: str) -> tuple[str, str] | None:
    """Id and secret of a well-formed key, else None.

    >>> parse_key("hr-aaaaaaaaaaaa-" + "x" * 43)[0]
    'aaaaaaaaaaaa'
    """
    match = _FORM.fullmatch(text)
    return (match[1], match[2]) if match else None


def digest(pepper: bytes, secret: str) -> str:
    """Hex HMAC-SHA-256 of the secret under the pepper: what is stored and compared."""
    return hmac.new(pepper, secret.encode(), hashlib.sha256).hexdigest()


def proof(pepper: bytes, nonce: str) -> str:
    """What shows that one knows the pepper, and not the pepper itself."""
    return hmac.new(pepper, b"link\0" + nonce.encode(), hashlib.sha256).hexdigest()


def same(a: str, b: str) -> bool:
    """Whether two digests are equal, in constant time."""
    return hmac.compare_digest(a, b)


def acting(pepper: bytes, name: str) -> str:
    """What the runner of pipelines shows to act for the holder of a key: only who has the pepper can make it."""
    made = hmac.new(pepper, b"act\0" + name.encode(), hashlib.sha256).digest()
    return f"hr-{name}-{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"
