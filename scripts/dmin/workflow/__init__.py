"""What rules ask for: config access, checks, paths and digests of code; nothing beyond the standard library.

Imports within are relative, so that each checkout loads its own under a name of its own.
"""
