"""Storage of Weave's objects, tables, files, calls, feedback and prices."""
