"""Data inside the wheels of Python packages: read as files, so that no package is imported for them."""

import hashlib
import importlib.util
from functools import cache
from pathlib import Path

from wd_research.flags import UserError


@cache
def content_of(package: str, file: str, sha256: str, install: str) -> bytes:
    """The content of a file in an installed package.

    Raises UserError, with one sentence that has the line to install it by, where the package is not there, or holds
    another file than the one of this SHA-256.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"these data are in the package {package}, which is not installed: pip install {install}")
    try:
        content = (Path(found.submodule_search_locations[0]) / file).read_bytes()
    except OSError as error:
        raise UserError(f"the package {package} has no {file} ({error.strerror}): pip install {install}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"the package {package} has another {file} than the one that is known: pip install {install}")
    return content
