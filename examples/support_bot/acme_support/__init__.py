"""Acme's support bot, and the scorers of its evaluation."""
