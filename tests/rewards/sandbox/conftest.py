from collections.abc import Iterator
from pathlib import Path

import pytest

from rewards._sandbox.process import Tier
from rewards._sandbox.tiers import fault


@pytest.fixture(params=[Tier.BUBBLEWRAP, Tier.LANDLOCK], ids=["bubblewrap", "landlock"])
def tier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Tier]:
    """Each tier of isolation, and `sandbox: auto` taking it. What it keeps on disk is in `tmp_path / "sandboxes"`."""
    tier: Tier = request.param
    why_not = fault(tier)
    if why_not is not None:
        pytest.skip(f"tier {tier.value} cannot run here: {why_not}")
    (tmp_path / "sandboxes").mkdir()
    monkeypatch.setattr("rewards._sandbox.folder.tempfile.tempdir", str(tmp_path / "sandboxes"))
    monkeypatch.setattr("rewards.code_tests.best_tier", lambda: tier)
    yield tier
    assert not list((tmp_path / "sandboxes").iterdir())
