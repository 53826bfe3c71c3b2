"""How the C library keeps memory that was freed."""

from __future__ import annotations

import ctypes

# Parameters of glibc's mallopt, and what each is set to: from how many bytes on an allocation is a mapping of its own
# (glibc takes no more), from how many free bytes on the end of the heap is given back, and by how many it grows.
_OPTIONS = {-3: 32 << 20, -1: 2**31 - 1, -2: 64 << 20}


def keep_freed_memory() -> bool:
    """Have freed memory kept for what is allocated next; return whether the C library knows how, as glibc does.

    A step frees and allocates the same tensors again and again; by default, much of that goes back to the kernel
    and returns page by page. The most memory that is held at once stays the same.

    Source: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(name, value) == 1 for name, value in _OPTIONS.items())
