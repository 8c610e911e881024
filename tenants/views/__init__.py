"""The pages, a file a noun. Views hold HTTP; what may be done is decided by the models."""
