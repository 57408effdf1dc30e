"""Networks. They know nothing of environments: sizes come in as arguments."""
