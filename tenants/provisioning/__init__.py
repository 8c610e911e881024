"""Making a Node-RED process true to its specification. No Django in here.

Reading order: ``spec`` (what is wanted and what was seen), ``plan`` (the difference),
``driver`` (the protocol), then one module a driver.
"""
