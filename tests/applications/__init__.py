"""Applications as teams publish them: one module each, which knows nothing of Weighbridge."""
