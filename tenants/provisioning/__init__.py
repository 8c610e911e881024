"""Making a Node-RED process true to its specification. No Django in here.

Reading order: ``spec`` (what is wanted and what was seen), ``plan`` (the difference),
``driver`` (the protocol), then one module a driver, with its parts in a package: ``local`` in
``processes``, ``kubernetes`` in ``cluster``.
"""
