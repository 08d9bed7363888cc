from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from crossfade_backends import edge
from crossfade_backends.registry import Metadata
from crossfade_backends.train import DEFAULT_SEED, train_registry
from tests.backends.serving import serving

ROWS = 6_000


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All versions, trained once. Tests that change files must copy it first."""
    root = tmp_path_factory.mktemp("registry")
    _, trained = train_registry(root, ROWS, DEFAULT_SEED)
    assert trained
    return root


@pytest.fixture(scope="session")
def versions(registry: Path) -> dict[str, Metadata]:
    current, trained = train_registry(registry, ROWS, DEFAULT_SEED)
    assert not trained
    return {metadata.version: metadata for metadata in current}


@pytest.fixture
async def client(registry: Path) -> AsyncIterator[ClientSession]:
    """A client of a server in this process that has loaded v3."""
    async with serving(registry) as session:
        yield session


@pytest.fixture(scope="session")
def edge_registry(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All versions, and what can be made of them for devices."""
    root = tmp_path_factory.mktemp("edge") / "models"
    shutil.copytree(registry, root)
    assert edge.main(["export", "--registry", str(root)]) == 0
    assert edge.main(["quantize", "--registry", str(root)]) == 0
    return root


@pytest.fixture
def edge_registry_copy(tmp_path: Path, edge_registry: Path) -> Path:
    root = tmp_path / "models"
    shutil.copytree(edge_registry, root)
    return root
