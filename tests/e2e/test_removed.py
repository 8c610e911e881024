"""Sockets and folders that are removed while everything runs: they come back."""

import shutil

import pytest

from tests.e2e.product import Api, Product, is_settled, wait_for

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def running(product: Product) -> Product:
    api = product.api(product.token())
    api.make("kitchen")
    api.wait("kitchen", "running")
    return product


@pytest.fixture
def api(running: Product) -> Api:
    return running.api(running.token())


@pytest.mark.parametrize("part", ["web/0.sock", "registry.sock", "i/kitchen/http.sock"])
def test_a_removed_socket_is_made_again(running, api, part):
    (running.run_dir / part).unlink()
    wait_for(lambda: (running.run_dir / part).is_socket(), f"{part} is there again", 120)
    wait_for(lambda: is_settled(running, api, 1), "everything runs", 120)
    assert running.get("portal", "/healthz").status_code == 200


@pytest.mark.parametrize("removed", [".", "supervisor.sock"])
def test_a_removed_run_folder_is_made_again(running, api, removed):
    before, path = running.instances(), running.run_dir / removed
    path.unlink() if path.is_socket() else shutil.rmtree(path)
    wait_for(lambda: running.instances() not in ([], before), "another process", 120)
    wait_for(lambda: is_settled(running, api, 1), "everything is back", 120)
    api.make("after-removal")
    api.wait("after-removal", "running")
    api.client.delete("/instances/after-removal")
    api.wait("after-removal", 404)
