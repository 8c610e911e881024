"""One product for all attacks of a session. An attack that would break it for good starts its own."""

from collections.abc import Iterator

import pytest

from tests.e2e.product import Api, Product


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    product = Product()
    try:
        yield product.start()
    finally:
        product.remove()


@pytest.fixture
def api(product: Product) -> Api:
    return product.api(product.token())
