"""Shows what a report says: lines for a terminal, Markdown, an HTML page and its figures."""
