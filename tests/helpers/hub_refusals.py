"""What the hub's client raises when the hub refuses."""

from __future__ import annotations

import sys

from huggingface_hub import errors

# The client's own HTTP module, whichever release it uses.
http = sys.modules[errors.HfHubHTTPError.__bases__[0].__module__.split(".")[0]]


def http_error(kind: type[errors.HfHubHTTPError], status: int) -> errors.HfHubHTTPError:
    """Return the error of a kind that a status gives."""
    request = http.Request("GET", "https://hub.invalid/x")
    return kind("refused", response=http.Response(status, request=request))
