"""The full-text index: which messages may have a text that SEARCH BODY or TEXT looks for. `docs/full-text-search.md`.

`text` makes of a message what is indexed, `place` looks after the directory, `database` is the SQLite file, `lookup`
asks it, `fill` completes it, `service` is what a worker has of it, `command` the command line.
"""
