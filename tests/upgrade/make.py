"""``python -m tests.upgrade.make CHECKOUT NAME``: use a version, and keep the data folder that it leaves.

The checkout must be set up (``make setup``). The result is ``tests/upgrade/NAME.tar.xz``, without keys (see
``derived.py``) and without what each start makes again. It needs Chromium.
"""

import json
import os
import sys
import tarfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    os.environ["FLOWSTEAD_CHECKOUT"] = str(Path(sys.argv[1]).resolve())

from tests.e2e.conftest import CHROMIUM  # noqa: E402
from tests.e2e.product import Product, wait_for  # noqa: E402
from tests.npm import Npm  # noqa: E402
from tests.upgrade.derived import ACCESS_TOKEN, PASSWORD, REGISTRY_SECRET, TOTP_SECRET, write_keys  # noqa: E402

NODE = "@alice/node-red-pump"
MADE_AGAIN = (
    "keys",
    "operator-password",
    "static",
    "caddy",
    "logs",
    "supervisor",
    "port",
    "flowstead.sqlite3.turn",
)
MADE_AGAIN_BY_INSTANCES = (".compile-cache", "environment.json", ".npmrc", ".npm", "tmp", "instance.log")

PEOPLE = """
import sys
from django.contrib.auth import get_user_model
from tenants.models import AccessToken, Membership, Tenant
from tenants.models.access_token import token_hash
token, totp, password = sys.stdin.read().split()
users = get_user_model().objects
alice, bob = (users.create_user(name, f"{name}@example.com", password) for name in ("alice", "bob"))
AccessToken.objects.create(user=alice, name="scripts", hint=token[:7], token_hash=token_hash(token))
Membership.objects.create(tenant=Tenant.objects.get(slug="alice"), user=bob, role="viewer")
"""

SECOND_FACTOR = """
import sys
from django.contrib.auth import get_user_model
from allauth.mfa.totp.internal.auth import TOTP
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
alice = get_user_model().objects.get(username="alice")
TOTP.activate(alice, sys.stdin.read().strip())
RecoveryCodes.activate(alice)
"""


def flows(greeting: str) -> list[dict[str, object]]:
    """Return flows with a web address and a node that has credentials."""
    return [
        {"id": "tab", "type": "tab", "label": "House"},
        {"id": "in", "type": "http in", "z": "tab", "url": "/hello", "method": "get", "wires": [["fn"]]},
        {
            "id": "fn",
            "type": "function",
            "z": "tab",
            "func": f"msg.payload = '{greeting} from ' + env.get('ROOM'); return msg;",
            "wires": [["out"]],
        },
        {"id": "out", "type": "http response", "z": "tab", "wires": []},
        {
            "id": "ask",
            "type": "http request",
            "z": "tab",
            "url": "http://127.0.0.1:9/",
            "authType": "basic",
            "credentials": {"user": "pump", "password": "made-up"},
            "wires": [[]],
        },
    ]


def call_the_editor(editor: Page, path: str, body: object) -> None:
    """Post to the editor's own API, as the person who has it open."""
    failed = editor.evaluate(
        """([url, body]) => new Promise(done => $.ajax({url, type: 'POST', contentType: 'application/json',
            headers: {'Node-RED-API-Version': 'v2', 'Node-RED-Deployment-Type': 'full'},
            data: JSON.stringify(body)}).then(() => done(''), xhr => done(xhr.status + xhr.responseText)))""",
        [path, body],
    )
    assert not failed, failed


def work_in_the_editor(product: Product) -> None:
    with sync_playwright() as playwright:
        executable = next(path for path in CHROMIUM if Path(path).exists())
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{product.portal}/accounts/login/")
        page.locator("input[name=login]").fill("alice")
        page.locator("input[name=password]").fill(PASSWORD)
        page.locator("form:has(input[name=password]) button").click()
        page.wait_for_url(f"{product.portal}/instances/")
        page.goto(product.editor("kitchen"))
        page.locator("#red-ui-header-button-deploy").wait_for()
        call_the_editor(page, "nodes", {"module": NODE, "version": "1.0.0"})
        for greeting in ("good morning", "hello"):
            call_the_editor(page, "flows", {"flows": flows(greeting)})
        call_the_editor(
            page, "library/local/functions/house/greet.js", {"name": "greet", "text": "return msg;"}
        )
        call_the_editor(page, "library/local/flows/house", {"text": '[{"id":"c","type":"comment"}]'})
        browser.close()


def use(product: Product) -> None:
    product.manage("shell", "-v", "0", "-c", PEOPLE, input=f"{ACCESS_TOKEN} {TOTP_SECRET} {PASSWORD}")
    alice = product.api(ACCESS_TOKEN)
    npm = Npm(product.folder / "npm", "http://127.0.0.1:9/")
    address = f"//localhost:{product.port}/registry/"
    npm.done("config", "set", f"@alice:registry=http:{address}")
    npm.done("config", "set", f"{address}:_authToken={ACCESS_TOKEN}")
    npm.publish(NODE, type="water pump")
    alice.make("kitchen", environment={"ROOM": "the kitchen"})
    alice.make("attic")
    alice.wait("kitchen", "running")
    alice.wait("attic", "running")
    alice.client.post("/instances/attic/stop").raise_for_status()
    alice.wait("attic", "stopped")
    wait_for(lambda: NODE in alice.client.get("/catalogue/packages").text, "the catalogue lists it")
    work_in_the_editor(product)
    alice.client.post("/instances/kitchen/snapshots", json={"name": "before the holidays"}).raise_for_status()
    product.manage("shell", "-v", "0", "-c", SECOND_FACTOR, input=TOTP_SECRET)


def keep(data_dir: Path, archive: Path) -> None:
    packages = data_dir / "registry" / ".verdaccio-db.json"
    packages.write_text(json.dumps({**json.loads(packages.read_text()), "secret": REGISTRY_SECRET}))

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(entry.name).parts
        made_again = parts[:1] in [(name,) for name in MADE_AGAIN] or set(parts) & set(
            MADE_AGAIN_BY_INSTANCES
        )
        return None if made_again else entry

    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for path in sorted(data_dir.iterdir()):
            tar.add(path, arcname=path.name, filter=kept)


if __name__ == "__main__":
    product = Product()
    try:
        write_keys(product.data_dir)
        product.start()
        use(product)
        product.stop()
        keep(product.data_dir, HERE / f"{sys.argv[2]}.tar.xz")
    finally:
        product.remove()
