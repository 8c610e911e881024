"""One product for one benchmark."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.product import Product


@contextmanager
def running_product() -> Iterator[Product]:
    product = Product(TENANT_INSTANCES="100")
    try:
        yield product.start()
    finally:
        product.remove()
