"""Where traces are kept outside the file system."""
