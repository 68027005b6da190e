"""The state of MD5 after one block, RFC 1321 3.4: what Dovecot's {CRAM-MD5} stores in the place of a password.

HMAC-MD5 begins both of its hashes with a block made of the password alone (RFC 2104 2); the two states are all that is
needed for CRAM-MD5, and hashlib does not tell them. What is computed so is compared with what was stored, and nothing
else.
"""

import math
import struct

_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_SINES = tuple(int(abs(math.sin(number + 1)) * 2**32) for number in range(64))
_TURNS = ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
_BLOCK = 64
_MASK = 0xFFFFFFFF


def after(block: bytes) -> bytes:
    """A, B, C and D after a block of 64 octets, the low octet of each first."""
    words = struct.unpack("<16I", block)
    a, b, c, d = _START
    for step in range(64):
        round_ = step // 16
        if round_ == 0:
            mixed, word = (b & c) | (~b & d), step
        elif round_ == 1:
            mixed, word = (d & b) | (~d & c), (5 * step + 1) % 16
        elif round_ == 2:
            mixed, word = b ^ c ^ d, (3 * step + 5) % 16
        else:
            mixed, word = c ^ (b | (~d & _MASK)), (7 * step) % 16
        total = (a + mixed + _SINES[step] + words[word]) & _MASK
        turn = _TURNS[round_][step % 4]
        a, d, c, b = d, c, b, (b + ((total << turn) | (total >> (32 - turn)))) & _MASK
    return struct.pack("<4I", *((x + y) & _MASK for x, y in zip(_START, (a, b, c, d), strict=True)))


def hmac_states(key: bytes, shortened: bytes) -> bytes:
    """The outer and the inner state for a key; `shortened` is its MD5, which is the key if it has over 64 octets."""
    whole = (key if len(key) <= _BLOCK else shortened).ljust(_BLOCK, b"\0")
    return after(bytes(octet ^ 0x5C for octet in whole)) + after(bytes(octet ^ 0x36 for octet in whole))
