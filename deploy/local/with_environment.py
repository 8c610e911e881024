"""``with_environment.py FILE COMMAND...``: become COMMAND, with the variables of a JSON file.

supervisord hands its own environment to all its children, instances included. So it has none, and
what the web processes and the reconciler need comes to them this way.
"""

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    file, *command = sys.argv[1:]
    os.execve(command[0], command, json.loads(Path(file).read_text()))  # noqa: S606
