"""Reporting: what a run tells people, as sentences, tables, figures, event files, a page and a folder."""
