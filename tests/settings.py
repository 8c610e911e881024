"""The product's settings with keys, a database and an environment of the tests' own."""

import atexit
import os
import shutil

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.folders import make_folder

_folder = make_folder("flowstead-test-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
(_folder / "static").mkdir()


def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


os.environ.update(
    DATA_DIR=str(_folder),
    LOCAL_RUN_DIR=str(_folder),
    SECRET_KEY="only-for-tests-" * 5,
    ENCRYPTION_KEYS=Fernet.generate_key().decode(),
    OIDC_PRIVATE_KEY=_private_key(),
    PORT="8000",
)

from portal.settings import *  # noqa: E402, F403
from portal.settings import DATABASES  # noqa: E402

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if "sqlite" in DATABASES["default"]["ENGINE"]:
    # A file, since threads of one test have to see the same database.
    DATABASES["default"]["TEST"] = {"NAME": str(_folder / "test.sqlite3")}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
# For tests in a browser: static files from where they are, as nothing has been collected.
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = True
