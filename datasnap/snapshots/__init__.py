"""What a repository is made of: objects, the refs that name them, the history they form."""
