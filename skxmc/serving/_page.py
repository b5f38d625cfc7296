"""The page to try a model out, and what a browser may load for it."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

PAGE = (files(__package__) / "page.html").read_text("utf-8")


def _hash_of(tag: str) -> str:
    """Hash of what stands between two tags, by which a browser knows that it is ours."""
    (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


# Nothing of other hosts, no frame around it, and no script but its own.
PAGE_POLICY = "; ".join(
    [
        "default-src 'none'",
        f"script-src 'sha256-{_hash_of('script')}'",
        f"style-src 'sha256-{_hash_of('style')}'",
        "connect-src 'self'",
        "img-src blob: data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
