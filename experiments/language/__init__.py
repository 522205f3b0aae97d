"""Decoder-only transformers on text: where decay is used today."""
