"""Whom a campaign contacts with what, whom it holds back by lot, and what came of it."""
