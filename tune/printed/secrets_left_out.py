"""Addresses without their passwords and tokens."""

import re

_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")
_SECRET_QUERY = re.compile(
    r"([?&][^=&\s]*(?:token|password|passwd|pwd|secret|key|signature|sig)[^=&\s]*=)[^&\s'\"]+", re.IGNORECASE
)


def redact(text: str) -> str:
    """`text` with credentials in URIs (user:password@, token=...) replaced by ***; safe to print and to store."""
    return _SECRET_QUERY.sub(r"\1***", _CREDENTIALS.sub("***@", text))
