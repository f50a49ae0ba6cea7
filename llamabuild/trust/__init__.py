"""Whom to believe: keys and their roles, signed statements about artifacts, a signed state of a
shared store.

Digests say that bytes are those that were meant; that a digest is the right one has to be said by
somebody, and signed. Everything here judges bytes that were handed over: nothing is fetched.
``cryptography`` and ``securesystemslib`` come with the extra ``team``.
"""
