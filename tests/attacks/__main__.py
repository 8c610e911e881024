"""``python -m tests.attacks [CHECKOUT]``: run the attacks against this version, or against another checkout.

The other checkout must be set up (``make setup``). Every test attacks the product from the outside, through
its one public port, so that it can tell how any version fares: a failed test is an attack that succeeded.
"""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    if len(sys.argv) > 1:
        os.environ["FLOWSTEAD_CHECKOUT"] = str(Path(sys.argv[1]).resolve())
    sys.exit(pytest.main([str(HERE), "-q", "--tb=line"]))
