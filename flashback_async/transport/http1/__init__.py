"""HTTP/1.1 for the fast lane: kept connections to one origin, on an asyncio protocol.

`connections` is the pool, `connection` the protocol, `head_reader`, `head` and `chunks` the parsing (by
httptools, of the extra `fast`), `answer` what has arrived, `failures` the words for what went wrong. Nothing
here knows of S3.
"""
