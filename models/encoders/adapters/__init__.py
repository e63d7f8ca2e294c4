"""Adapters: encoders whose networks come from elsewhere. Each imports its library on use only."""
