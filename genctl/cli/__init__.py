"""The command line: words in, words out. Every text that a user reads is made here."""
