"""Shows what a report says: lines for a terminal, Markdown, an HTML page and its figures.

All of them show the same content. The page is one file, with its style and figures inside: it needs
no network and no script.
"""
