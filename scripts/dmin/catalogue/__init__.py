"""What there is to choose from, as plain tables that import nothing of what they name.

Imports within are relative, so that a workflow can load these tables under a name of its own.
"""
