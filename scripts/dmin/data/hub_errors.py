"""What a failure of the Hugging Face hub means for the user."""

from __future__ import annotations

from collections.abc import Iterator

from huggingface_hub import errors as hub_errors

from dmin.runtime.errors import UserError


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, outermost first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def is_network(error: BaseException) -> bool:
    """Tell whether the hub could not be reached, or could not answer."""
    if isinstance(error, hub_errors.HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    kinds = (ConnectionError, TimeoutError, hub_errors.LocalEntryNotFoundError, hub_errors.RevisionResolutionError)
    # Matched by name: the hub client and datasets import different releases of the HTTP library.
    return isinstance(error, kinds) or any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def explain_hub_model(what: str, path: str, revision: str | None, error: Exception) -> UserError | None:
    """Return the sentence for a model of the hub that could not be had, or None where the hub is not the cause.

    Args:
        what: the sentence's first words, which name the config entry.
    """
    causes = list(error_chain(error))
    if any(isinstance(cause, hub_errors.GatedRepoError) for cause in causes):
        return UserError(
            f"{what} '{path}' is gated; accept its licence on its hub page, then log in with 'hf auth login' or set "
            "HF_TOKEN."
        )
    if any(isinstance(cause, hub_errors.RevisionNotFoundError) for cause in causes):
        return UserError(
            f"{what} '{path}' has no revision '{revision}'; set revision to a commit, tag or branch of it, or to null "
            "for the newest."
        )
    if any(isinstance(cause, hub_errors.RepositoryNotFoundError) for cause in causes):
        return UserError(
            f"{what} '{path}' is neither a folder here nor a model on the hub; correct path, or log in with 'hf auth "
            "login' if it is private."
        )
    if any(is_network(cause) for cause in causes):
        return UserError(
            f"{what} '{path}': the hub cannot be reached and no copy of revision '{revision or 'main'}' is cached; "
            "connect once (and unset HF_HUB_OFFLINE), or set path to a local folder."
        )
    return None
