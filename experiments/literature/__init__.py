"""Statements of the literature as experiments that end in a verdict."""
