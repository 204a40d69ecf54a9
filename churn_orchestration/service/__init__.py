"""What is served to people's browsers, behind one guard."""
