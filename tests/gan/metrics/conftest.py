import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep what is cached in the test's own folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CONVNORM_GAN_CACHE", str(folder))
    return folder
