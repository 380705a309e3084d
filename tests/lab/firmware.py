"""The guests' firmware: guest.S, assembled. It runs in the first millisecond, so no guest needs a system."""

import struct

SIZE_BYTES = 0x10000
PAGE_BYTES = 4096
FIRST_BYTE = 16 << 20
FILL_END_BYTE = 48 << 20
DIRTY_END_BYTE = 20 << 20
DIRTY_PAGES_PER_TICK = 16  # a hundred ticks a second: 6.25 MiB/s, more than a copy held to 1 MiB/s carries

RESET_VECTOR = 0xFFF0

CODE = bytes.fromhex(
    "fa2e660f011620010f20c00c010f22c066ea1800ffff080066b810008ed88ec08ed0bc00800000b8f7000800a3001100"
    "00c70504110000008effff0f011d2601ffffb011e620b020e621b004e621b001e621b0fee621b0ffe6a1c705f000e0fe"
    "ff010000c7055003e0fe00870000b034e643b09ce640b02ee640bf000000013b3d2c01ffff730a893f81c700100000eb"
    "eebf00000001fbf48b0d3401ffffe317ff0781c7001000003b3d3001ffff7205bf00000001e2e9bafd030000eca80174"
    "d6baf80c0000b8400b0080efbafc0c0000b801060000efbaf80c0000b8800b0080efbafc0c0000b001eeba0406000066"
    "b8002066efeba0b020e62083c40cfbeb978db400008d74000000000000000000ffff0000009bcf00ffff00000093cf00"
    "17000801ffffff0100100000"
)
JUMP_TO_START = bytes.fromhex("e90d00")


def image(*, busy: bool) -> bytes:
    """The firmware of a guest that halts, or of a busy one: 32 MiB of it filled, 4 MiB of that always new."""
    filled_to = FILL_END_BYTE if busy else FIRST_BYTE
    pages = DIRTY_PAGES_PER_TICK if busy else 0
    # fill_end, dirty_end and pages, the last things in guest.S
    parameters = struct.pack("<III", filled_to, DIRTY_END_BYTE, pages)
    body = (CODE + parameters).ljust(RESET_VECTOR, b"\0") + JUMP_TO_START
    return body.ljust(SIZE_BYTES, b"\0")
