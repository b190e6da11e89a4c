"""Weave's objects, tables, files, calls, feedback and costs."""
