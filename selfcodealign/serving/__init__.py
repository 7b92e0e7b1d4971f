"""The sandbox over HTTP, in its own rows and in the request forms of others.

`settings` says what a server allows, `forms` turns requests into cases and verdicts into answers, `server` listens.
Only the last one needs packages of the extra `serve`.
"""
