"""Lightning callbacks: what a run shows, and what it keeps."""
