"""Reads models of the Hugging Face Hub. Needs huggingface_hub and safetensors; no Lightning."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MODEL = "generator.safetensors"
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_ADDRESS = re.compile(rf"hf://({_NAME.pattern})(?:@([\w./-]+))?")


def download(address: str) -> str:
    """Return the path of a model's generator, in the cache of huggingface_hub; it is downloaded once.

    Args:
        address: `hf://user/model` or `hf://user/model@revision`: a branch, a tag or a commit.

    Raises:
        ValueError: if it is no such address.
        ImportError: if huggingface_hub is not installed.
        OSError: if there is no such model, it holds no generator of this framework, or the hub cannot be reached.
    """
    if not (match := _ADDRESS.fullmatch(address)):
        raise ValueError(f"expected hf://user/model or hf://user/model@revision, got {address}")
    name, revision = match.groups()
    with hub_errors(address):
        path: str = hub().hf_hub_download(name, MODEL, revision=revision)
    return path


def hub() -> Any:
    """Return the client of the hub, at `HF_ENDPOINT` if that is set, with the token of `hf auth login` or `HF_TOKEN`.

    Raises:
        ImportError: if huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise ImportError("the hub needs huggingface_hub: pip install 'convnorm-gan[hub]'") from None
    return HfApi(library_name="convnorm-gan")


def check_name(name: str) -> str:
    """Return the name of a model.

    Raises:
        ValueError: if it is not user/model.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"expected user/model, got {name!r}")
    return name


@contextmanager
def hub_errors(address: str) -> Iterator[None]:
    """Turn errors of the hub's client into an `OSError` of one line that names the model."""
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except RevisionNotFoundError:
        raise OSError(f"{address}: there is no such revision") from None
    except RepositoryNotFoundError:
        raise OSError(f"{address}: there is no such model, or it is private and `hf auth login` is missing") from None
    except EntryNotFoundError as error:
        reason = f"holds no {MODEL}" if type(error).__name__ == "RemoteEntryNotFoundError" else str(error)
        raise OSError(f"{address}: {' '.join(reason.split())}") from None
    except Exception as error:  # of the HTTP client, which is not the same in all versions
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(f"{address}: the hub cannot be used: {reason}") from None
