"""Questions are put in little: language models are evaluated on few windows, which takes most of the time."""

import pytest

from experiments.language import setting


@pytest.fixture(autouse=True, scope="session")
def few_windows():
    """Evaluate 8 windows of each part."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setting, "EVALUATED", 8)
        yield
