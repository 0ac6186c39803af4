"""The page, the pictures and the files that an evaluation leaves for people."""
