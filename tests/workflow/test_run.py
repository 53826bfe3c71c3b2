from pathlib import Path
def test_x(results: Path) -> None:
    assert results.exists()
