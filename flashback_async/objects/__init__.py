"""The S3 verbs, on top of the executor: what is asked, and what the answers mean."""
